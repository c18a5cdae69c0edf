"""A host whose boards change, through the real sampler, ledger, page and reports: it costs what it costs.

Eight GPUs of a host at 28.80 dollars an hour: 3.60 each, eight cents in ten seconds.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter.cli.adjust import AdjustFlags, adjust
from exporter.readings import Gpu, GpuReading, QuickSource
from exporter.vendors import NVIDIA
from exporter.web.summary import summarize
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import CENT, DOLLAR, HOUR, MINUTE, SECOND

CONFIG = """
discovery: {gpus: all}
hardware: [{rented: {dollars_per_host_hour: 28.80, gpus_per_host: 8}}]
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]
"""
TICK = 10 * SECOND
NOON = "2026-11-25T12:00:00+00:00"


@dataclass(eq=False)
class Boards(QuickSource):
    """What NVML lists: UUIDs in their sockets."""

    listed: list[str] = field(default_factory=lambda: generation("a"))
    vendor = NVIDIA
    name: str = "nvml"

    def read(self) -> tuple[GpuReading, ...]:
        return tuple(
            GpuReading(Gpu(uuid, "H100"), number, pci_bus_id=f"0000:{number}", utilization_ratio=0.5)
            for number, uuid in enumerate(self.listed)
        )


def generation(name: str, count: int = 8) -> list[str]:
    return [f"GPU-{name}{number}" for number in range(count)]


def spent(host: SimulatedHost) -> int:
    """Picodollars of a minute from now on, as counters, months, days and hours tell them alike."""
    before = host.whole()
    for _ in range(6):
        host.tick(TICK)
    return host.whole() - before


def notes(host: SimulatedHost) -> list[str]:
    assert host.report is not None
    return [note for note in summarize(host.report, host.clock.elapsed()).notes if "GPU" in note]


def messages(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    text = [
        (record.getMessage(), getattr(record, "new", getattr(record, "uuid", "")))
        for record in log.records
        if record.name == "exporter.sampler.change_log"
        and "gpu" in record.getMessage()
        and record.getMessage() != "server gpus changed"
    ]
    log.clear()
    return text


def test_three_stops_and_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """48 cents a minute before and after each, in every family of totals; log, page and metric tell of it."""
    caplog.set_level("INFO")
    boards = Boards()
    host = SimulatedHost(tmp_path, CONFIG, NOON, nvml=boards)
    host.tick()
    assert spent(host) == 48 * CENT
    for count, name in enumerate("bcd", start=1):
        boards.listed = generation(name)
        host.reboot(20 * MINUTE)
        host.tick(MINUTE)
        assert messages(caplog) == [("gpu replaced", uuid) for uuid in boards.listed]
        assert spent(host) == 48 * CENT
        assert host.served("inference_gpu_replaced_total") == 8 * count
        assert host.served("inference_server_gpus", server="chat") == 8
        assert set(host.rows("inference_gpu_up").values()) == {1}
        (note,) = notes(host)
        assert note.startswith("GPUs that took the slot of another: GPU-")
    rows = {row["uuid"]: row["picodollars"] for row in host.statement("2026-11", "gpu")["rows"]}
    # A minute and, of the 21 of each gap, 20 s after the last tick and the minute since boot.
    assert rows == {
        **dict.fromkeys(generation("a"), 14 * CENT),
        **dict.fromkeys(generation("b"), 14 * CENT),
        **dict.fromkeys(generation("c"), 14 * CENT),
        **dict.fromkeys(generation("d"), 6 * CENT),
    }


def test_a_killed_daemon_finds_slots_and_the_unseen_one_in_its_ledger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Seven of eight, killed, and again: one unseen all the while; what it costs is unallocated."""
    caplog.set_level("INFO")
    boards = Boards(generation("a", 7))
    host = SimulatedHost(tmp_path, CONFIG, NOON, nvml=boards)
    host.tick()
    assert messages(caplog) == [("gpu count mismatch", "")]
    for _ in range(2):
        assert spent(host) == 48 * CENT
        host.restart(MINUTE)
        host.tick()
        assert notes(host) == ["Charged GPUs that NVML never listed (unseen): 1 of 8."]
    assert host.served("inference_gpus_expected") - host.served("inference_gpus_visible") == 1
    assert host.served("inference_cost_dollars_per_hour", server="unallocated") == pytest.approx(3.60)
    messages(caplog)
    boards.listed = generation("a")
    host.tick(TICK)
    assert messages(caplog) == [("gpu count matches", "")]
    assert notes(host) == []
    rows = {row["uuid"]: row["picodollars"] for row in host.statement("2026-11", "gpu")["rows"]}
    # Two minutes watched and two not, each at six cents.
    assert rows["unseen"] == 24 * CENT


def test_a_ninth_and_an_exporter_that_is_given_half(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nine are charged and said; of four that may be half of a host, four are."""
    caplog.set_level("INFO")
    boards = Boards(generation("a", 9))
    host = SimulatedHost(tmp_path, CONFIG, NOON, nvml=boards)
    host.tick()
    assert messages(caplog) == [("gpu count mismatch", "")]
    assert notes(host) == ["NVML lists 9 GPUs, and 8 are paid for: correct gpus_per_host."]
    assert spent(host) == 54 * CENT
    boards.listed = generation("b", 4)
    half = tmp_path / "half"
    half.mkdir()
    host = SimulatedHost(
        half, CONFIG.replace("gpus: all}\nhardware", "gpus: visible}\nhardware"), NOON, nvml=boards
    )
    host.tick()
    assert messages(caplog) == [("only visible gpus are charged", "")]
    assert (spent(host), notes(host)) == (24 * CENT, [])


def test_a_resized_host_releases_slots(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From eight to four at half the price: four slots go, and are named."""
    caplog.set_level("INFO")
    boards = Boards()
    host = SimulatedHost(tmp_path, CONFIG, NOON, nvml=boards)
    host.tick()
    boards.listed = generation("a", 4)
    host.file.write_text(CONFIG.replace("28.80, gpus_per_host: 8", "14.40, gpus_per_host: 4"))
    messages(caplog)
    host.reboot(20 * MINUTE)
    host.tick(MINUTE)
    assert messages(caplog) == [("gpu released", uuid) for uuid in generation("a")[4:]]
    assert spent(host) == 24 * CENT


def test_a_ledger_of_the_release_before_heals(tmp_path: Path) -> None:
    """It knows 16 UUIDs, eight of them of a VM that is gone, and no addresses: eight are charged."""
    boards = Boards()
    host = SimulatedHost(tmp_path, CONFIG, NOON, nvml=boards)
    host.tick()
    host.tick(TICK)
    host.kill()
    assert host.path is not None
    new = {"pci_bus_id", "boots_missed", "predecessor", "replaced_at", "priced_as", "count"}
    with closing(sqlite3.connect(host.path)) as file, file:
        rows = file.execute("SELECT key, body FROM state WHERE scope = 'gpu'").fetchall()
        file.execute("DELETE FROM state WHERE scope IN ('gpu', 'inventory')")
        for key, body in rows:
            old = {name: value for name, value in json.loads(body).items() if name not in new}
            gone = {**old, "gpu": [key.replace("a", "z"), old["gpu"][1]], "up": False}
            file.executemany(
                "INSERT INTO state (scope, key, body) VALUES ('gpu', ?, ?)",
                [(text["gpu"][0], json.dumps(text)) for text in (old, gone)],
            )
    host.clock.true += 5 * MINUTE
    host.start()
    host.tick()
    assert spent(host) == 48 * CENT
    assert host.report is not None
    assert [row.gpu.uuid for row in host.report.gpus] == generation("a")
    # What passed while no daemon ran is of the eight that were here: 5 minutes of them.
    rows = {row["uuid"]: row["picodollars"] for row in host.statement("2026-11", "gpu")["rows"]}
    assert rows == dict.fromkeys(generation("a"), (1 + 30 + 6) * CENT)


OWNED_BOARD = "{match: {uuid: GPU-a0}, owned: {%s, in_service: 2026-01-01, life_years: 3}}"
BY_BOARD = f"""
hardware:
  - {OWNED_BOARD}
  - rented: {{prices: [{{from: 2026-01-01, dollars_per_gpu_hour: 3.60}}], billing: always}}
"""
CHEAP, DEAR = (BY_BOARD % f"purchase_dollars_per_gpu: {dollars}" for dollars in (26298, 52596))
"""At a dollar an hour over 3 x 8,766 hours, and at two."""


def proposals(host: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The commands that `adjust --proposals` prints."""
    capsys.readouterr()
    assert adjust(AdjustFlags(host.file, host.path, proposals=True), host.clock) == 0
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("boards", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_a_slot_is_corrected_at_the_price_that_it_was_charged_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], boards: list[str]
) -> None:
    """A named board and those after it in its slot, ten hours each: nothing, then a dollar an hour is due.

    At the price of the other rule each hour would be 2.60 more.
    """
    cards = Boards(generation("a", 1))
    host = SimulatedHost(tmp_path, CHEAP, NOON, nvml=cards)
    host.tick()
    for name in boards:
        cards.listed = generation(name, 1)
        host.tick()
        host.tick(10 * HOUR)
    assert host.whole() == 10 * len(boards) * DOLLAR
    assert proposals(host, capsys) == []

    host.file.write_text(DEAR)
    (command,) = proposals(host, capsys)
    assert f"--amount={10 * len(boards)}.00 " in command


def test_a_board_that_left_the_slot_that_priced_it_is_charged_late(tmp_path: Path) -> None:
    """Three boards in one slot, ten hours each without a price: then all of the slot has the first one's."""
    cards = Boards(generation("a", 1))
    host = SimulatedHost(tmp_path, "unmatched_hardware: unpriced\n", NOON, nvml=cards)
    host.tick()
    for name in "abc":
        cards.listed = generation(name, 1)
        host.tick()
        host.tick(10 * HOUR)
    host.reload(CHEAP)
    for _ in range(3):
        host.tick()
    assert host.whole() == 30 * DOLLAR

"""`adjust --proposals` as people run it: on the books of a host whose prices changed afterwards."""

import shlex
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.adjust import AdjustFlags, adjust
from exporter.cli.arguments import program
from exporter.readings import Gpu, GpuReading, QuickSource
from exporter.vendors import NVIDIA
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import HOUR, SECOND

OWNERS = """
ownership: {rules: [{match: {server: chat}, product: chat, team: assistants}]}
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""
DATED = (
    OWNERS
    + """
hardware:
  - {match: {uuid: GPU-0}, rented: {prices: [{from: 2026-11-25, dollars_per_gpu_hour: %s}]}}
  - {rented: {prices: [{from: 2026-11-25, dollars_per_gpu_hour: 3.60}]}}
"""
)


class Two(QuickSource):
    """Two GPUs, of which chat holds the first."""

    vendor = NVIDIA
    name = "nvml"

    def read(self) -> tuple[GpuReading, ...]:
        return tuple(GpuReading(Gpu(f"GPU-{number}", "H100"), number) for number in range(2))

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    """An hour of both at 3.60 dollars, from noon on."""
    host = SimulatedHost(tmp_path, DATED % "3.60", "2026-11-25T12:00:00+00:00", nvml=Two())
    host.tick()
    host.tick(HOUR)
    return host


def lines(host: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line that a shell would run."""
    capsys.readouterr()
    assert adjust(AdjustFlags(host.file, host.path, proposals=True), host.clock) == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]


def enter(host: SimulatedHost, words: list[str], reason: str = "") -> int:
    """Run such a line."""
    chosen = program().parse_args(words[1:])
    fields = (chosen.amount, chosen.date, chosen.product, chosen.team, reason or chosen.reason, chosen.key)
    return adjust(AdjustFlags(chosen.config_file, chosen.ledger_path, *fields), host.clock)


def owed_by_product(host: SimulatedHost) -> dict[str, int]:
    """Picodollars of the month by product."""
    rows = host.statement("2026-11")["rows"]
    return {row["product"]: row["picodollars"] for row in rows}


def test_a_repriced_gpu_is_corrected_for_who_held_it(
    host: SimulatedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """-0.72 for chat, nothing for the GPU that nobody holds; entered, the month is as it should have been."""
    assert lines(host, capsys) == []
    host.reload(DATED % "2.88")
    (line,) = lines(host, capsys)
    assert line[4:8] == ["--amount=-0.72", "--date=2026-11-25", "--product=chat", "--team=assistants"]
    assert enter(host, line, "FIN-1: the provider's letter") == 0
    assert lines(host, capsys) == []
    host.tick(10 * SECOND)
    assert lines(host, capsys) == []

    # An hour and ten seconds, of chat's at 2.88 and of the other at 3.60.
    assert owed_by_product(host) == {"chat": 2_888 * 10**9, "unassigned": 3_610 * 10**9}


def test_a_credit_with_the_words_of_a_line_is_a_credit(
    host: SimulatedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four hours at 0.72 less are -2.88, beside a person's credit of 1.00 that begins like a line's."""
    host.tick(3 * HOUR)
    reason = "prices since 2026-11-25 were changed afterwards: goodwill"
    flags = AdjustFlags(host.file, host.path, "-1.00", "2026-11-25", "chat", "assistants", reason)
    assert adjust(flags, host.clock) == 0
    host.reload(DATED % "2.88")
    (line,) = lines(host, capsys)
    assert line[4:6] == ["--amount=-2.88", "--date=2026-11-25"]
    assert enter(host, line) == 0
    assert lines(host, capsys) == []
    host.tick(10 * SECOND)

    # Four hours and ten seconds of chat's at 2.88, less 1.00.
    assert owed_by_product(host)["chat"] == 4 * 2_880 * 10**9 + 8 * 10**9 - 10**12


def test_a_gpu_that_changed_hands_is_corrected_for_both(
    host: SimulatedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour of chat's, then half an hour of search's, in hours of their own: -0.72 and -0.36."""
    host.reload((DATED % "3.60").replace("product: chat", "product: search"))
    host.tick(HOUR // 2)
    host.reload((DATED % "2.88").replace("product: chat", "product: search"))
    amounts = {words[6]: words[4] for words in lines(host, capsys)}

    assert amounts == {"--product=chat": "--amount=-0.72", "--product=search": "--amount=-0.36"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--proposals", "--amount=1"], "--proposals prints lines and enters none: leave out --amount"),
        (
            ["--proposals", "--reason=x", "--dry-run"],
            "--proposals prints lines and enters none: leave out --reason, --dry-run",
        ),
        ([], "the following arguments are required: --amount, --date, --product, --reason"),
        (["--amount=1", "--date=2026-11-25"], "the following arguments are required: --product, --reason"),
    ],
)
def test_what_does_not_go_together(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flags that are too many or missing are named."""
    with pytest.raises(SystemExit, match="2"):
        main(["adjust", *words])

    assert message in capsys.readouterr().err


def test_without_a_file_there_are_no_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which flag is missing."""
    assert main(["adjust", "--proposals", f"--ledger.path={tmp_path / 'ledger.db'}"]) == 2
    assert capsys.readouterr().err == (
        "--proposals needs the dated prices of the daemon's configuration: give --config.file\n"
    )


def test_without_a_ledger_there_is_nothing_to_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration that is wrong is 2, a ledger that is missing 1; neither prints a line."""
    file = tmp_path / "config.yaml"
    file.write_text(DATED % "2.88")
    assert main(["adjust", "--proposals", f"--config.file={file}", f"--ledger.path={tmp_path / 'l.db'}"]) == 1
    file.write_text("hardware: 7\n")
    assert main(["adjust", "--proposals", f"--config.file={file}"]) == 2

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("FIN-1", '--key: "FIN-1" is the key of no proposed line'),
        ("repricing/2026-11-25/0x1", "is the key of no proposed line"),
        ("repricing/2026-02-30/1", "--key: 2026-02-30 does not exist in the calendar"),
        ("repricing/2026-11-26/1", "--key: 2026-11-26 is in the future"),
        ("x" * 5000, "is the key of no proposed line"),
    ],
)
def test_keys_that_no_line_has(
    host: SimulatedHost, key: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused with what to do; nothing is entered."""
    flags = AdjustFlags(host.file, host.path, "1", "2026-11-25", "chat", "assistants", "because", key)

    assert adjust(flags, host.clock) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error) < 400
    assert host.statement("2026-11")["adjustments"] == []

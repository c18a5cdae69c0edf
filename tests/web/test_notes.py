"""The notes: whether to believe the figures, and what is not in them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from markupsafe import escape

from exporter.config import load
from exporter.readings import FailureReason, Gpu, ServerKey, ServerReading, UnreadServer
from exporter.report import Build, Report, SourceRow, Window
from exporter.sources.nvml.library import ADVICE, LIBRARY_NOT_FOUND
from exporter.tariff.calendar import month_of
from exporter.tariff.rate import Derivation, Provenance
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Retirement
from exporter.web.cost_json import document
from exporter.web.page import page
from exporter.web.wording import price_line
from tests.kit.units import SECOND
from tests.web.conftest import CHAT, UNALLOCATED_OWNER

MakeReport = Callable[..., Report]

BUILD = Build("0.1.0", "9e3d667", "3.11.7")
NOW = 1000 * SECOND
OLD = 1031 * SECOND
ELEVEN = 1_795_518_000 * SECOND  # 2026-11-24T11:00:00Z
STALE = "No tick for more than three intervals: current spend is unknown."
UNSET = "the clock is set (it is waited for two minutes at most)"
WRITE = (
    'Add your price: hardware: [{match: {gpu_model: "NVIDIA H100 80GB HBM3"}, '
    "rented: {dollars_per_gpu_hour: PRICE}}]"
)
NO_LIBRARY = ADVICE[LIBRARY_NOT_FOUND]
WHOSE = "the ledger's host is verified (it may be another machine's, and no GPU can be read to identify it)"


def noted(report: Report, elapsed: int = NOW) -> list[str]:
    """The notes in the document, which are those on the page."""
    notes: list[str] = json.loads(document(report, elapsed, BUILD))["host"]["notes"]
    items = [f"<li>{escape(note)}</li>\n" for note in notes]
    banner = page(report, elapsed, BUILD).decode().partition('<div data-part="notes">')[2]
    banner = banner.partition('<div data-part="figures">')[0]
    assert banner.startswith(f'<div class="notes" role="status">\n<ul>{"".join(items[:3])}</ul>\n') == bool(
        notes
    )
    assert ("No warning about these figures." in banner) == (not notes)
    further = f"<details><summary>{len(notes) - 3} more</summary>\n<ul>{''.join(items[3:])}</ul>\n</details>"
    assert (further in banner) == (len(notes) > 3)
    return notes


def well(make_report: MakeReport, **changes: Any) -> Report:
    """The host told by hand with nothing amiss, but for changes."""
    report = make_report(in_books={"uncharged": 0})
    sound = replace(
        report, gpus=report.gpus[:2], prices=report.prices[:2], sources=report.sources[:1], unread=()
    )
    return replace(sound, **changes)


def down(name: str, last: int | None = ELEVEN) -> SourceRow:
    """A source that failed in this tick."""
    return SourceRow(name, up=False, read_duration=SECOND, last_success=last)


def test_a_host_that_is_well_has_no_notes(make_report: MakeReport) -> None:
    """There is no banner to get used to."""
    assert noted(well(make_report)) == []


def test_notes_say_what_to_know_before_the_figures(make_report: MakeReport) -> None:
    """The host told by hand has a lost GPU without a price, one with a guessed one, and a long gap."""
    assert noted(make_report()) == [
        f"Unpriced GPUs: 1 of 3. These figures do not include their cost. {WRITE}",
        "Source server cannot be read (never since the start).",
        (
            "Server sglang:30000 is not read: nothing of its own listens where its metrics should be. "
            "Wait until it has loaded; else write the port: `metrics: {port: PORT}`."
        ),
        f"GPUs priced by an estimate: 1 of 3. {WRITE}",
        "GPUs that are paid for and cannot be read: 1 of 3.",
        (
            "Downtime beyond gap.max_days is not charged: 259,200 s (3.0 days) since the ledger was created. "
            "These figures do not include its cost."
        ),
    ]


@pytest.mark.parametrize(
    ("in_books", "note"),
    [
        ({"residual": 1}, "Accrued and posted dollars differ"),
        (
            {"moved_aside": "ledger.db.corrupt-1"},
            (
                "A new ledger was created at this start. The previous ledger was moved to "
                "ledger.db.corrupt-1; these figures do not include it."
            ),
        ),
        ({"persistent": False}, "The ledger is in memory"),
        ({"writable": False}, "The ledger cannot be written"),
        ({"fleeting": True}, "The ledger is on an emptyDir"),
        (
            {"displaced": "ledger.db.displaced-1"},
            (
                "The ledger file was replaced while the daemon ran. Totals continue in "
                "ledger.db.displaced-1; a restart uses the other file."
            ),
        ),
    ],
)
def test_notes_tell_trouble_with_the_books(
    in_books: dict[str, Any], note: str, make_report: MakeReport
) -> None:
    """Whoever reads the page first reads whether to believe it."""
    assert noted(make_report(in_books=in_books))[0].startswith(note)


def test_books_beside_a_ledger_that_cannot_be_read_may_count_twice(make_report: MakeReport) -> None:
    """Whoever adds hosts up reads it beside the words on memory."""
    shown = noted(make_report(in_books={"persistent": False, "unread": True}))[:2]
    assert shown == [
        "The ledger is in memory: a restart loses the month.",
        (
            "The ledger's file cannot be read: once it can, the time since then may be counted twice, by "
            "this ledger and by that file."
        ),
    ]


def test_a_note_tells_a_failed_reload(make_report: MakeReport) -> None:
    """The file on disk is not what is in force."""
    report = make_report()
    failed = replace(report, config=replace(report.config, last_reload_success=False))

    assert noted(failed)[-1].startswith("The last configuration reload failed")


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (down("nvml"), "NVML cannot be read (last at 2026-11-24T11:00:00Z)."),
        (down("nvml", None), "NVML cannot be read (never since the start)."),
        (down("clock"), "The clock is not synchronized (last at 2026-11-24T11:00:00Z)."),
        (down("server:batch"), "Server batch cannot be read (last at 2026-11-24T11:00:00Z)."),
        (
            down("server:ml/chat"),
            "Server ml/chat cannot be read at 1 of 2 endpoints (last at 2026-11-24T11:00:00Z).",
        ),
        (down("server:<b>"), "Server <b> cannot be read (last at 2026-11-24T11:00:00Z)."),
        (down("else"), "Source else cannot be read (last at 2026-11-24T11:00:00Z)."),
        (
            replace(down("server:a", None), problem="http://h/metrics: Connection refused."),
            "Server a cannot be read (never since the start): http://h/metrics: Connection refused.",
        ),
        (
            replace(down("server:a", None), problem=f"<b>{'x' * 500}\n"),
            f"Server a cannot be read (never since the start): <b>{'x' * 397} ...",
        ),
        (
            replace(down("nvml", None), problem=f"nvml: {NO_LIBRARY}"),
            f"NVML cannot be read (never since the start): nvml: {NO_LIBRARY}.",
        ),
        (
            replace(down("server:a", None), problem=f"{'word ' * 79}cut\there"),
            f"Server a cannot be read (never since the start): {'word ' * 79}cut ...",
        ),
    ],
    ids=[
        *("nvml", "never", "clock", "server", "replica", "markup", "other", "why", "long"),
        *("remedy", "at a word"),
    ],
)
def test_a_source_that_is_down_is_named(source: SourceRow, note: str, make_report: MakeReport) -> None:
    """With the last time that it was read; a replica that is down is not its whole server."""
    assert noted(well(make_report, sources=(source,))) == [note]


def test_a_server_that_is_down_is_noted_with_its_remedy(make_report: MakeReport) -> None:
    """Whole, however long: it is ours. What the server said is cut."""
    chat = ServerKey("ml", "chat")
    unread = (UnreadServer(chat, FailureReason.UNAUTHORIZED, "http://10.0.0.2:8000/metrics"),)
    source = replace(down("server:ml/chat"), problem="http://10.0.0.2:8000/metrics: HTTP status 401")

    assert noted(well(make_report, sources=(source,), unread=unread)) == [
        (
            "Server ml/chat cannot be read at 1 of 2 endpoints (last at 2026-11-24T11:00:00Z): "
            "http://10.0.0.2:8000/metrics: HTTP status 401. "
            "Write `metrics: {bearer_token_file: /PATH/token}`; "
            "with `match` that takes a `user`, a `unit` or a `workload` of one namespace."
        )
    ]


def test_a_server_of_a_pair_without_a_role_is_noted(make_report: MakeReport) -> None:
    """Once, whatever the number of its endpoints; eight by name."""
    report = well(make_report)
    doubtful = [
        ServerReading(ServerKey("", f"s{number}"), "http://a", up=True, role_doubt="its page disagrees")
        for number in (*range(10), 0)
    ]
    notes = noted(replace(report, servers=(*report.servers, *doubtful)))

    assert notes[0] == (
        "Server s0 has no role: its page disagrees. Tokens of a disaggregated pair are on both pages: set "
        "`role: prefill` or `role: decode` in `servers`."
    )
    assert len(notes) == 9
    assert notes[8] == "Further servers without a role: 2."


def test_many_servers_that_are_not_read_are_counted(make_report: MakeReport) -> None:
    """Eight are named, each once."""
    unread = tuple(UnreadServer(ServerKey("", f"a{n % 10}"), FailureReason.NO_TOKENS) for n in range(20))
    notes = noted(well(make_report, unread=unread))

    assert len(notes) == 9
    assert notes[0].startswith("Server a0 is not read: it counts no tokens. Start vLLM without ")
    assert notes[8] == "Further servers that are not read: 2."


def test_what_costs_unseen_stands_above_the_clock(make_report: MakeReport) -> None:
    """The gravest first: no NVML, no price, then what is late or cannot be read, then what is estimated."""
    report = replace(make_report(in_books={"uncharged": 0}), sources=(down("clock"), down("nvml")), unread=())

    assert [note.split(" ")[0:3] for note in noted(report)][:4] == [
        ["NVML", "cannot", "be"],
        ["Unpriced", "GPUs:", "1"],
        ["The", "clock", "is"],
        ["GPUs", "priced", "by"],
    ]


@pytest.mark.parametrize("model", ["NVIDIA H100 80GB HBM3", 'A "quoted" GPU', "NVIDIA L4"])
def test_the_line_to_write_prices_the_gpu(model: str, tmp_path: Path) -> None:
    """Pasted with a price, it is taken, and the GPU has a configured price: the note goes away."""
    file = tmp_path / "config.yaml"
    file.write_text(price_line([model, "another"]).replace("PRICE", "2.5"))
    tariff = Tariff("host-1", load(file).hardware)
    month = month_of(ELEVEN, ZoneInfo("UTC"))
    rent = next(iter(tariff.price(Gpu("GPU-1", model), ELEVEN, month, 1).rates))

    assert (rent.component, rent.provenance.price_basis) == ("rent", "configured")
    assert rent.rate.dollars_per_hour() == 2.5


def test_claims_that_were_refused_are_noted(make_report: MakeReport) -> None:
    """Whose they are is for those who may ask `doctor`: a command line is no text for a page."""
    processes = SourceRow(
        "processes", up=True, read_duration=SECOND, last_success=ELEVEN, errors={"refused": 3}
    )

    assert noted(well(make_report, sources=(processes,))) == [
        (
            "Some processes claim ports or server names of other users. The claims were refused; "
            "`doctor` lists them."
        )
    ]


def test_a_server_that_is_down_everywhere_is_down(make_report: MakeReport) -> None:
    """All its endpoints are, and so there is nothing to count."""
    endpoints = tuple(ServerReading(ServerKey("", "a"), f"http://{n}/metrics", up=False) for n in "12")
    report = well(make_report, sources=(down("server:a", None),), servers=endpoints)

    assert noted(report) == ["Server a cannot be read (never since the start)."]


def test_many_sources_that_are_down_are_counted(make_report: MakeReport) -> None:
    """NVML is named before servers, and what is behind the eighth of the others is a number."""
    sources = (*(down(f"server:{n}", None) for n in range(10)), down("clock", None), down("nvml", None))
    texts = noted(well(make_report, sources=sources))

    assert texts[:3] == [
        "NVML cannot be read (never since the start).",
        "The clock is not synchronized (never since the start).",
        "Server 0 cannot be read (never since the start).",
    ]
    assert texts[9:] == ["Further sources that cannot be read: 3."]


def test_books_that_are_withheld_say_what_they_wait_for(make_report: MakeReport) -> None:
    """A rebooted host waits for its clock, a ledger that may be another's for a GPU, some for both."""
    clock, nvml = down("clock"), down("nvml")

    def first(**changes: Any) -> str:
        return noted(well(make_report, totals=None, projected={}, **changes))[0]

    assert first(sources=(clock,)) == f"No totals are shown until {UNSET}."
    assert first(sources=(nvml,), gpus=()) == f"No totals are shown until {WHOSE}."
    assert first(sources=(nvml, clock), gpus=()) == f"No totals are shown until {UNSET}, or until {WHOSE}."
    lost = replace(make_report().gpus[0], index=-1, up=False, reading=None)
    assert first(sources=(nvml,), gpus=(lost,)) == f"No totals are shown until {WHOSE}."


def test_projections_over_budget_are_noted(make_report: MakeReport) -> None:
    """Of the fleet and of a product each, where this host alone is above; at the budget is not above."""
    projected = {("search", "2026-11"): 12000.5, ("ads", "2026-11"): 20000.0, ("ads", "2026-10"): 1e9}

    assert noted(well(make_report, projected=projected)) == [
        (
            'Over the budget "fleet" ($27,000.00 a month): this host alone is projected to spend $32,000.50 '
            "in 2026-11."
        ),
        (
            'Over the budget "search" ($12,000.00 a month): this host alone is projected to spend $12,000.50 '
            "for product search in 2026-11."
        ),
    ]
    assert noted(well(make_report, projected={("search", "2026-11"): 12000.0})) == []


def test_a_price_per_token_that_is_withheld_is_noted(make_report: MakeReport) -> None:
    """90 minutes of two holders wait for a price; of an old report nothing is said of the last hour."""
    window = {
        CHAT: Window({"decode": 1}, {}, unpriced=3600 * SECOND),
        UNALLOCATED_OWNER: Window({}, {}, unpriced=1800 * SECOND),
    }
    totals = replace(well(make_report).totals, window=window)  # type: ignore[type-var]

    assert noted(well(make_report, totals=totals)) == [
        (
            "Unpriced GPU time of the last hour: 1.50 GPU-hours. Its servers have no cost per "
            "million tokens until it is charged."
        )
    ]
    assert noted(well(make_report, totals=totals), OLD) == [STALE]


def test_of_an_old_report_only_what_lasts_is_noted(make_report: MakeReport) -> None:
    """What is down and where the month ends may have changed since; trouble with the books comes first."""
    report = make_report(
        in_books={"uncharged": 0, "residual": 1, "persistent": False},
        projected={("search", "2026-11"): 1e6},
    )

    assert noted(report, OLD) == [
        STALE,
        "Accrued and posted dollars differ. This is a bug: report it with the log.",
        "The ledger is in memory: a restart loses the month.",
        f"Unpriced GPUs: 1 of 3. These figures do not include their cost. {WRITE}",
        f"GPUs priced by an estimate: 1 of 3. {WRITE}",
    ]


def test_a_scaled_price_is_noted_as_one(make_report: MakeReport) -> None:
    """An estimate of another kind than a market price, with and without the rule before it."""
    report = well(make_report)
    for source in (
        "scaled aws p5.48xlarge eu-north-1 on demand (x)",
        "hardware[0].rented: scaled aws p5 (x)",
    ):
        origin = Provenance("estimate", source, "2025-04-05", Derivation.SCALED)
        prices = (replace(report.prices[0], provenance=origin), *report.prices[1:])

        assert noted(replace(report, prices=prices)) == [
            f"GPUs priced by an estimate: 1 of 2. Scaled from the list price of another region: 1. {WRITE}"
        ]


def test_an_old_list_is_noted_where_a_price_of_it_is_charged(make_report: MakeReport) -> None:
    """Half a year and a day; configured prices age by nobody's list."""
    report = well(make_report)
    origin = Provenance("catalogue", "aws p5.48xlarge us-east-1 on demand (x)", "2026-05-27")
    listed = (replace(report.prices[0], provenance=origin), *report.prices[1:])
    days_180, days_181 = (report.wall - days * 24 * 3600 * SECOND for days in (180, 181))

    assert noted(replace(report, price_list_date=days_181)) == []
    assert noted(replace(report, price_list_date=days_180, prices=listed)) == []
    assert noted(replace(report, price_list_date=None, prices=listed)) == []
    assert noted(replace(report, price_list_date=days_181, prices=listed)) == [
        (
            "The newest list of instance prices is 181 days old. Write a newer one with `prices update`, "
            "or write what you pay."
        )
    ]
    assert noted(replace(report, price_list_date=report.wall + 1, prices=listed)) == [
        "The newest list of instance prices is of the future: is the clock right?"
    ]


def test_a_gpu_that_is_said_to_have_left_and_is_here_is_noted(make_report: MakeReport) -> None:
    """It is charged; one that is not read any more has no row, and one whose day lies ahead is no note."""
    report = well(make_report)
    assert report.basis is not None
    policy = report.basis.policy
    here = next(row.gpu.uuid for row in report.gpus if row.reading)
    for since, notes in (
        (report.wall, ["GPUs marked `retired` that are present and charged: 1 of 2."]),
        (report.wall + SECOND, []),
    ):
        tariff = replace(policy.tariff, retired=(Retirement(here, since), Retirement("GPU-gone", 0)))
        basis = replace(report.basis, policy=replace(policy, tariff=tariff))
        assert noted(replace(report, basis=basis)) == notes


def test_a_host_without_a_gpu_is_noted(make_report: MakeReport) -> None:
    """Where NVML answers and lists none; where it does not answer, that is what is wrong."""
    nvml = SourceRow("nvml", up=True, read_duration=SECOND, last_success=ELEVEN)
    none = well(make_report, gpus=(), prices=(), expected_gpus=None, sources=(nvml,))

    assert noted(none) == ["NVML lists no GPU: nothing is charged."]
    assert noted(replace(none, sources=(down("nvml"),))) == [
        "NVML cannot be read (last at 2026-11-24T11:00:00Z)."
    ]
    assert noted(none, OLD) == [STALE]

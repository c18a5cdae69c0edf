"""The benchmark of a thousand ledgers, with thirty: what it builds is what was posted."""

from pathlib import Path

from benchmarks.fleet_books import OCTOBER, build, vary
from exporter.finance.chargeback import COLUMNS, DAY_FAMILIES, ChargebackLayout, chargeback
from exporter.finance.fleet.folder import LedgerFolder
from exporter.finance.fleet.record import combine
from exporter.finance.month import BYS, month
from exporter.tariff.period import Period
from tests.finance.fleet.host_months import HOUR


def test_spot_nodes_add_up_to_what_was_posted(tmp_path: Path) -> None:
    """Of three hours each, with other ids, GPUs and amounts; by anything, to the picodollar."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    built = build(tmp_path / "built.db", 1)
    posted = sum(vary(built, folder / f"{number}.db", number) for number in range(30))
    ledgers = LedgerFolder([folder], Period.named("2026-10"), "UTC", days=DAY_FAMILIES)
    fleet = combine(ledgers.headers(), OCTOBER + 2000 * HOUR, load=ledgers.load)

    assert fleet.total == posted
    assert [each.kind for each in fleet.findings] == ["silent"] * 30
    assert sum(host.covered for host in fleet.hosts) == 90 * HOUR
    layouts = [ChargebackLayout(COLUMNS, idle) for idle in (None, "apart", "spread")]
    statements = [
        *(month(fleet.record, by, "", fleet.zone) for by in BYS),
        *(chargeback(fleet.record, "", fleet.zone, layout) for layout in layouts),  # type: ignore[arg-type]
    ]
    for statement in statements:
        assert sum(line.money for line in statement.lines) == posted

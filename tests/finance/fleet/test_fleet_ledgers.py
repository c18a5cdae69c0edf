"""The thousand ledgers of the benchmark, here thirty: their files hold what is reckoned apart."""

from pathlib import Path

from benchmarks.fleet_ledgers import fleet, write_ledgers
from exporter.finance.facts import DAY_FAMILIES
from exporter.finance.fleet.folder import LedgerFolder
from exporter.finance.fleet.record import combine
from exporter.finance.statements import (
    COLUMNS,
    MONTH_BYS,
    ChargebackLayout,
    chargeback_statement,
    month_statement,
)
from exporter.tariff.period import Period
from exporter.units import PICODOLLARS_PER_DOLLAR
from tests.kit.units import HOUR, OCTOBER


def test_spot_nodes_add_up_to_what_was_posted(tmp_path: Path) -> None:
    """Of three hours each, with other ids, GPUs and amounts; by anything, to the picodollar."""
    spots = [ledger for ledger in fleet("2026-10", 38) if ledger.spot]
    write_ledgers(tmp_path, spots)
    posted = sum(ledger.dollars for ledger in spots) * PICODOLLARS_PER_DOLLAR
    ledgers = LedgerFolder([tmp_path], Period.named("2026-10"), "UTC", days=DAY_FAMILIES)
    whole = combine(ledgers.headers(), OCTOBER + 2000 * HOUR, load=ledgers.load)

    assert whole.total == posted
    assert [each.kind for each in whole.findings] == ["silent"] * len(spots) + ["unobserved"] * 30
    assert sum(host.covered for host in whole.hosts) == 90 * HOUR
    layouts = [ChargebackLayout(COLUMNS, idle) for idle in (None, "apart", "spread")]
    statements = [
        *(month_statement(whole.record, by, current_month="", zone=whole.zone) for by in MONTH_BYS),
        *(
            chargeback_statement(whole.record, layout, current_month="", zone=whole.zone)
            for layout in layouts
        ),  # type: ignore[arg-type]
    ]
    for statement in statements:
        assert sum(line.money for line in statement.lines) == posted

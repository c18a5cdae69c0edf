"""Hosted equivalents in the ledger: kept beside the money."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from exporter.cost.postings import HostedEquivalent, TokenPosting, equivalents
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.tariff.hosted import HostedPrice
from tests.kit.clock import ManualClock
from tests.kit.units import NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, SEARCH, accrued, money, tick

MONTHS = ("2026-11",)
FIRST = replace(
    tick(NOVEMBER + 10 * SECOND),
    equivalents=(HostedEquivalent(CHAT, "turbo", 5), HostedEquivalent(CHAT, "any", 0)),
    owners=(CHAT,),
)
SECOND_TICK = replace(
    tick(NOVEMBER + 20 * SECOND),
    equivalents=(HostedEquivalent(CHAT, "turbo", 7), HostedEquivalent(SEARCH, "any", 2)),
    owners=(CHAT, SEARCH),
)
SUMS = {(CHAT, "turbo"): 12, (CHAT, "any"): 0, (SEARCH, "any"): 2}


def test_equivalents_add_up_and_outlive_a_restart(path: Path, clock: ManualClock) -> None:
    """They are totals like any other, and the residual does not know them."""
    for number, one in enumerate((FIRST, SECOND_TICK), 1):
        ledger = Ledger.open(path, clock)
        ledger.post(one, accrued(*(FIRST, SECOND_TICK)[:number]))
        totals = ledger.totals(NOVEMBER, MONTHS)
        ledger.close()

    assert (totals.equivalents, totals.residual) == (SUMS, 0)
    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER, MONTHS).equivalents == SUMS


def test_without_any_offer_nothing_is_kept(path: Path, clock: ManualClock) -> None:
    """There are no rows."""
    ledger = Ledger.open(path, clock)
    ledger.post(replace(FIRST, equivalents=()), ledger.state())
    ledger.close()

    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER, MONTHS).equivalents == {}


def test_at_the_ceiling_they_stand_still_and_money_goes_on(path: Path, clock: ManualClock) -> None:
    """A wrong server reports 10**18 tokens: at a dollar a million, a million million dollars, of which
    9,223,372.036854775807 are kept. A comparison is no reason to stop the ledger, at once or a tick later.
    """
    offer = HostedPrice("turbo", Decimal(1), Decimal(1))
    lie = tick(
        NOVEMBER + 10 * SECOND, money(3), tokens=(TokenPosting(CHAT, "generation", 10**18),), owners=(CHAT,)
    )
    lie = replace(lie, equivalents=equivalents(lie.tokens, (offer,)))
    after = tick(
        NOVEMBER + 20 * SECOND, money(4), tokens=(TokenPosting(CHAT, "generation", 5),), owners=(CHAT,)
    )
    after = replace(after, equivalents=equivalents(after.tokens, (offer,)))
    ledger = Ledger.open(path, clock)
    reported = []
    for number, one in enumerate((lie, after), 1):
        ledger.post(one, accrued(*(lie, after)[:number]))
        totals = ledger.totals(NOVEMBER, MONTHS)
        reported.append((ledger.problem, totals.equivalents, sum(totals.cost.values()), totals.residual))
    ledger.close()

    full = {(CHAT, "turbo"): 9_223_372_036_854_775_807}
    assert reported == [("", full, 3, 0), ("", full, 7, 0)]
    with LedgerReader.open(path) as reader:
        assert reader.totals(NOVEMBER, MONTHS).equivalents == full

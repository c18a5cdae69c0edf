"""Hosted offers: servers that cost more than their tokens do elsewhere. Pure."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final

from exporter.cost.money import add
from exporter.cost.savings.finding import Saving, SavingsPolicy, claim
from exporter.cost.savings.hours import HostUsage, JudgedServer
from exporter.readings import Kind, ServerKey
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

OFFER_DAYS: Final = 366
"""Age from which the price of an offer is not compared."""


def current_offers(policy: SavingsPolicy) -> tuple[tuple[HostedPrice, ...], tuple[HostedPrice, ...]]:
    """Offers with a price of the last year or without a date, and the others."""
    today = datetime.fromtimestamp(policy.now // NANOSECONDS_PER_SECOND, UTC).date()
    current: list[HostedPrice] = []
    dated: list[HostedPrice] = []
    for offer in policy.offers:
        try:
            age = (today - date.fromisoformat(offer.as_of[:10])).days if offer.as_of else 0
        except ValueError:
            age = OFFER_DAYS + 1
        (current if -1 <= age <= OFFER_DAYS else dated).append(offer)
    return tuple(current), tuple(dated)


def hosted(
    host: HostUsage, key: ServerKey, server: JudgedServer, policy: SavingsPolicy, left: Nanoseconds
) -> Saving | None:
    """The cost of the hours that are left, less that of the window's tokens at the cheapest offers."""
    tokens: dict[str, dict[Kind, int]] = {}
    for hour, usage in host.hours.items():
        if host.first <= hour <= host.last:
            for (owner, kind), count in usage.tokens.items():
                if owner.key == key:
                    add(tokens.setdefault(owner.model, {}), kind, count)
    served = {model: counts for model, counts in tokens.items() if any(counts.values())}
    references: set[str] = set()
    elsewhere = 0
    for model, counts in sorted(served.items()):
        offers = [
            (equivalent(offer, counts), offer.reference)
            for offer in policy.offers
            if offer.covers(key.server, model)
        ]
        if not offers:
            return None
        amount, reference = min(offers)
        elsewhere += amount
        references.add(reference)
    saving = claim("hosted", host, key, left, server.gpus)
    if not served or saving.amount <= elsewhere:
        return None
    return replace(
        saving,
        amount=saving.amount - elsewhere,
        reference=", ".join(sorted(references)),
        offer_amount=elsewhere,
        tokens=sum(sum(counts.values()) for counts in served.values()),
    )

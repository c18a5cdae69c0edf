"""Hosted offers: servers that cost more than their tokens do elsewhere. Pure."""

from datetime import UTC, datetime

from exporter.advice.finding import Saving, SavingsPolicy, claim
from exporter.advice.hours import HostUsage, JudgedServer
from exporter.cost.money import add
from exporter.frozen import replace
from exporter.readings import ServerKey, TokenKind
from exporter.tariff.hosted import HostedPrice, equivalent, is_current
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds


def current_offers(policy: SavingsPolicy) -> tuple[tuple[HostedPrice, ...], tuple[HostedPrice, ...]]:
    """Offers with a price of the last year or without a date, and the others."""
    today = datetime.fromtimestamp(policy.now // NANOSECONDS_PER_SECOND, UTC).date()
    current = tuple(offer for offer in policy.offers if is_current(offer.as_of, today))
    return current, tuple(offer for offer in policy.offers if not is_current(offer.as_of, today))


def hosted(
    host: HostUsage, key: ServerKey, server: JudgedServer, policy: SavingsPolicy, left: Nanoseconds
) -> Saving | None:
    """The cost of the hours that are left, less that of the window's tokens at the cheapest offers."""
    tokens: dict[str, dict[TokenKind, int]] = {}
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
    saving = claim("hosted", host, key, left, server)
    if not served or saving.amount <= elsewhere:
        return None
    return replace(
        saving,
        amount=saving.amount - elsewhere,
        reference=", ".join(sorted(references)),
        offer_amount=elsewhere,
        tokens=sum(sum(counts.values()) for counts in served.values()),
    )

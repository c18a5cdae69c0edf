"""The measured tokens at a hosted API. Pure.

A server moves if there is an offer for every model that it served. Others stay, as do unallocated GPUs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from exporter.finance.options import outcome
from exporter.finance.options.breakeven import CostLine, break_even
from exporter.finance.options.choices import HostedChoice
from exporter.finance.options.load import MeasuredLoad, ServedModel
from exporter.finance.options.outcome import Outcome
from exporter.reports.rounding import dollars_text
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.hosted import HostedPrice, is_current
from exporter.units import PICODOLLARS_PER_DOLLAR, TOKENS_PER_MILLION

ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class _Purchase:
    """The tokens of one model, bought at one offer."""

    cost: Fraction
    """Picodollars of the tokens of the window."""
    offer: HostedPrice
    """The prices that they are bought at."""
    source: str
    """Where the offer stands, for the report."""


def hosted_offer(load: MeasuredLoad, choice: HostedChoice, policy: outcome.WhatIfPolicy) -> Outcome:
    """The tokens of all servers that can move, and the money of those that stay."""
    tokens = load.tokens
    if not tokens:
        return Outcome(choice, lack="no token was counted: there is nothing to buy")
    bought: dict[ServedModel, _Purchase] = {}
    try:
        for served, counts in tokens.items():
            offers = []
            for offer, source in _offers(served, choice, policy):
                prices = offer.by_kind()
                # A price may have a fraction of a picodollar for a token.
                per_million = sum((Fraction(prices[kind]) * count for kind, count in counts.items()), ZERO)
                cost = per_million * PICODOLLARS_PER_DOLLAR / TOKENS_PER_MILLION
                offers.append(_Purchase(cost, offer, source))
            if offers:
                bought[served] = min(offers, key=lambda purchase: (purchase.cost, purchase.offer.reference))
    except CatalogueError as error:
        return Outcome(choice, lack=f"the catalogue is damaged: {error}")
    stay = {served.server for served in tokens.keys() - bought.keys()}
    bought = {served: purchase for served, purchase in bought.items() if served.server not in stay}
    if not bought:
        references = dict.fromkeys(offer.reference for offer in policy.offers)
        if choice.name in references:
            return Outcome(choice, lack=f"{choice.name} of `compare` covers no server whole")
        known = ", ".join(references) or "none"
        return Outcome(
            choice,
            lack=f"neither `compare` (it has {known}) nor the catalogue has an offer {choice.name} for every "
            "model of a server; give prices like hosted=0.15/0.60",
        )
    offers_taken = [purchase.offer for purchase in bought.values()]
    old = [offer for offer in offers_taken if not is_current(offer.as_of, policy.today)]
    if old:
        past = sorted({f"{offer.reference} of {offer.as_of}" for offer in old})
        return Outcome(choice, lack=f"not of the last year: {', '.join(past)}; give its price now")
    freed = load.paid_for({served.server for served in bought})
    amount = sum((purchase.cost for purchase in bought.values()), ZERO)
    count = sum(sum(tokens[served].values()) for served in bought)
    a_month = Fraction(policy.hours_per_month) / load.wall_hours
    line = CostLine(ZERO, ZERO, amount * a_month / load.per_day(load.all_tokens), 0, None)
    even = break_even("now", CostLine(freed * a_month, ZERO, ZERO, 0, None), choice.text, line)
    turn = outcome.Turn("at", even.tokens_per_day)
    if even.tokens_per_day is None:  # the break-even is that of the present against the offer
        turn = outcome.Turn("always" if even.verdict == "never" else "never")
    bill = f"{count:,} tokens cost {dollars_text(int(amount))} dollars in the window"
    evidence = [f"{bill}, and their servers {dollars_text(freed)}."]
    if stay:
        evidence.append(f"Without an offer, and unchanged: {', '.join(key.name for key in sorted(stay))}.")
    evidence += outcome.staying(load, freed)
    return Outcome(
        choice,
        cost=load.paid - freed + amount,
        source="; ".join(dict.fromkeys(purchase.source for purchase in bought.values())),
        as_of=min((offer.as_of for offer in offers_taken if offer.as_of), default=""),
        turn=turn,
        evidence=tuple(evidence),
        figures={
            "tokens": count,
            "offer_dollars": amount / PICODOLLARS_PER_DOLLAR,
            "servers_dollars": Fraction(freed, PICODOLLARS_PER_DOLLAR),
        },
        line=line,
    )


def _offers(
    served: ServedModel, choice: HostedChoice, policy: outcome.WhatIfPolicy
) -> Iterator[tuple[HostedPrice, str]]:
    """Offers for a model and their sources: of the flag, of that name in `compare`, or of that provider."""
    if choice.price is not None:
        yield choice.price, outcome.GIVEN
        return
    named = [offer for offer in policy.offers if offer.reference == choice.name]
    for offer in named:
        if offer.covers(served.server.server, served.model):
            yield offer, f"compare: {offer.reference}"
    for listed in () if named else policy.catalogue.hosted(served.model):
        if listed.provider == choice.name:
            reference = f"{listed.provider} {listed.model}"
            offer = HostedPrice(
                reference, listed.prompt, listed.generation, listed.cached_prompt, as_of=listed.as_of
            )
            yield offer, f"{reference} ({listed.source})"

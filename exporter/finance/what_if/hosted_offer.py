"""The measured tokens at a hosted API. Pure.

A server moves if there is an offer for every model that it served. Others stay, as do unallocated GPUs.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from exporter.finance.tco.breakeven import CostLine, break_even
from exporter.finance.what_if import outcome
from exporter.finance.what_if.choices import HostedChoice
from exporter.finance.what_if.outcome import Outcome
from exporter.finance.what_if.window import MeasuredLoad, ServedModel
from exporter.readings import TokenKind
from exporter.reports.rounding import dollars_text
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.hosted import HostedPrice, is_current
from exporter.units import PICODOLLARS_PER_DOLLAR, TOKENS_PER_MILLION

ZERO = Fraction(0)


def hosted_offer(load: MeasuredLoad, choice: HostedChoice, policy: outcome.WhatIfPolicy) -> Outcome:
    """The tokens of all servers that can move, and the money of those that stay."""
    tokens = load.tokens
    if not tokens:
        return Outcome(choice, lack="no token was counted: there is nothing to buy")
    bought: dict[ServedModel, tuple[Fraction, HostedPrice, str]] = {}
    try:
        for served, counts in tokens.items():
            offers = [
                (_amount(offer, counts), offer, source) for offer, source in _offers(served, choice, policy)
            ]
            if offers:
                bought[served] = min(offers, key=lambda each: (each[0], each[1].reference))
    except CatalogueError as error:
        return Outcome(choice, lack=f"the catalogue is damaged: {error}")
    stay = {served.server for served in tokens.keys() - bought.keys()}
    bought = {served: each for served, each in bought.items() if served.server not in stay}
    if not bought:
        return Outcome(choice, lack=_none(choice, policy))
    if past := sorted(
        f"{offer.reference} of {offer.as_of}"
        for _, offer, _ in bought.values()
        if not is_current(offer.as_of, policy.today)
    ):
        return Outcome(
            choice, lack=f"not of the last year: {', '.join(dict.fromkeys(past))}; give its price now"
        )
    freed = load.paid_for({served.server for served in bought})
    amount = sum((cost for cost, _, _ in bought.values()), ZERO)
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
        source="; ".join(dict.fromkeys(source for _, _, source in bought.values())),
        as_of=min((offer.as_of for _, offer, _ in bought.values() if offer.as_of), default=""),
        turn=turn,
        evidence=tuple(evidence),
        figures={
            "tokens": count,
            "offer_dollars": amount / PICODOLLARS_PER_DOLLAR,
            "servers_dollars": Fraction(freed, PICODOLLARS_PER_DOLLAR),
        },
        line=line,
    )


def _amount(offer: HostedPrice, counts: Mapping[TokenKind, int]) -> Fraction:
    """Picodollars of tokens at an offer; a price may have a fraction of one for a token."""
    prices = offer.by_kind()
    per_million = sum((Fraction(prices[kind]) * count for kind, count in counts.items()), ZERO)
    return per_million * PICODOLLARS_PER_DOLLAR / TOKENS_PER_MILLION


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


def _none(choice: HostedChoice, policy: outcome.WhatIfPolicy) -> str:
    if any(offer.reference == choice.name for offer in policy.offers):
        return f"{choice.name} of `compare` covers no server whole"
    known = ", ".join(dict.fromkeys(offer.reference for offer in policy.offers)) or "none"
    return (
        f"neither `compare` (it has {known}) nor the catalogue has an offer {choice.name} for every model of "
        "a server; give prices like hosted=0.15/0.60"
    )

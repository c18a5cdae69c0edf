"""The measured tokens at a hosted API. Pure.

A server moves if there is an offer for every model that it served. Others stay, as do unallocated GPUs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from exporter.finance.tco.breakeven import BreakEven, CostLine, break_even
from exporter.finance.what_if import outcome
from exporter.finance.what_if.choices import HostedChoice
from exporter.finance.what_if.window import MeasuredLoad, ServedModel
from exporter.readings import TokenKind
from exporter.reports.rounding import dollars_text
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.hosted import HostedPrice, is_current


@dataclass(frozen=True, slots=True)
class _Bought:
    """The tokens of a model at its cheapest offer."""

    offer: HostedPrice
    source: str
    amount: Fraction


def hosted_offer(load: MeasuredLoad, choice: HostedChoice, policy: outcome.WhatIfPolicy) -> outcome.Outcome:
    """The tokens of all servers that can move, and the money of those that stay."""
    tokens = load.tokens
    if not tokens:
        return outcome.Outcome(choice, lack="no token was counted: there is nothing to buy")
    try:
        bought = {
            served: min(offers, key=lambda each: (each.amount, each.offer.reference))
            for served, counts in tokens.items()
            if (offers := [*_offers(served, counts, choice, policy)])
        }
    except CatalogueError as error:
        return outcome.Outcome(choice, lack=f"the catalogue is damaged: {error}")
    moved = {served.server for served in tokens} - {served.server for served in tokens.keys() - bought.keys()}
    bought = {served: each for served, each in bought.items() if served.server in moved}
    if not bought:
        return outcome.Outcome(choice, lack=_none(choice, policy))
    if past := sorted(
        f"{each.offer.reference} of {each.offer.as_of}"
        for each in bought.values()
        if not is_current(each.offer.as_of, policy.today)
    ):
        return outcome.Outcome(
            choice, lack=f"not of the last year: {', '.join(dict.fromkeys(past))}; give its price now"
        )
    return _outcome(load, choice, policy, bought, tokens)


def _outcome(
    load: MeasuredLoad,
    choice: HostedChoice,
    policy: outcome.WhatIfPolicy,
    bought: Mapping[ServedModel, _Bought],
    tokens: Mapping[ServedModel, Mapping[TokenKind, int]],
) -> outcome.Outcome:
    moved = {served.server for served in bought}
    freed = load.paid_for(moved)
    amount = sum((each.amount for each in bought.values()), Fraction(0))
    count = sum(sum(tokens[served].values()) for served in bought)
    a_month = Fraction(policy.hours_per_month) / load.wall_hours
    line = CostLine(Fraction(0), Fraction(0), amount * a_month / load.per_day(load.all_tokens), 0, None)
    present = CostLine(freed * a_month, Fraction(0), Fraction(0), 0, None)
    even = break_even("now", present, choice.text, line)
    bill = f"{count:,} tokens cost {dollars_text(int(amount))} dollars in the window"
    evidence = [f"{bill}, and their servers {dollars_text(freed)}."]
    if stay := sorted({served.server for served in tokens} - moved):
        evidence.append(f"Without an offer, and unchanged: {', '.join(key.name for key in stay)}.")
    evidence += outcome.staying(load, freed)
    return outcome.Outcome(
        choice,
        cost=load.paid - freed + amount,
        source="; ".join(dict.fromkeys(each.source for each in bought.values())),
        as_of=min((each.offer.as_of for each in bought.values() if each.offer.as_of), default=""),
        turn=_turn(even),
        evidence=tuple(evidence),
        figures={
            "tokens": count,
            "offer_dollars": amount / 10**12,
            "servers_dollars": Fraction(freed, 10**12),
        },
        line=line,
    )


def _turn(even: BreakEven) -> outcome.Turn:
    """The turn of an offer, where the break-even is that of the present against it."""
    if even.tokens_per_day is not None:
        return outcome.Turn("at", even.tokens_per_day)
    return outcome.Turn("always" if even.verdict == "never" else "never")


def _offers(
    served: ServedModel, counts: Mapping[TokenKind, int], choice: HostedChoice, policy: outcome.WhatIfPolicy
) -> Iterator[_Bought]:
    """Offers for a model: the price of the flag, else of that name in `compare`, else of that provider."""
    if choice.price is not None:
        yield _Bought(choice.price, outcome.GIVEN, _amount(choice.price, counts))
        return
    named = [offer for offer in policy.offers if offer.reference == choice.name]
    for offer in named:
        if offer.covers(served.server.server, served.model):
            yield _Bought(offer, f"compare: {offer.reference}", _amount(offer, counts))
    if named:
        return
    for listed in policy.catalogue.hosted(served.model):
        if listed.provider == choice.name:
            offer = HostedPrice(
                f"{listed.provider} {listed.model}",
                listed.prompt,
                listed.generation,
                listed.cached_prompt,
                as_of=listed.as_of,
            )
            yield _Bought(offer, f"{offer.reference} ({listed.source})", _amount(offer, counts))


def _amount(offer: HostedPrice, counts: Mapping[TokenKind, int]) -> Fraction:
    prices = offer.by_kind()
    return sum((Fraction(prices[kind]) * count for kind, count in counts.items()), Fraction(0)) * (
        outcome.PICODOLLARS_PER_TOKEN
    )


def _none(choice: HostedChoice, policy: outcome.WhatIfPolicy) -> str:
    if any(offer.reference == choice.name for offer in policy.offers):
        return f"{choice.name} of `compare` covers no server whole"
    known = ", ".join(dict.fromkeys(offer.reference for offer in policy.offers)) or "none"
    return (
        f"neither `compare` (it has {known}) nor the catalogue has an offer {choice.name} for every model of "
        "a server; give prices like hosted=0.15/0.60"
    )

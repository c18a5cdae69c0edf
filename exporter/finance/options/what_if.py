"""What if: choices side by side with what was paid, for the load of one window. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from exporter.advice.hours import Release, hour_of_week, local_minute
from exporter.finance.options import breakeven, choices
from exporter.finance.options.commitment import commitment
from exporter.finance.options.gpu_type import gpu_type
from exporter.finance.options.load import MeasuredLoad, ServedModel
from exporter.reports.rounding import dollars_text, hours_text
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.hosted import HostedPrice, is_current
from exporter.units import PICODOLLARS_PER_DOLLAR, TOKENS_PER_MILLION, Instant


@dataclass(frozen=True, slots=True)
class WhatIfAnswer:
    """The outcomes of choices, in their order."""

    load: MeasuredLoad
    """What was served and paid."""
    outcomes: tuple[choices.Outcome, ...]
    """What each choice would have cost."""
    break_evens: tuple[breakeven.BreakEven, ...]
    """GPU types against hosted offers, where both serve the whole load."""
    end: Instant
    """The end of the window."""
    hours_per_month: Decimal
    """Hours that a monthly amount is for."""
    releases: frozenset[Release]
    """The terms of the GPUs now."""
    partial: tuple[str, ...]
    """Servers whose tokens are computed elsewhere too."""

    def per_month(self, amount: Fraction | int) -> Fraction:
        """An amount of the window, per month."""
        return Fraction(amount) * Fraction(self.hours_per_month) / self.load.wall_hours


def what_if(
    load: MeasuredLoad,
    chosen: Sequence[choices.Choice],
    policy: choices.WhatIfPolicy,
    end: Instant,
    releases: frozenset[Release] = frozenset(),
) -> WhatIfAnswer:
    """What each choice would have cost in the window."""
    outcomes: list[choices.Outcome] = []
    for choice in chosen:
        match choice:
            case choices.GpuChoice():
                outcomes.append(gpu_type(load, choice, policy))
            case choices.CommitmentChoice():
                outcomes.append(commitment(load, choice, policy))
            case choices.ScheduleChoice():
                outcomes.append(schedule(load, choice, policy))
            case choices.HostedChoice():
                outcomes.append(hosted_offer(load, choice, policy))
    served = {key.server for key in load.tokens}
    # Both lines are of the whole load: an offer for a part of it is another load's.
    offers = [
        offered
        for offered in outcomes
        if isinstance(offered.choice, choices.HostedChoice)
        and offered.figures.get("tokens") == load.whole.all_tokens
    ]
    pairs = [
        breakeven.break_even(gpus.choice.text, gpus.line, offered.choice.text, offered.line)
        for gpus in outcomes
        for offered in offers
        if isinstance(gpus.choice, choices.GpuChoice) and gpus.line is not None and offered.line is not None
    ]
    return WhatIfAnswer(
        load=load,
        outcomes=tuple(outcomes),
        break_evens=tuple(pairs),
        end=end,
        hours_per_month=policy.hours_per_month,
        releases=releases,
        partial=tuple(sorted(key.name for key in policy.partial & served)),
    )


def schedule(
    load: MeasuredLoad, choice: choices.ScheduleChoice, policy: choices.WhatIfPolicy
) -> choices.Outcome:
    """What was paid in the hours that stay. Of the others, owned hardware is owed all the same."""
    outside = [
        hour for number, hour in load.hours.items() if hour_of_week(number, policy.zone) not in choice.slots
    ]
    spared = sum(hour.paid - hour.owned for hour in outside)
    gpu_time = sum(hour.all_gpu_time for hour in outside)
    lost = sum(hour.all_tokens for hour in outside)
    evidence = [
        f"{len(outside)} of {len(load.hours)} hours are outside, with {hours_text(gpu_time)} GPU-hours."
    ]
    if minute := local_minute(max(load.hours), policy.zone):
        evidence.append(f"Hours are taken from {minute} minutes past those of the clock.")
    figures: dict[str, choices.Figure] = {"hours_outside": len(outside), "lost_tokens": lost}
    if lost:
        share = float(Fraction(lost * 100, load.whole.all_tokens))
        per_million = Fraction(spared * TOKENS_PER_MILLION, lost)
        evidence += [
            f"Lost load: {lost:,} tokens were served outside, {share:.1f} % of all.",
            f"It pays while a million of them is worth less than {dollars_text(int(per_million))} dollars.",
        ]
        figures["dollars_per_million_lost_tokens"] = per_million / PICODOLLARS_PER_DOLLAR
    else:
        evidence.append("No token was served outside.")
    return choices.Outcome(
        choice,
        cost=Fraction(load.whole.paid - spared),
        source="what was paid in the hours that stay",
        turn=choices.Turn("none"),
        evidence=tuple(evidence),
        figures=figures,
    )


@dataclass(frozen=True, slots=True)
class _Purchase:
    """The tokens of one model, bought at one offer."""

    cost: Fraction
    """Picodollars of the tokens of the window."""
    offer: HostedPrice
    """The prices that they are bought at."""
    source: str
    """Where the offer stands, for the report."""


def hosted_offer(
    load: MeasuredLoad, choice: choices.HostedChoice, policy: choices.WhatIfPolicy
) -> choices.Outcome:
    """The tokens of all servers that can move, and the money of those that stay.

    A server moves if there is an offer for every model that it served. Others stay, as do unallocated GPUs.
    """
    tokens = load.tokens
    if not tokens:
        return choices.Outcome(choice, lack="no token was counted: there is nothing to buy")
    try:
        purchases = _cheapest_purchases(load, choice, policy)
    except CatalogueError as error:
        return choices.Outcome(choice, lack=f"the catalogue is damaged: {error}")
    stay = {served.server for served in tokens.keys() - purchases.keys()}
    bought = {served: purchase for served, purchase in purchases.items() if served.server not in stay}
    if not bought:
        return choices.Outcome(choice, lack=_no_offer(choice, policy))
    old = [buy.offer for buy in bought.values() if not is_current(buy.offer.as_of, policy.today)]
    if old:
        past = sorted({f"{offer.reference} of {offer.as_of}" for offer in old})
        return choices.Outcome(choice, lack=f"not of the last year: {', '.join(past)}; give its price now")
    freed = load.whole.paid_for({served.server for served in bought})
    amount = sum((purchase.cost for purchase in bought.values()), Fraction(0))
    count = sum(sum(tokens[served].values()) for served in bought)
    per_day = load.per_day(load.whole.all_tokens)
    turn = choices.Turn("at", per_day * freed / amount) if amount > 0 else choices.Turn("always")
    bill = f"{count:,} tokens cost {dollars_text(int(amount))} dollars in the window"
    evidence = [f"{bill}, and their servers {dollars_text(freed)}."]
    if stay:
        evidence.append(f"Without an offer, and unchanged: {', '.join(key.name for key in sorted(stay))}.")
    per_token = amount * Fraction(policy.hours_per_month) / load.wall_hours / per_day
    return choices.Outcome(
        choice,
        cost=load.whole.paid - freed + amount,
        source="; ".join(dict.fromkeys(purchase.source for purchase in bought.values())),
        as_of=min((buy.offer.as_of for buy in bought.values() if buy.offer.as_of), default=""),
        turn=turn if freed > 0 else choices.Turn("never"),
        evidence=(*evidence, *choices.staying(load, freed)),
        figures={
            "tokens": count,
            "offer_dollars": amount / PICODOLLARS_PER_DOLLAR,
            "servers_dollars": Fraction(freed, PICODOLLARS_PER_DOLLAR),
        },
        line=breakeven.CostLine(per_token=per_token),
    )


def _cheapest_purchases(
    load: MeasuredLoad, choice: choices.HostedChoice, policy: choices.WhatIfPolicy
) -> dict[ServedModel, _Purchase]:
    """The tokens of each model that has an offer, at its cheapest one."""
    purchases = {}
    for served, counts in load.tokens.items():
        offers = []
        for offer, source in _offers(served, choice, policy):
            prices = offer.by_kind()
            # A price may have a fraction of a picodollar for a token.
            dollars = sum((Fraction(prices[kind]) * count for kind, count in counts.items()), Fraction(0))
            offers.append(_Purchase(dollars * PICODOLLARS_PER_DOLLAR / TOKENS_PER_MILLION, offer, source))
        if offers:
            purchases[served] = min(offers, key=lambda purchase: (purchase.cost, purchase.offer.reference))
    return purchases


def _offers(
    served: ServedModel, choice: choices.HostedChoice, policy: choices.WhatIfPolicy
) -> Iterator[tuple[HostedPrice, str]]:
    """Offers for a model and their sources: of the flag, of that name in `compare`, or of that provider."""
    if choice.price is not None:
        yield choice.price, choices.GIVEN
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


def _no_offer(choice: choices.HostedChoice, policy: choices.WhatIfPolicy) -> str:
    """Why no server can move to an offer of that name."""
    references = dict.fromkeys(offer.reference for offer in policy.offers)
    if choice.name in references:
        return f"{choice.name} of `compare` covers no server whole"
    known = ", ".join(references) or "none"
    return (
        f"neither `compare` (it has {known}) nor the catalogue has an offer {choice.name} for every "
        "model of a server; give prices like hosted=0.15/0.60"
    )

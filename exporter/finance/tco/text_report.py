"""An answer as tables for people. Pure. Cents sum to their totals, whichever way they are cut."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from textwrap import wrap
from typing import Final

from exporter.finance.tco.answer import TcoAnswer
from exporter.finance.tco.breakeven import BreakEven, Loads, Race, fleet_of
from exporter.finance.tco.measurement import caveats
from exporter.finance.tco.scenario import (
    MONTHS_PER_YEAR,
    AmountSource,
    AsMeasured,
    Fleet,
    Hosted,
    Hybrid,
    Load,
    Option,
    OwnedHosts,
    Power,
    RentedHosts,
    Scenario,
    ScenarioItem,
)
from exporter.reports.rounding import hundredths, rounded, text_table
from exporter.units import NANOSECONDS_PER_HOUR

CENT: Final = Fraction(1, 100)
DECIMALS: Final = Decimal("0.000001")
DIGITS: Final = 60


@dataclass(frozen=True, slots=True)
class Assumption:
    """An assumption of a scenario, and its source."""

    what: str
    value: str
    source: AmountSource


def number(value: Fraction | Decimal) -> str:
    """A number with separators, exact to six decimals, without zeros at its end."""
    exact = Fraction(value)
    with localcontext() as context:
        context.prec = DIGITS
        text = f"{(Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(DECIMALS):,f}"
    return text.rstrip("0").rstrip(".")


def money(value: Fraction) -> str:
    """Dollars to the cent, like 1,234.50."""
    return hundredths(*rounded([value], CENT))


def whole(value: Fraction) -> str:
    """A count to the nearest whole, half up."""
    return f"{rounded([value], Fraction(1))[0]:,}"


def percent(value: Fraction | Decimal) -> str:
    """A ratio in percent."""
    return f"{number(Fraction(value) * 100)} %"


def horizon(scenario: Scenario) -> str:
    """The compared time, like 3 years."""
    return "1 year" if scenario.horizon_years == 1 else f"{scenario.horizon_years} years"


def assumptions(scenario: Scenario) -> Iterator[Assumption]:
    """Everything that the scenario assumes, in its own order."""
    if scenario.load is not None:
        yield Assumption("load", _load(scenario.load), scenario.load.source)
    for option in scenario.options:
        yield Assumption(option.name, _option(option), option.source)
        if isinstance(option.serving, AsMeasured):
            for caveat in caveats(scenario):
                yield Assumption(f"{option.name}, with the others", caveat.rstrip("."), option.source)
        if option.power is not None:
            yield Assumption(f"{option.name}, energy", _power(option.power), option.power.source)
    for item in scenario.items:
        yield Assumption(item.component, _item(item), item.source)


def _load(load: Load) -> str:
    kinds = ", ".join(
        f"{whole(count)} {kind.replace('_', ' ')}" for kind, count in load.tokens.items() if count
    )
    return f"{kinds} tokens a day in year 1{_change(load.growth_ratio_per_year)}"


def _change(ratio: Fraction) -> str:
    if not ratio:
        return ""
    return f", {'+' if ratio > 0 else '-'}{percent(abs(ratio))} a year"


def _option(option: Option) -> str:
    match option.serving:
        case OwnedHosts() as owned:
            words = _owned(owned)
        case RentedHosts() as rented:
            words = f"{_hosts(rented.fleet)} at {number(rented.dollars_per_host_hour)} dollars an hour a host"
            if rented.fleet.hours_ratio != 1:
                words += f", up {percent(rented.fleet.hours_ratio)} of the time"
            words += _throughput(rented.fleet)
        case Hosted() as hosted:
            price = hosted.dollars_per_million
            words = (
                f"{number(price['prompt'])} dollars per million prompt tokens, "
                f"{number(price['cached_prompt'])} cached, {number(price['generation'])} generated"
            )
        case Hybrid() as hybrid:
            words = f"{hybrid.base} serves {_base(hybrid)}, {hybrid.rest} the rest"
        case AsMeasured() as measured:
            a_day = sum(measured.dollars_per_day.values(), Fraction(0))
            words = f"{money(a_day)} dollars a day, as the ledger posted them"
    for ratio, kind in ((option.prompt_ratio, "prompt"), (option.generation_ratio, "generation")):
        if ratio != 1:
            words += f"; {number(ratio)} {kind} tokens for one of the load"
    return words + _change(option.change_ratio_per_year)


def _hosts(fleet: Fleet) -> str:
    hosts = "1 host" if fleet.hosts == 1 else f"{fleet.hosts:,} hosts"
    return f"{hosts} of {fleet.gpus:,} {'GPU' if fleet.gpus == 1 else 'GPUs'}"


def _throughput(fleet: Fleet) -> str:
    if fleet.tokens_per_second is None:
        return ""
    planned = percent(fleet.utilization_ratio)
    return f"; a host serves {number(fleet.tokens_per_second)} tokens a second at best, planned at {planned}"


def _owned(owned: OwnedHosts) -> str:
    ownership = owned.ownership
    words = f"{_hosts(owned.fleet)} at {number(ownership.purchase_dollars)} dollars a host"
    words += f", written off over {number(ownership.life_years)} years"
    for ratio, name in (
        (ownership.adders_ratio, "adders"),
        (ownership.residual_ratio, "residual"),
        (ownership.cost_of_capital_ratio, "cost of capital"),
    ):
        if ratio:
            words += f", {name} {percent(ratio)}"
    for amount, name in (
        (ownership.support_dollars_per_year, "support"),
        (ownership.insurance_dollars_per_year, "insurance"),
    ):
        if amount:
            words += f", {name} {number(amount)} a year"
    words += ", then replaced" if owned.refresh else ", then kept"
    return words + _throughput(owned.fleet)


def _base(hybrid: Hybrid) -> str:
    if hybrid.base_tokens_per_day is None:
        return f"{percent(hybrid.base_ratio or Fraction(0))} of the load"
    return f"up to {whole(hybrid.base_tokens_per_day)} tokens a day"


def _power(power: Power) -> str:
    price = power.price
    words = f"{number(price.dollars_per_kilowatt_hour)} dollars per kWh, PUE {number(price.pue_ratio)}"
    words += f", {number(power.kilowatts)} kW a host"
    if power.idle_kilowatts != power.kilowatts:
        words += f", {number(power.idle_kilowatts)} kW at rest"
    return words + _change(power.change_ratio_per_year)


def _item(item: ScenarioItem) -> str:
    words = f"{number(item.dollars)} dollars"
    if item.count != 1:
        words = f"{number(item.count)} x {words}"
    if item.period == "once":
        words += f" in month {item.month}"
        if item.every_months:
            often = "month" if item.every_months == 1 else f"{item.every_months} months"
            words += f" and every {often} after"
    else:
        words += f" a {item.period}"
    words += f" per {item.per}" if item.per != "option" else ""
    words += f" ({item.what})" if item.what else ""
    words += f", for {', '.join(item.options)}" if item.options is not None else ""
    return words + _change(item.change_ratio_per_year)


WIDTH: Final = 110

PER_MILLE: Final = Fraction(1, 10)
"""A tenth of a percent."""

Rows = list[list[str]]


def text(answer: TcoAnswer, width: int | None = None) -> str:
    """The whole answer, in lines of at most so many columns."""
    sections = [
        _narrowed(_head(answer), width),
        ["Dollars by year", *text_table(_years(answer), width=width)],
        ["Dollars by component, and its share", *text_table(_components(answer), width=width)],
        [
            "Hosts by year, and how busy they are",
            *text_table(_hosts_by_year(answer), width=width),
            *_narrowed(_unlimited_fleets(answer), width),
        ],
        [
            "Break-even by month, of what has been paid so far",
            *_narrowed([*races(answer), *_caveats(answer)], width),
        ],
        ["Break-even by load, tokens of all kinds a day", *_narrowed(loads_met(answer), width)],
        list(_load_sensitivity(answer, width)),
        ["Total if its own price were another", *text_table(_price_sensitivity(answer), width=width)],
        ["Assumptions", *_narrowed(_assumption_lines(answer), width)],
    ]
    return "\n\n".join("\n".join(section) for section in sections if len(section) > 1) + "\n"


def _narrowed(lines: Iterable[str], width: int | None) -> list[str]:
    """Sentences, each wrapped where it is longer than `width`."""
    if width is None:
        return list(lines)
    return [part for line in lines for part in wrap(line, width, subsequent_indent="    ") or [line]]


def _head(answer: TcoAnswer) -> Iterator[str]:
    scenario = answer.scenario
    yield scenario.name
    if scenario.description:
        yield from wrap(scenario.description, WIDTH)
    months = f"{MONTHS_PER_YEAR} months of {number(scenario.hours_per_month)} hours"
    yield f"{horizon(scenario)} of {months}. US dollars."
    measured = answer.measured
    if measured is not None:
        hours = number(
            Fraction(rounded([Fraction(measured.covered, NANOSECONDS_PER_HOUR)], PER_MILLE)[0], 10)
        )
        yield (
            f"Load and option measured: {hours} metered hours from {measured.first_day} "
            f"to {measured.last_day}, as a mean day."
        )
        if measured.unpriced:
            days = "1 day is" if measured.left_out == 1 else f"{measured.left_out} days are"
            unpriced = float(Fraction(measured.unpriced, NANOSECONDS_PER_HOUR))
            yield f"{days} left out: {unpriced:.4f} GPU-hours have no price, and what they cost is not known."


def _years(answer: TcoAnswer) -> Rows:
    columns = []
    for course in answer.courses:
        totals = [sum((month.total for month in year), Fraction(0)) for year in course.years]
        cents = rounded(totals, CENT)
        amounts = [hundredths(amount) for amount in (*cents, sum(cents))]
        per_million = answer.per_million(course)
        columns.append(
            [
                course.option,
                *amounts,
                money(course.total / answer.scenario.months),
                money(course.paid),
                money(course.worth),
                _price(per_million),
            ]
        )
    years = range(1, answer.scenario.horizon_years + 1)
    labels = [f"year {year}" for year in years]
    ends = ("total", "a month, on the mean", "paid", "worth left", "per million tokens of the load")
    return _columns(["", *labels, *ends], columns)


def _components(answer: TcoAnswer) -> Rows:
    names: dict[str, None] = {}
    for course in answer.courses:
        names.update(dict.fromkeys(course.components))
    columns = []
    for course in answer.courses:
        parts = course.components
        cents = dict(zip(parts, rounded(list(parts.values()), CENT), strict=True))
        shares = shares_of(parts)
        columns.append([course.option, *(hundredths(cents[n]) if n in cents else "-" for n in names)])
        columns.append(["%", *(_tenths(shares[n]) if n in shares else "-" for n in names)])
    return _columns(["", *names], columns)


def shares_of(parts: dict[str, Fraction]) -> dict[str, int]:
    """Each part of a whole in tenths of a percent; they sum to 1000. Empty where the whole is nothing."""
    whole_amount = sum(parts.values(), Fraction(0))
    if not whole_amount:
        return {}
    percents = [100 * amount / whole_amount for amount in parts.values()]
    return dict(zip(parts, rounded(percents, PER_MILLE), strict=True))


def _tenths(value: int) -> str:
    return f"{value // 10}.{value % 10}"


def _hosts_by_year(answer: TcoAnswer) -> Rows:
    a_day = answer.tokens_per_day
    columns = [] if a_day is None else [["tokens a day", *map(whole, a_day)]]
    for course in answer.courses:
        cells = []
        for year in course.years:
            busy = year[0].busy
            utilization = "" if busy is None else f" ({_tenths(rounded([busy * 100], PER_MILLE)[0])} %)"
            cells.append(f"{year[0].hosts:,}{utilization}" if year[0].hosts else "-")
        columns.append([course.option, *cells])
    return _columns(["", *(f"year {year}" for year in range(1, answer.scenario.horizon_years + 1))], columns)


def _unlimited_fleets(answer: TcoAnswer) -> Iterator[str]:
    """Fleets that do not grow with the load, since their throughput is not given."""
    if answer.scenario.load is None:
        return
    for option in answer.scenario.options:
        fleet = fleet_of(option)
        if fleet is not None and fleet.tokens_per_second is None:
            hosts, are = ("1 host", "is") if fleet.hosts == 1 else (f"{fleet.hosts:,} hosts", "are")
            yield from wrap(
                f"{option.name}: its throughput is not given, so {hosts} {are} taken to serve any load. "
                "Give tokens_per_second_per_host and utilization_ratio to have hosts added.",
                WIDTH,
            )


def races(answer: TcoAnswer) -> list[str]:
    """A sentence for each pair of options."""
    return [_race(race) for race in answer.races]


def _caveats(answer: TcoAnswer) -> Iterator[str]:
    """Caveats of those sentences."""
    for caveat in answer.caveats:
        yield from wrap(caveat, WIDTH)


def _race(race: Race) -> str:
    one, other = race.options
    ever = "in every month" if race.months is None else f"in each of the first {race.months} months"
    if race.first is None:
        return f"{one} and {other}: the same {ever}."
    second = other if race.first == one else one
    if not race.crossings:
        return f"{race.first} is cheaper than {second} {ever}."
    turns = ", then ".join(f"{turn.cheaper} from month {turn.month} on" for turn in race.crossings)
    until = "" if race.months is None else f", to month {race.months}"
    return f"{race.first} is cheaper than {second} at first, then {turns}{until}."


def loads_met(answer: TcoAnswer) -> list[str]:
    """A sentence for each option with hosts against each hosted one."""
    return [_load_met(break_even) for break_even in answer.break_evens]


def _load_met(break_even: BreakEven) -> str:
    if break_even.verdict == "always":
        return f"{break_even.option} costs no more than {break_even.hosted} at the smallest load already."
    if break_even.tokens_per_day is None:
        return f"{break_even.option} costs more than {break_even.hosted} at any load."
    load = whole(break_even.tokens_per_day)
    sentence = f"{break_even.option} costs no more than {break_even.hosted} from {load} on"
    if not break_even.served:
        return f"{sentence}, if its hosts serve that, which is not known."
    hosts = "1 host" if break_even.hosts == 1 else f"{break_even.hosts:,} hosts"
    if break_even.lasting is None:
        return f"{sentence}, up to what {hosts} can serve; one more costs more than it saves."
    if break_even.lasting > break_even.tokens_per_day:
        return f"{sentence}, up to what {hosts} can serve, and for good from {whole(break_even.lasting)} on."
    return f"{sentence}, with {hosts}."


def _load_sensitivity(answer: TcoAnswer, width: int | None) -> Iterator[str]:
    if answer.loads is None:
        return
    yield f"Dollars per million tokens {_at(answer.loads)}, without growth"
    yield from text_table(
        [
            ["", *(percent(level.ratio) for level in answer.loads.levels)],
            ["tokens a day", *(whole(level.tokens_per_day) for level in answer.loads.levels)],
            *(
                [
                    course.option,
                    *(_price(level.per_million.get(course.option)) for level in answer.loads.levels),
                ]
                for course in answer.courses
            ),
        ],
        width=width,
    )


def _at(loads: Loads) -> str:
    if loads.reference is None:
        return "at a part of the load"
    return f"when the first hosts of {loads.reference} are so busy"


def _price_sensitivity(answer: TcoAnswer) -> Rows:
    factors = list(answer.prices[0].totals)
    return [
        ["", *(f"x {number(factor)}" for factor in factors)],
        *(
            [repriced.option, *(money(repriced.totals[factor]) for factor in factors)]
            for repriced in answer.prices
        ),
    ]


def _assumption_lines(answer: TcoAnswer) -> Iterator[str]:
    for assumed in assumptions(answer.scenario):
        source = assumed.source.text.rstrip(".") or "no source given"
        as_of = f"; as of {assumed.source.as_of}" if assumed.source.as_of else ""
        assumption = f"{assumed.what}: {assumed.value}. [{source}{as_of}]"
        yield from wrap(
            assumption, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )


def _price(value: Fraction | None) -> str:
    """Dollars per million tokens, with four decimals; a dash where it is not known."""
    if value is None:
        return "-"
    return f"{rounded([value], Fraction(1, 10000))[0] / 10000:,.4f}"


def _columns(labels: Sequence[str], columns: Sequence[Sequence[str]]) -> Rows:
    return [list(row) for row in zip(labels, *columns, strict=True)]

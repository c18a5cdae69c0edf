"""A scenario's results as tables for people and as JSON for programs. Pure.

Dollars are to the cent. Years and components of an option sum to its total; the components of one year sum to
that year within a cent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from textwrap import wrap
from typing import Any, Final, NamedTuple

from exporter.finance.options import option as options
from exporter.finance.options.costs import OptionCourse, summed
from exporter.finance.options.measurement import CENT, caveats
from exporter.finance.options.scenario import Scenario, ScenarioItem
from exporter.finance.options.tco import TcoAnswer
from exporter.finance.render import counted, json_text, plain
from exporter.reports.rounding import hundredths, rounded, text_table
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND

DECIMALS: Final = Decimal("0.000001")
DIGITS: Final = 60
WIDTH: Final = 110
TENTH: Final = Fraction(1, 10)
TEN_THOUSANDTH: Final = Fraction(1, 10_000)
CENTS: Final = 100
INDENT: Final = "    "


class Assumption(NamedTuple):
    """An assumption of a scenario, and its source."""

    what: str
    """What is assumed of: the load, an option, its energy or an item."""
    value: str
    """The amounts, in words."""
    source: str
    """The source of the amounts; empty where not given."""
    as_of: str
    """The day of the amounts; empty where not given."""


def number(value: Fraction | Decimal) -> str:
    """A number with separators, exact to six decimals, without zeros at its end."""
    exact = Fraction(value)
    with localcontext(prec=DIGITS):
        text = f"{(Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(DECIMALS):,f}"
    return text.rstrip("0").rstrip(".")


def money(value: Fraction) -> str:
    """Dollars to the cent, like 1,234.50."""
    return hundredths(*rounded([value], CENT))


def whole(value: Fraction) -> str:
    """A count to the nearest whole, half up."""
    return f"{rounded([value], Fraction(1))[0]:,}"


def percent(value: Fraction | Decimal | int) -> str:
    """A ratio in percent."""
    return f"{number(Fraction(value) * 100)} %"


def assumptions(scenario: Scenario) -> Iterator[Assumption]:
    """Everything that the scenario assumes, in its own order."""
    load = scenario.load
    if load is not None:
        kinds = [f"{whole(count)} {kind.replace('_', ' ')}" for kind, count in load.tokens.items() if count]
        words = f"{', '.join(kinds)} tokens a day in year 1{_change(load.growth_ratio_per_year)}"
        yield Assumption("load", words, load.source, load.as_of)
    for option in scenario.options:
        yield Assumption(option.name, _option_words(option), option.source, option.as_of)
        if isinstance(option.serving, options.AsMeasured):
            for caveat in caveats(scenario):
                yield Assumption(
                    f"{option.name}, with the others", caveat.rstrip("."), option.source, option.as_of
                )
        if option.power is not None:
            power = option.power
            words = f"{number(power.dollars_per_kilowatt_hour)} dollars per kWh"
            words += f", PUE {number(power.pue_ratio)}, {number(power.kilowatts_per_host)} kW a host"
            if power.idle_kilowatts != power.kilowatts_per_host:
                words += f", {number(power.idle_kilowatts)} kW at rest"
            words += _change(power.price_change_ratio_per_year)
            yield Assumption(f"{option.name}, energy", words, power.source, power.as_of)
    for item in scenario.items:
        yield Assumption(item.component, _item_words(item), item.source, item.as_of)


def _change(ratio: Fraction) -> str:
    if not ratio:
        return ""
    return f", {'+' if ratio > 0 else '-'}{percent(abs(ratio))} a year"


def _option_words(option: options.Option) -> str:
    match option.serving:
        case options.OwnedHosts() as owned:
            words = _owned_words(owned)
        case options.RentedHosts(dollars):
            words = f"at {number(dollars)} dollars an hour a host"
        case options.Hosted(dollars_per_million=price):
            words = (
                f"{number(price['prompt'])} dollars per million prompt tokens, "
                f"{number(price['cached_prompt'])} cached, {number(price['generation'])} generated"
            )
        case options.Hybrid() as hybrid:
            part = f"{percent(hybrid.base_ratio or 0)} of the load"
            if hybrid.base_tokens_per_day is not None:
                part = f"up to {whole(hybrid.base_tokens_per_day)} tokens a day"
            words = f"{hybrid.base} serves {part}, {hybrid.rest} the rest"
        case options.AsMeasured(spent):
            words = f"{money(sum(spent.values(), Fraction(0)))} dollars a day, as the ledger posted them"
    fleet = option.fleet
    if fleet is not None:
        words = f"{counted(fleet.hosts, 'host')} of {counted(fleet.gpus, 'GPU')} {words}"
        if fleet.hours_ratio != 1:
            words += f", up {percent(fleet.hours_ratio)} of the time"
        if fleet.tokens_per_second is not None:
            words += f"; a host serves {number(fleet.tokens_per_second)} tokens a second at best"
            words += f", planned at {percent(fleet.utilization_ratio)}"
    for token_ratio, kind in ((option.prompt_ratio, "prompt"), (option.generation_ratio, "generation")):
        if token_ratio != 1:
            words += f"; {number(token_ratio)} {kind} tokens for one of the load"
    return words + _change(option.change_ratio_per_year)


def _owned_words(owned: options.OwnedHosts) -> str:
    ownership = owned.ownership
    words = f"at {number(ownership.purchase_dollars)} dollars a host"
    words += f", written off over {number(ownership.life_years)} years"
    ratios = {
        "adders": ownership.adders_ratio,
        "residual": ownership.residual_ratio,
        "cost of capital": ownership.cost_of_capital_ratio,
    }
    words += "".join(f", {name} {percent(ratio)}" for name, ratio in ratios.items() if ratio)
    amounts = {
        "support": ownership.support_dollars_per_year,
        "insurance": ownership.insurance_dollars_per_year,
    }
    words += "".join(f", {name} {number(amount)} a year" for name, amount in amounts.items() if amount)
    return words + (", then replaced" if owned.refresh else ", then kept")


def _item_words(item: ScenarioItem) -> str:
    words = f"{number(item.count)} x " if item.count != 1 else ""
    if item.dollars is not None:
        words += f"{number(item.dollars)} dollars in month {item.first_month}"
        if item.every_months:
            often = "month" if item.every_months == 1 else f"{item.every_months} months"
            words += f" and every {often} after"
    elif item.dollars_per_month is not None:
        words += f"{number(item.dollars_per_month)} dollars a month"
    elif item.dollars_per_year is not None:
        words += f"{number(item.dollars_per_year)} dollars a year"
    words += f" per {item.per}" if item.per != "option" else ""
    words += f" ({item.what})" if item.what else ""
    words += f", for {', '.join(item.options)}" if item.options is not None else ""
    return words + _change(item.price_change_ratio_per_year)


class _Section(NamedTuple):
    """A part of the text."""

    title: str
    """The line above the part."""
    rows: Sequence[Sequence[str]] = ()
    """Rows of a table, if it has one."""
    sentences: Iterable[str] = ()
    """Lines below the table."""


def text(answer: TcoAnswer, width: int | None = None) -> str:
    """The whole answer, in lines of at most so many columns."""
    paid_so_far = [*races(answer), *(line for caveat in answer.caveats for line in wrap(caveat, WIDTH))]
    factors = [f"x {number(factor)}" for factor in answer.prices[0].totals]
    totals = [[option.option, *map(money, option.totals.values())] for option in answer.prices]
    assumed: list[str] = []
    for what, value, source, as_of in assumptions(answer.scenario):
        origin = source.rstrip(".") or "no source given"
        line = f"{what}: {value}. [{origin}{f'; as of {as_of}' if as_of else ''}]"
        assumed += wrap(line, WIDTH, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
    parts = [
        _Section("Dollars by year", _years(answer)),
        _Section("Dollars by component, and its share", _components(answer)),
        _Section("Hosts by year, and how busy they are", _hosts_by_year(answer), _unlimited(answer)),
        _Section("Break-even by month, of what has been paid so far", sentences=paid_so_far),
        _Section("Break-even by load, tokens of all kinds a day", sentences=loads_met(answer)),
        _load_sensitivity(answer),
        _Section("Total if its own price were another", [["", *factors], *totals]),
        _Section("Assumptions", sentences=assumed),
    ]
    sections = [_narrowed(_head(answer), width)]
    for part in parts:
        table = text_table(part.rows, width=width) if part.rows else ()
        lines = [*table, *_narrowed(part.sentences, width)]
        if lines:
            sections.append([part.title, *lines])
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _unlimited(answer: TcoAnswer) -> Iterator[str]:
    """Lines on fleets that do not grow with the load, since their throughput is not given."""
    for option in answer.scenario.options if answer.scenario.load is not None else ():
        fleet = option.fleet
        if fleet is not None and fleet.tokens_per_second is None:
            are = "is" if fleet.hosts == 1 else "are"
            hosts = f"{counted(fleet.hosts, 'host')} {are} taken to serve any load"
            remedy = "Give tokens_per_second_per_host and utilization_ratio to have hosts added."
            yield from wrap(f"{option.name}: its throughput is not given, so {hosts}. {remedy}", WIDTH)


def _narrowed(lines: Iterable[str], width: int | None) -> list[str]:
    """Sentences, each wrapped where it is longer than `width`."""
    if width is None:
        return list(lines)
    return [part for line in lines for part in wrap(line, width, subsequent_indent=INDENT) or [line]]


def _head(answer: TcoAnswer) -> Iterator[str]:
    scenario, measured = answer.scenario, answer.measured
    yield scenario.name
    if scenario.description:
        yield from wrap(scenario.description, WIDTH)
    months = f"{options.MONTHS_PER_YEAR} months of {number(scenario.hours_per_month)} hours"
    yield f"{counted(scenario.horizon_years, 'year')} of {months}. US dollars."
    if measured is None:
        return
    hours = rounded([Fraction(measured.covered, NANOSECONDS_PER_HOUR)], TENTH)[0] * TENTH
    yield (
        f"Load and option measured: {number(hours)} metered hours from {measured.first_day} "
        f"to {measured.last_day}, as a mean day."
    )
    if measured.unpriced:
        are = "is" if measured.left_out == 1 else "are"
        unpriced = measured.unpriced / NANOSECONDS_PER_HOUR
        yield (
            f"{counted(measured.left_out, 'day')} {are} left out: {unpriced:.4f} GPU-hours have no price, "
            "and what they cost is not known."
        )


def _year_names(answer: TcoAnswer) -> list[str]:
    return [f"year {year}" for year in range(1, answer.scenario.horizon_years + 1)]


def _by_option(heads: Sequence[str], columns: Iterable[Sequence[str]]) -> list[list[str]]:
    """Rows of a table, from the heads of its rows and the columns of its options."""
    return [list(row) for row in zip(["", *heads], *columns, strict=True)]


def _years(answer: TcoAnswer) -> list[list[str]]:
    ends = ("total", "a month, on the mean", "paid", "worth left", "per million tokens of the load")
    columns = []
    for course in answer.courses:
        cents = rounded(course.yearly_totals, CENT)
        amounts = course.total / answer.scenario.months, course.paid, course.worth
        per_million = _price(answer.per_million(course))
        columns.append(
            [course.option, *map(hundredths, (*cents, sum(cents))), *map(money, amounts), per_million]
        )
    return _by_option([*_year_names(answer), *ends], columns)


def _components(answer: TcoAnswer) -> list[list[str]]:
    names = list(dict.fromkeys(name for course in answer.courses for name in course.components))
    columns = []
    for course in answer.courses:
        cents = {name: hundredths(amount) for name, amount in cents_of(course.components).items()}
        shares = {name: _tenths(share) for name, share in shares_of(course.components).items()}
        columns.append([course.option, *(cents.get(name, "-") for name in names)])
        columns.append(["%", *(shares.get(name, "-") for name in names)])
    return _by_option(names, columns)


def cents_of(parts: Mapping[str, Fraction]) -> dict[str, int]:
    """Each part in whole cents; they sum to the whole in cents."""
    return dict(zip(parts, rounded(list(parts.values()), CENT), strict=True))


def shares_of(parts: Mapping[str, Fraction]) -> dict[str, int]:
    """Each part of a whole in tenths of a percent; they sum to 1000. Empty where the whole is nothing."""
    whole_amount = sum(parts.values(), Fraction(0))
    if not whole_amount:
        return {}
    percents = [100 * amount / whole_amount for amount in parts.values()]
    return dict(zip(parts, rounded(percents, TENTH), strict=True))


def _tenths(value: int) -> str:
    return f"{value // 10}.{value % 10}"


def _hosts_by_year(answer: TcoAnswer) -> list[list[str]]:
    columns = []
    if answer.tokens_per_day is not None:
        columns.append(["tokens a day", *map(whole, answer.tokens_per_day)])
    for course in answer.courses:
        cells = []
        for first, *_ in course.years:
            busy = "" if first.busy is None else f" ({_tenths(rounded([first.busy * 100], TENTH)[0])} %)"
            cells.append(f"{first.hosts:,}{busy}" if first.hosts else "-")
        columns.append([course.option, *cells])
    return _by_option(_year_names(answer), columns)


def races(answer: TcoAnswer) -> Iterator[str]:
    """A sentence for each pair of options."""
    for race in answer.races:
        first, second = race.options
        whole_horizon = race.compared_months == answer.scenario.months
        ever = "in every month" if whole_horizon else f"in each of the first {race.compared_months} months"
        if race.cheaper_first == second:
            first, second = second, first
        if race.cheaper_first is None:
            yield f"{first} and {second}: the same {ever}."
        elif not race.crossings:
            yield f"{first} is cheaper than {second} {ever}."
        else:
            turns = ", then ".join(f"{turn.cheaper} from month {turn.month} on" for turn in race.crossings)
            until = "" if whole_horizon else f", to month {race.compared_months}"
            yield f"{first} is cheaper than {second} at first, then {turns}{until}."


def loads_met(answer: TcoAnswer) -> Iterator[str]:
    """A sentence for each option with hosts against each hosted one."""
    for even in answer.break_evens:
        if even.verdict == "always":
            yield f"{even.option} costs no more than {even.hosted} at the smallest load already."
            continue
        if even.tokens_per_day is None:
            yield f"{even.option} costs more than {even.hosted} at any load."
            continue
        hosts = counted(even.hosts or 0, "host")
        if not even.throughput_known:
            limit = "if its hosts serve that, which is not known"
        elif even.lasting_tokens_per_day is None:
            limit = f"up to what {hosts} can serve; one more costs more than it saves"
        elif even.lasting_tokens_per_day > even.tokens_per_day:
            limit = f"up to what {hosts} can serve, and for good from {whole(even.lasting_tokens_per_day)} on"
        else:
            limit = f"with {hosts}"
        yield f"{even.option} costs no more than {even.hosted} from {whole(even.tokens_per_day)} on, {limit}."


def _load_sensitivity(answer: TcoAnswer) -> _Section:
    """Costs at other loads; no row without a load."""
    loads = answer.loads
    if loads is None:
        return _Section("")
    at = "at a part of the load"
    if loads.reference is not None:
        at = f"when the first hosts of {loads.reference} are so busy"
    names = [course.option for course in answer.courses]
    columns = []
    for level in loads.levels:
        prices = [_price(level.dollars_per_million_tokens.get(name)) for name in names]
        columns.append([percent(level.ratio), whole(level.tokens_per_day), *prices])
    title = f"Dollars per million tokens {at}, without growth"
    return _Section(title, _by_option(["tokens a day", *names], columns))


def _price(value: Fraction | None) -> str:
    """Dollars per million tokens, with four decimals; a dash where it is not known."""
    return "-" if value is None else f"{rounded([value], TEN_THOUSANDTH)[0] / 10_000:,.4f}"


def as_json(answer: TcoAnswer) -> str:
    """The whole answer."""
    scenario, loads = answer.scenario, answer.scenario.yearly_loads
    document = {
        "report": "tco",
        "scenario": scenario.name,
        "about": scenario.description,
        "currency": scenario.currency,
        "horizon_years": scenario.horizon_years,
        "hours_per_month": float(scenario.hours_per_month),
        "load": None
        if loads is None
        else {"tokens_per_day": [{"year": year, **plain(load)} for year, load in enumerate(loads, 1)]},
        "measured": _measured(answer),
        "options": [_option(answer, result) for result in answer.courses],
        "caveats": answer.caveats,
        "break_even_months": plain(answer.races),
        "break_even_tokens_per_day": plain(answer.break_evens),
        "load_sensitivity": None
        if answer.loads is None
        else {
            "busy_option": answer.loads.reference,
            "levels": [
                plain(level)
                | {"total_dollars": {name: _dollars(total) for name, total in level.total_dollars.items()}}
                for level in answer.loads.levels
            ],
        },
        "price_sensitivity": [
            {
                "option": result.option,
                "totals": [
                    {"factor": float(factor), "dollars": _dollars(amount)}
                    for factor, amount in result.totals.items()
                ],
            }
            for result in answer.prices
        ],
        "assumptions": [
            assumed._asdict() | {"source": assumed.source or None, "as_of": assumed.as_of or None}
            for assumed in assumptions(scenario)
        ],
    }
    return json_text(document)


def _dollars(amount: Fraction) -> float:
    return rounded([amount], CENT)[0] / CENTS


def _measured(answer: TcoAnswer) -> dict[str, Any] | None:
    mean_day = answer.measured
    if mean_day is None:
        return None
    spending = mean_day.option.serving
    estimated = (
        spending.estimated_dollars_per_day if isinstance(spending, options.AsMeasured) else Fraction(0)
    )
    return {
        "first_day": mean_day.first_day,
        "last_day": mean_day.last_day,
        "covered_seconds": mean_day.covered / NANOSECONDS_PER_SECOND,
        "unpriced_gpu_seconds": mean_day.unpriced / NANOSECONDS_PER_SECOND,
        "days_left_out": mean_day.left_out,
        "estimated_dollars_per_day": _dollars(estimated),
    }


def _parts(parts: Mapping[str, Fraction]) -> dict[str, float]:
    return {name: cents / CENTS for name, cents in cents_of(parts).items()}


def _option(answer: TcoAnswer, course: OptionCourse) -> dict[str, Any]:
    cents = rounded(course.yearly_totals, CENT)
    fleet = answer.scenario.option(course.option).fleet
    return {
        "name": course.option,
        "throughput_known": None if fleet is None else fleet.tokens_per_second is not None,
        "total_dollars": sum(cents) / CENTS,
        "paid_dollars": _dollars(course.paid),
        "worth_dollars": _dollars(course.worth),
        "dollars_per_million_tokens": plain(answer.per_million(course)),
        "components": _parts(course.components),
        "share_ratios": {name: share / 1000 for name, share in shares_of(course.components).items()},
        "years": [
            {
                "year": number,
                "dollars": amount / CENTS,
                "paid_dollars": _dollars(sum((month.paid for month in year), Fraction(0))),
                "hosts": year[0].hosts,
                "busy_ratio": plain(year[0].busy),
                "components": _parts(summed(year)),
            }
            for number, (amount, year) in enumerate(zip(cents, course.years, strict=True), 1)
        ],
        "paid_by_month_end_dollars": [_dollars(amount) for amount in course.cumulated_paid()],
    }

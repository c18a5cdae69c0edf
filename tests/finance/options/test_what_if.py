"""Choices side by side: text within 80 columns, JSON, and the pairs that break even."""

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from exporter.finance.options.choices import choice
from exporter.finance.options.load import MeasuredLoad
from exporter.finance.options.what_if import WhatIfAnswer, what_if
from exporter.finance.options.what_if_report import as_json, text
from exporter.tariff.hosted import HostedPrice
from tests.finance.options.window_builders import (
    BGE,
    CHAT,
    MONDAY,
    SEARCH,
    day,
    hour,
    hours,
    measured,
    policy,
)
from tests.kit.units import DOLLAR, HOUR

END = (MONDAY + 24) * HOUR
MILLION = 10**6


def answer(load: MeasuredLoad, *choices: str, **changes: object) -> WhatIfAnswer:
    return what_if(
        load, [choice(each) for each in choices], policy(**changes), END, frozenset({"lease", "gpu"})
    )


def test_side_by_side() -> None:
    """A day of 24 million tokens for 144 dollars is 4,380 a month of 730 hours.

    3,000 tokens a second for 1 million an hour are one L40S: 36 dollars, 1,095 a month. 144 dollars pay 4,
    which serve 259.2 million each. At 2 dollars a million 48 dollars, 1,460 a month; 144 buy 72.
    One L40S costs the offer's 48 at 24 million, so 36 at 18.
    """
    printed = text(
        answer(day(lambda _: MILLION), "gpu=L40S:3000tok/s@1.50", "hosted=2/2", "gpu=Abacus:1tok/s")
    )

    assert (
        printed
        == """\
what if: 24 hours to 2026-11-03T00:00:00Z, all servers and free GPUs
load: 24,000,000 tokens and 48.0000 GPU-hours a day, 50.0 % busy
paid: hardware and electricity, the same for all choices without overheads
Leased GPUs are owed until the lease ends: capacity, not cash.

choice                    dollars a month  difference  turns at tokens/day
------------------------  ---------------  ----------  -------------------
now                              4,380.00
1. gpu=L40S:3000tok/s@1~         1,095.00   -3,285.00        1,036,800,000
2. hosted=2/2                    1,460.00   -2,920.00           72,000,000
3. gpu=Abacus:1tok/s            no figure

1. gpu=L40S:3000tok/s@1.50
   Price: as given.
   1 GPU: the peak hour had 1,000,000 tokens, one GPU serves 10,800,000.
   As many as each hour needs: 24.0 GPU-hours, 1,095.00 dollars a month.
   Turns at 1,036,800,000 tokens a day: below, this costs less. Whether the GPUs
     of now serve so many is not known.
   Assumes: the load spreads over the GPUs evenly, and within the hour.
   Cannot judge: latency, quality in another precision, memory for the model,
     peaks within an hour.

2. hosted=2/2
   Price: as given.
   24,000,000 tokens cost 48.00 dollars in the window, and their servers 144.00.
   Turns at 72,000,000 tokens a day: below, this costs less. Whether the GPUs of
     now serve so many is not known.
   Assumes: the same tokens, counted alike, at the offer's price.
   Cannot judge: latency, license, privacy, quality and rate limits of the
     offer.

3. gpu=Abacus:1tok/s
   No figure: the catalogue knows no GPU Abacus; its price can be given: write
     it like gpu=Abacus:1tok/s@1.10.

gpu=L40S:3000tok/s@1.50 costs no more than hosted=2/2 from 18,000,000 tokens a
  day on, with 1 GPU.
"""
    )


def test_everything_that_limits_it_is_in_the_head() -> None:
    """Estimates, left out and unmetered hours, overheads, owned hardware, and a part of a server."""
    window = hours(30, lambda _: hour(2, component="amortization", tokens=1))
    for each in window.values():
        each.money[CHAT, "storage"] = DOLLAR
        each.estimated[CHAT, "amortization"] = DOLLAR
    window[MONDAY + 1].unpriced[CHAT] = 1
    del window[MONDAY + 2]
    window[MONDAY + 3] = replace(window[MONDAY + 3], covered=HOUR // 2)

    head = text(answer(measured(window, "chat-*"), "hosted=1/1", partial=frozenset({CHAT, SEARCH})))

    assert head.startswith("""\
what if: 29 hours to 2026-11-03T00:00:00Z, servers chat-*
load: 23 tokens and 46.3448 GPU-hours a day, 50.0 % busy
paid: hardware and electricity, the same for all choices without overheads
704.83 of 1,409.66 a month come from estimated prices
overheads of 704.83 a month stay, in no figure
hours left out, in which GPU time has no price: 1
hours that were not metered, without load or cost: 1.5
owned hardware of 1,409.66 a month is owed unused too: what it spares is
  capacity, not cash
Leased GPUs are owed until the lease ends: capacity, not cash.
one part of a server: llm/chat-8b; its tokens are computed elsewhere too
""")


def test_no_line_is_too_long() -> None:
    """Whatever a choice is called, a line has 80 columns, and nothing moves the cursor."""
    long = "hosted=" + "together-turbo-" * 7
    choices = (long, "commitment=10y:99.999999:999", "schedule=mon-fri/08-20+sat/10-14", "gpu=L40S:9000tok/s")
    lines = text(answer(day(lambda _: 10**11), *choices)).splitlines()

    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("1. hosted=together-turb") for line in lines) == 2


def test_json() -> None:
    """The same numbers for programs; picodollars are exact."""
    printed = json.loads(
        as_json(answer(day(lambda _: MILLION), "hosted=2/2", "schedule=mon/00-12", "hosted=no"))
    )

    assert printed["now"]["picodollars"] == 144 * DOLLAR
    assert printed["now"]["estimated_picodollars"] == 0
    assert (printed["window_hours"], printed["now"]["tokens_per_day"]) == (24, 24e6)
    bought, scheduled, refused = printed["choices"]
    assert (bought["picodollars"], bought["dollars_per_month"]) == (48 * DOLLAR, 1460)
    assert bought["difference_dollars_per_month"] == -2920
    assert bought["turn"] == {"verdict": "at", "tokens_per_day": 72e6, "cheaper_below": "choice"}
    assert scheduled["figures"]["lost_tokens"] == 12 * MILLION
    assert (refused["picodollars"], refused["turn"]) == (None, None)
    assert refused["lack"].startswith("neither `compare`")


def test_a_part_of_the_load_breaks_even_with_nothing() -> None:
    """An offer for one of two servers is of another load than the GPUs."""
    window = hours(24, lambda _: hour(tokens=MILLION))
    for each in window.values():
        each.tokens[BGE, "prompt"] = MILLION
        each.money[SEARCH, "rent"] = DOLLAR
        each.gpu_time[SEARCH] = HOUR
    one = HostedPrice("api", Decimal(1), Decimal(1), model="llama*")
    gpus = "gpu=L40S:1000tok/s@1"

    both = answer(measured(window, "*"), gpus, "hosted=1/1", "hosted=api", offers=(one,))

    assert [even.hosted for even in both.break_evens] == ["hosted=1/1"]
    assert both.outcomes[2].cost == 48 * DOLLAR  # 24 for a million tokens an hour, and 24 of embeddings


def test_the_pair_put_back_costs_the_same() -> None:
    """At 18 million a day, an L40S at 1.50 for 24 hours is 36 dollars, and so are 18 million at 2."""
    load = day(lambda _: 750_000)
    both = answer(load, "gpu=L40S:3000tok/s@1.50", "hosted=2/2")

    assert [outcome.cost for outcome in both.outcomes] == [36 * DOLLAR, 36 * DOLLAR]
    pair = answer(load, "gpu=3xL40S:3000tok/s@0.50", "hosted=2/2")
    assert text(pair).endswith("from 18,000,000 tokens a\n  day on, with 3 GPUs.\n")
    assert both.break_evens[0].tokens_per_day == Fraction(load.whole.all_tokens)

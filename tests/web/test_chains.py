"""Three servers of one host, explained: every line worked by hand, and redone from what is printed."""

import json
import re
from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.advice.explanation import (
    CostAccounts,
    CurrentSplit,
    ExplainedPeriod,
    Explanation,
    ExplanationError,
    explain,
)
from exporter.cost.postings import UNALLOCATED, UNASSIGNED, CostOwner, OwnerPhase
from exporter.cost.split import MEANING
from exporter.cost.state import GpuState, ModelState, ServerState, State
from exporter.ledger.history import HistorySums
from exporter.readings import Gpu, Holder, Role, ServerKey
from exporter.report import ServerOwner, Window
from exporter.tariff.hosted import HostedPrice
from exporter.web import explanation
from exporter.web.page import explanation_text
from tests.cost.readings import START, cost_policy, overhead, rent
from tests.kit.units import DOLLAR, HOUR

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
EMBED = CostOwner("search", "retrieval", "", "embed", "bge")
UNALLOCATED_OWNER = CostOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED, "")
LEDGER = "11111111-2222-4333-8444-555555555555"
MILLION = 1_000_000

SUMS = HistorySums(
    # 24 hours, 3 GPUs at 2.50 and storage at 0.50 an hour: 72 dollars each.
    cost={
        OwnerPhase(CHAT, "prefill"): 24 * DOLLAR,
        OwnerPhase(CHAT, "decode"): 72 * DOLLAR,
        OwnerPhase(CHAT, "idle"): 48 * DOLLAR,
        OwnerPhase(EMBED, "prefill"): 18 * DOLLAR,
        OwnerPhase(EMBED, "idle"): 18 * DOLLAR,
        OwnerPhase(UNALLOCATED_OWNER, "idle"): 36 * DOLLAR,
    },
    held={
        OwnerPhase(CHAT, "prefill"): 8 * HOUR,
        OwnerPhase(CHAT, "decode"): 24 * HOUR,
        OwnerPhase(CHAT, "idle"): 16 * HOUR,
        OwnerPhase(EMBED, "prefill"): 6 * HOUR,
        OwnerPhase(EMBED, "idle"): 6 * HOUR,
        OwnerPhase(UNALLOCATED_OWNER, "idle"): 12 * HOUR,
    },
    server_cost={
        (ServerOwner("chat", "assistants", "llm", "chat-8b"), "rent", "configured"): 120 * DOLLAR,
        (ServerOwner("chat", "assistants", "llm", "chat-8b"), "storage", "configured"): 24 * DOLLAR,
        (ServerOwner("search", "retrieval", "", "embed"), "rent", "configured"): 30 * DOLLAR,
        (ServerOwner("search", "retrieval", "", "embed"), "storage", "configured"): 6 * DOLLAR,
        (ServerOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED), "rent", "configured"): 30 * DOLLAR,
        (ServerOwner(UNASSIGNED, UNASSIGNED, "", UNALLOCATED), "storage", "configured"): 6 * DOLLAR,
    },
    tokens={
        (CHAT, "prompt"): 20 * MILLION,
        (CHAT, "cached_prompt"): 40 * MILLION,
        (CHAT, "generation"): 12 * MILLION,
        (EMBED, "prompt"): 90 * MILLION,
    },
)
GPUS = tuple(
    GpuState(Gpu(f"GPU-{number}", "NVIDIA H100"), number, holders=holders)
    for number, holders in enumerate(
        (
            (Holder(ServerKey("llm", "chat-8b"), "GPU-0"),),
            (Holder(ServerKey("llm", "chat-8b"), "GPU-1"),),
            (Holder(ServerKey("", "embed"), "GPU-2", 0.5), Holder(ServerKey("", "other-half"), "GPU-2", 0.5)),
        )
    )
)
POLICY = cost_policy(
    rent("2.50"),
    overheads=(overhead("storage", "0.50", "hour", "gpu"), overhead("staff", "60", "hour", "fleet")),
    compare=(HostedPrice("turbo", Decimal(1), Decimal(3), model="llama*", cached_prompt=Decimal("0.1")),),
)

SPLIT = ModelState(
    prefill_request_seconds=20.0,
    decode_request_seconds=960.0,
    running_sum=1600.0,
    running_time=100.0,
    since_finished=0,
)
"""20 / (20 + 960 / 16) = 0.25 by request seconds."""


def explained(
    server: str | None = None,
    price: float | None = None,
    sums: HistorySums = SUMS,
    *,
    partial: bool = False,
    role: Role = "",
) -> Explanation:
    accounts = CostAccounts()
    accounts.add_history(sums.cost, sums.held, sums.tokens, sums.unpriced, sums.settled, sums.by_component())
    period = ExplainedPeriod(START, START + 24 * HOUR, 24 * HOUR)
    now = START + 24 * HOUR
    servers = {ServerKey("llm", "chat-8b"): ServerState({"llama-8b": SPLIT}, partial=partial, role=role)}
    state = State(gpus={gpu.gpu.uuid: gpu for gpu in GPUS}, servers=servers)
    return explain(accounts, period, POLICY, state, now, ledger=LEDGER, server=server, price=price)


CHAT_TEXT = f"""\
2026-11-10T00:00:00Z to 2026-11-11T00:00:00Z, 24.00 hours of it metered; ledger {LEDGER}

llm/chat-8b
  current hourly cost, excluding energy
    2 x NVIDIA H100 rent x 2.500000 = 5.000000   configured: hardware[0]
    2 x NVIDIA H100 storage x 0.500000 = 1.000000   configured: overheads[0]
    together 6.000000 dollars per hour
  model llama-8b
    spent
      prefill            24.000000 dollars   16.7%   8.0000 GPU-hours
      decode             72.000000 dollars   50.0%   24.0000 GPU-hours
      idle               48.000000 dollars   33.3%   16.0000 GPU-hours
      together          144.000000 dollars / 48.0000 GPU-hours = 3.000000 dollars per GPU-hour
      of the whole server: rent 120.000000, storage 24.000000
      now split by time, prefill 25.0% of busy: {MEANING["time"]}
    served 20,000,000 prompt, 40,000,000 cached prompt, 12,000,000 generation tokens
    dollars per million tokens, as in the metrics
      all           full     144.000000 / 72.000000 million = 2.000000
      all           busy      96.000000 / 72.000000 million = 1.333333
      computed      full     144.000000 / 32.000000 million = 4.500000
      computed      busy      96.000000 / 32.000000 million = 3.000000
      prompt        full      30.000000 / 20.000000 million = 1.500000
      prompt        busy      20.000000 / 20.000000 million = 1.000000
      cached_prompt full       6.000000 / 40.000000 million = 0.150000
      cached_prompt busy       4.000000 / 40.000000 million = 0.100000
      generation    full     108.000000 / 12.000000 million = 9.000000
      generation    busy      72.000000 / 12.000000 million = 6.000000
    why two people say different numbers, and neither is wrong
            1.111111   hardware alone, and only while it computed tokens
            1.333333   energy and overheads too (all, busy)
            2.000000   idle and unobserved time too (all, full)
            4.500000   cached tokens not counted (computed, full)
           12.000000   everything over generated tokens alone
    your number: 1.100000 against 2.000000 (all, full): 1.82 times as much here
      break-even at 130,909,091 tokens a day, 1.82 times the 72,000,000 of now, on the same GPUs
    at turbo: 0.833333 against 2.000000 (all, full): 2.40 times as much here
      break-even at 172,800,000 tokens a day, 2.40 times the 72,000,000 of now, on the same GPUs

Not included: 60.0000 dollars per hour of fleet overheads.
"""
"""By hand.

Prompts weigh 20 + 4 = 24 million: of 24 prefill dollars 20 are computed, 4 cached ones; the full basis is
144 / 96 = 1.5 times it. Hardware is 120 of 144 dollars: 96 x 5 / 6 = 80 over 72 million.
144 dollars a day at 1.10 a million: 130.909091 million tokens. turbo: 20 + 4 + 36 = 60 dollars for 72
million, 0.833333 each; 144 / 0.833333 = 172.8.
"""


def test_the_first_server_is_explained_line_by_line() -> None:
    """Two GPUs, prefix cache, a number to hold against and a hosted offer."""
    assert explanation_text(explained("llm/chat-8b", 1.1)) == CHAT_TEXT


def test_the_second_server_shares_a_gpu_and_generates_nothing() -> None:
    """36 dollars, 18 of them busy, over 90 million prompt tokens: 0.40 and 0.20; half a GPU is 1.50."""
    (explained_server,) = explained("embed").servers
    (model,) = explained_server.models

    assert [(price.kind, price.basis, price.dollars_per_million) for price in model.prices] == [
        ("all", "full", 0.4),
        ("all", "busy", 0.2),
        ("computed", "full", 0.4),
        ("computed", "busy", 0.2),
        ("prompt", "full", 0.4),
        ("prompt", "busy", 0.2),
    ]
    assert sum(quote.gpus * quote.dollars_per_hour for quote in explained_server.allocated) == 1.5
    assert model.against == ()


def test_what_nobody_held_costs_and_has_no_price_per_token() -> None:
    """36 dollars for 12 idle GPU-hours."""
    printed = explanation_text(explained(UNALLOCATED))

    assert (
        "together           36.000000 dollars / 12.0000 GPU-hours = 3.000000 dollars per GPU-hour" in printed
    )
    assert "no price per token: it takes dollars and 1,000 tokens" in printed


def test_all_servers_come_the_dearest_first_and_lose_no_dollar() -> None:
    """144 + 36 + 36 dollars, all that the hours hold."""
    explanation_of = explained()

    assert [explained_server.key.server for explained_server in explanation_of.servers] == [
        "chat-8b",
        "embed",
        UNALLOCATED,
    ]
    assert (
        sum(
            model.account.spent
            for explained_server in explanation_of.servers
            for model in explained_server.models
        )
        == 216 * DOLLAR
    )


def test_every_line_can_be_redone_from_what_is_printed() -> None:
    """`a x b = c` and `a / b = c`, to the digits that are printed."""
    line = re.compile(r"([\d.,]+) (?:dollars )?(?:x [^x]* x|/) ([\d.,]+)(?: million| GPU-hours)? = ([\d.]+)")
    redone = 0
    for match in line.finditer(explanation_text(explained(price=1.1))):
        left, right, document = (float(text.replace(",", "")) for text in match.groups())
        value = left * right if " x " in match[0] else left / right
        assert document == pytest.approx(value, abs=1e-5)
        redone += 1
    assert redone == 10 + 6 + 3 + 4


def test_json_says_the_same() -> None:
    """The same numbers, named."""
    document = json.loads(explanation.as_json(explained("chat-8b", 1.1)))
    (server,) = document["servers"]
    (model,) = server["models"]

    assert (document["metered_seconds"], document["fleet_dollars_per_hour"]) == (86_400, 60)
    assert (server["namespace"], server["server"]) == ("llm", "chat-8b")
    assert model["split"] == {"method": "time", "prefill_ratio": 0.25}
    assert model["dollars_by_phase"] == {"prefill": 24, "decode": 72, "idle": 48}
    assert model["server_dollars_by_component"] == {"rent": 120, "storage": 24}
    assert model["dollars_per_million_tokens"][0]["dollars_per_million"] == 2
    assert [quote["reference"] for quote in model["against"]] == ["your number", "turbo"]


def test_a_change_of_owner_is_one_account() -> None:
    """The same server and model under two products: money and tokens together."""
    later = CHAT._replace(product="other")
    sums = HistorySums(
        cost={OwnerPhase(CHAT, "decode"): DOLLAR, OwnerPhase(later, "decode"): 2 * DOLLAR},
        tokens={(CHAT, "generation"): MILLION, (later, "generation"): 2 * MILLION},
    )
    (explained_server,) = explained(sums=sums).servers

    assert [model.account.spent for model in explained_server.models] == [3 * DOLLAR]
    assert explained_server.models[0].prices[0].dollars_per_million == 1


def test_the_minutes_tell_phases_and_tokens() -> None:
    """What the metrics divide: no GPU-hours and no components, so no dollars per GPU-hour."""
    window = Window({"prefill": DOLLAR, "idle": DOLLAR}, {"prompt": MILLION})
    accounts = CostAccounts()
    accounts.add_window(CHAT, window.money, window.tokens, window.unpriced)
    period = ExplainedPeriod(START, START + HOUR, HOUR)
    explanation_of = explain(accounts, period, POLICY, State(), START + HOUR, ledger=LEDGER)

    assert "together            2.000000 dollars\n" in explanation_text(explanation_of)
    assert explanation_of.servers[0].models[0].prices[0].dollars_per_million == 2


def test_the_minutes_take_their_hours_mix_of_components() -> None:
    """Of 2 dollars 1 was spent on tokens, 3 of 4 dollars of its hours were rent: 0.75 for a million of them.

    No line tells what the whole server paid: that would be of another time than the rest.
    """
    owner = ServerOwner("chat", "assistants", "llm", "chat-8b")
    accounts = CostAccounts()
    accounts.add_window(CHAT, {"prefill": DOLLAR, "idle": DOLLAR}, {"prompt": MILLION}, 0)
    for hour in (1, 2):
        rent = {(owner, "rent", "configured"): hour, (owner, "rent", "estimate"): 2 * hour}
        sums = HistorySums(server_cost={**rent, (owner, "storage", "configured"): hour})
        accounts.add_mix(sums.by_component())
    period = ExplainedPeriod(START, START + HOUR, HOUR)
    explanation_of = explain(accounts, period, POLICY, State(), START + HOUR, ledger=LEDGER)
    (first, *_more) = explanation_of.servers[0].models[0].ladder

    assert (first.dollars_per_million, first.meaning) == (
        0.75,
        "hardware alone, and only while it computed tokens",
    )
    assert "of the whole server" not in explanation_text(explanation_of)


def test_a_server_with_time_that_has_no_price_has_no_quotient() -> None:
    """30 of its 48 GPU-hours had no price, 24 of them were charged since: 6 wait, and the text says so."""
    gpu = GPUS[0].gpu
    parts = replace(
        SUMS, unpriced={(gpu, CHAT): 30 * HOUR, (gpu, EMBED): HOUR}, settled={(gpu, CHAT): 24 * HOUR}
    )
    chat = explanation_text(explained("llm/chat-8b", 1.1, sums=parts))
    (model,) = json.loads(explanation.as_json(explained("llm/chat-8b", 1.1, sums=parts)))["servers"][0][
        "models"
    ]
    settled = replace(parts, settled={(gpu, CHAT): 30 * HOUR, (gpu, EMBED): HOUR})

    assert "      together          144.000000 dollars\n      of the whole" in chat
    assert chat.split("generation tokens\n")[1].split("\n\n")[0] == (
        "    no price per token: 6.0000 GPU-hours that it held have no price, so that what it cost is not "
        "known; a price under `hardware` that covers them charges them"
    )
    assert model["unpriced_gpu_seconds"] == 6 * 3600
    assert [model[name] for name in ("dollars_per_million_tokens", "ladder", "against")] == [[], [], []]
    assert explanation_text(explained("llm/chat-8b", 1.1, sums=settled)) == CHAT_TEXT


def test_the_minutes_tell_what_has_no_price() -> None:
    """A quarter of a GPU-hour of the window waits: no quotient, as the metrics have none."""
    window = Window({"decode": DOLLAR}, {"prompt": MILLION}, unpriced=HOUR // 4)
    accounts = CostAccounts()
    accounts.add_window(CHAT, window.money, window.tokens, window.unpriced)
    explanation_of = explain(
        accounts, ExplainedPeriod(START, START + HOUR, HOUR), POLICY, State(), START + HOUR, ledger=LEDGER
    )

    assert explanation_of.servers[0].models[0].prices == ()
    assert "no price per token: 0.2500 GPU-hours that it held have no price" in explanation_text(
        explanation_of
    )


def test_a_server_that_others_compute_for_has_dollars_and_no_price() -> None:
    """Of a disaggregated pair, or spread over hosts: its own money over its own tokens would mislead."""
    explanation_of = explained("chat-8b", 1.1, partial=True)
    printed = explanation_text(explanation_of)
    (server,) = json.loads(explanation.as_json(explanation_of))["servers"]
    (model,) = server["models"]

    assert "      together          144.000000 dollars / 48.0000 GPU-hours" in printed
    assert printed.split("generation tokens\n")[1].startswith(
        "    no price per token: others compute for its tokens, too (another role, or other hosts)\n\n"
    )
    assert server["partial"]
    assert (model["dollars_per_million_tokens"], model["ladder"], model["against"]) == ([], [], [])


def test_names_cannot_move_a_cursor() -> None:
    """What an engine calls its model is printed as far as it is printable."""
    sums = HistorySums(cost={OwnerPhase(CHAT._replace(model="a\x1b[2Jb"), "idle"): DOLLAR})

    assert "  model a?[2Jb\n" in explanation_text(explained(sums=sums))


def test_an_unknown_server_is_answered_with_those_there_are() -> None:
    """Names as they are asked for."""
    with pytest.raises(ExplanationError) as caught:
        explained("chat")
    assert str(caught.value) == (
        "there is no server 'chat' in this time: there is embed, unallocated, llm/chat-8b"
    )


def test_nothing_posted_is_nothing_to_explain() -> None:
    """An empty time asks for a longer one."""
    with pytest.raises(
        ExplanationError, match=r"^nothing was posted in this time: ask for a longer --window$"
    ):
        explained(sums=HistorySums())


def test_a_server_with_a_role_has_nothing_to_split() -> None:
    """A decode server, whatever seconds its engine told before."""
    (explained_server,) = explained("chat-8b", partial=True, role="decode").servers

    assert explained_server.models[0].split == CurrentSplit("role", 0.0)
    assert "now split by role, prefill 0.0% of busy: nothing to split" in explanation_text(
        explained("chat-8b", partial=True, role="decode")
    )


def test_a_server_that_told_nothing_has_no_split() -> None:
    """Nor have GPUs that nobody held."""
    assert [explained_server.models[0].split for explained_server in explained().servers[1:]] == [None, None]
    assert "now split" not in explanation_text(explained("embed"))

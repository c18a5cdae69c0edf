"""Savings as text within 80 columns, and as JSON."""

import json
from dataclasses import replace
from typing import Any

from exporter.advice.kinds import OBSTACLES
from exporter.advice.saving import (
    SAVING_KINDS,
    Advice,
    CheaperGpus,
    FewerGpus,
    IgnoredSaving,
    Lack,
    LackReason,
    Obstacle,
    Rest,
    Saving,
    SavingKind,
)
from exporter.finance.options.advice_report import (
    ASSUMES,
    CANNOT_JUDGE,
    LACKS,
    AdviceReport,
    as_json,
    text,
)
from exporter.readings import ServerKey
from tests.advice.savings_examples import ARCHIVE, CHAT, FREE, MONDAY
from tests.kit.units import DOLLAR, HOUR

END = (MONDAY + 336) * HOUR


def saving(kind: SavingKind, server: ServerKey, dollars: int, **changes: Any) -> Saving:
    """A finding of 48 GPU-hours on two GPUs."""
    values: dict[str, Any] = {
        "obstacle": "",
        "gpus": 2,
        "gpu_models": ("NVIDIA H100 80GB HBM3",),
        "window_hours": 336,
        **changes,
    }
    return Saving(kind, "", server, 48 * HOUR, 100 * DOLLAR, per_month=dollars * DOLLAR, **values)


UNALLOCATED = saving("unallocated", FREE, 400)
DESERTED = saving("deserted", ARCHIVE, 300, window_hours=48, silent_hours=48, obstacle="host")
SCHEDULE = saving("schedule", CHAT, 200, rests=tuple(Rest(day * 24 + 20, 10) for day in range(7)))
HOSTED = saving("hosted", CHAT, 50, reference="cheap-api", tokens=7_000_000, offer_amount=12 * DOLLAR)
EMBED = ServerKey("llm", "embed")
CONSOLIDATION = saving(
    "consolidation",
    EMBED,
    40,
    fewer=FewerGpus((EMBED,), (CHAT,), 63 * HOUR // 100, 60 * 2**30, 80 * 2**30, 5 * HOUR),
)
GPU_MODEL = saving(
    "gpu_model",
    CHAT,
    30,
    cheaper=CheaperGpus(
        "NVIDIA L40S",
        2,
        ("node-2",),
        3 * DOLLAR // 2,
        "llama-8b",
        "node-2",
        EMBED,
        9_000_000,
        20 * HOUR,
        HOUR,
    ),
)
ALL = (UNALLOCATED, DESERTED, SCHEDULE, HOSTED, CONSOLIDATION, GPU_MODEL)


def printed(*savings: Saving, lacks: tuple[Lack, ...] = (), files: tuple[str, ...] = ()) -> list[str]:
    report = AdviceReport(Advice(savings, lacks), END, 336, {"": files})
    return text(report).splitlines()


def test_all_kinds() -> None:
    """The sums first, then each finding with evidence, terms, assumption, limit and command."""
    lines = printed(*ALL)

    assert lines[:3] == [
        "savings at present prices: 1,020.00 dollars a month",
        "cash 720.00, capacity for other work 300.00",
        "window: 336 hours to 2026-11-16T00:00:00Z",
    ]
    assert lines[4:12] == [
        "1. 400.00 a month: 2 GPUs (NVIDIA H100 80GB HBM3) had no server",
        "   Evidence: 48.0 GPU-hours in 336 hours.",
        "   Cash: the bill falls when the GPUs are given back.",
        "   Assumes: nothing will need the GPUs.",
        "   Cannot judge: GPUs kept for peaks, failures or releases.",
        "   Why: inference-cost-exporter report month --by=server",
        "",
        "2. 300.00 a month: llm/archive-13b served nothing for 2 days on 2 GPUs (NVIDIA",
    ]
    assert "3. 200.00 a month: llm/chat-8b rests 70 of 168 hours of the week on 2 GPUs" in lines
    assert "   Evidence: 48.0 GPU-hours in 336 hours; Mon 20:00 to Tue 06:00, Tue 20:00 to" in lines
    assert "     Wed 06:00, Wed 20:00 to Thu 06:00, and 4 more." in lines
    assert "   Evidence: 48.0 GPU-hours in 336 hours; 7,000,000 tokens cost 12.00 there." in lines
    assert "   Why: inference-cost-exporter explain llm/archive-13b --window=48h" in lines
    fifth = next(number for number, line in enumerate(lines) if line.startswith("5. "))
    assert lines[fifth:] == [
        "5. 40.00 a month: llm/embed would fit beside llm/chat-8b, freeing 2 GPUs (NVIDIA",
        "   H100 80GB HBM3)",
        "   Evidence: 48.0 GPU-hours in 336 hours; together at most 63% busy in an hour,",
        "     and 60.0 of 80.0 GiB of memory.",
        "   Cash: the bill falls when the GPUs are given back.",
        "   Assumes: the coming weeks are as busy as these; 10% of memory stays free, and",
        "     no hour is more than 70% busy.",
        "   Cannot judge: latency of servers that compute at once, and memory that one",
        "     would need at a peak.",
        "   Why: inference-cost-exporter explain llm/embed --window=336h",
        "",
        "6. 30.00 a month: llm/chat-8b would run on 2 NVIDIA L40S on node-2 instead of 2",
        "   GPUs (NVIDIA H100 80GB HBM3)",
        "   Evidence: 48.0 GPU-hours in 336 hours; llm/embed on node-2 took 20.0 busy",
        "     GPU-hours for 9,000,000 tokens of llama-8b; the busiest hour would be 50%",
        "     busy; 2 NVIDIA L40S cost 1.50 an hour.",
        "   Cash: the bill falls when the GPUs are given back.",
        "   Assumes: tokens take the GPU time that they took there, and no hour is more",
        "     than 70% busy.",
        "   Cannot judge: whether the model's name means the same weights there, latency,",
        "     length of contexts, and prefix caches of another size.",
        "   Why: inference-cost-exporter explain llm/chat-8b --window=336h",
    ]
    assert max(map(len, lines)) <= 80


def test_an_estimate_is_called_one() -> None:
    """Neither the configuration nor a list has the price; in JSON the basis of each finding."""
    assert "   Price: an estimate, neither configured nor a list price." in printed(
        replace(UNALLOCATED, price_basis="estimate")
    )
    assert not any(
        "Price:" in line for line in printed(UNALLOCATED, replace(HOSTED, price_basis="catalogue"))
    )
    report = AdviceReport(Advice((UNALLOCATED, replace(HOSTED, price_basis="catalogue"))), END, 336)
    assert [each["price_basis"] for each in json.loads(as_json(report))["savings"]] == [None, "catalogue"]


def test_nothing_to_save() -> None:
    """An empty list says so, and that nothing was missing."""
    assert printed()[3:] == ["", "Nothing to save was found."]


def test_every_lack_has_a_sentence() -> None:
    """Within 80 columns, however long the name."""
    reasons: tuple[LackReason, ...] = (*LACKS,)
    lacks = [Lack(reason, "node-1", "x" * 200, 7) for reason in reasons]
    of_hosts = [Lack(reason, "node-1", hours=7) for reason in ("history", "weeks")]
    lines = printed(lacks=(*lacks, *of_hosts))

    assert "- node-1: no schedule is judged: 7 hours of history, and 336 are needed" in lines
    assert "- node-1: not judged: 7 hours of history, and 24 are needed" in lines
    assert max(map(len, lines)) <= 80


def test_long_names_fit() -> None:
    """Those of servers, hosts and GPUs, in each kind of finding."""
    long = ServerKey("n" * 100, "s" * 100)
    wide = [
        replace(
            each,
            host="h" * 100,
            server=long,
            gpu_models=("g" * 100,),
            reference="r" * 100,
            fewer=each.fewer and each.fewer._replace(servers=(long, long), onto=(long,)),
            cheaper=each.cheaper
            and each.cheaper._replace(gpu_model="m" * 100, hosts=("h" * 100,), server=long),
        )
        for each in ALL
    ]

    lines = printed(*wide)

    assert max(len(line) for line in lines if not line.startswith("   Why: ")) <= 80


def test_every_obstacle_and_kind_has_a_sentence() -> None:
    """What is not cash says why."""
    obstacles: tuple[Obstacle, ...] = (*OBSTACLES,)
    for obstacle in obstacles:
        lines = printed(replace(UNALLOCATED, obstacle=obstacle))

        assert sum("apacity" in line for line in lines[3:]) == bool(obstacle)
    assert set(ASSUMES) == set(CANNOT_JUDGE) == set(SAVING_KINDS)


def test_a_muted_finding_is_in_no_sum() -> None:
    """Its reason and its end are printed."""
    muted = replace(DESERTED, ignored=IgnoredSaving("deserted", "standby", 1, "2027-01-01"))

    lines = printed(UNALLOCATED, muted)

    assert lines[0] == "savings at present prices: 400.00 dollars a month"
    rest = " ".join(lines[lines.index("ignored by the configuration, and in no sum:") :])
    assert "until 2027-01-01: standby" in rest


def test_a_name_cannot_move_the_cursor() -> None:
    """Names come from servers and files; a command quotes them for a shell."""
    lines = printed(replace(DESERTED, server=ServerKey("", "a\x1b[2J; rm x")), files=("--ledger.path=/a b",))

    assert not any("\x1b" in line for line in lines)
    (command,) = [line for line in lines if line.startswith("   Why: ")]
    assert command.endswith("'a?[2J; rm x' --window=48h '--ledger.path=/a b'")


def test_json() -> None:
    """Exact amounts that sum to the total, and null where a kind has no such value."""
    muted = replace(SCHEDULE, ignored=IgnoredSaving("schedule", "batch", 1, "2027-01-01"))
    lacks = (Lack("weeks", "", hours=30),)
    report = AdviceReport(Advice((UNALLOCATED, DESERTED, muted, HOSTED), lacks, 9 * HOUR), END, 336)

    document = json.loads(as_json(report))

    assert document["picodollars_per_month"] == 750 * DOLLAR
    assert document["cash_picodollars_per_month"] == 450 * DOLLAR
    assert (document["idle_gpu_hours"], document["end"]) == (9, "2026-11-16T00:00:00Z")
    unallocated, deserted, schedule, hosted = document["savings"]
    assert (unallocated["server"], unallocated["cash"], unallocated["obstacle"]) == (None, True, None)
    assert (deserted["namespace"], deserted["server"], deserted["silent_hours"]) == ("llm", "archive-13b", 48)
    assert (deserted["cash"], deserted["obstacle"]) == (False, "host")
    assert schedule["rests"][0] == {"start": 20, "length": 10, "minute": 0}
    assert schedule["ignored"] == {"reason": "batch", "until": "2027-01-01"}
    assert (hosted["price_difference_picodollars"], hosted["tokens"]) == (100 * DOLLAR, 7_000_000)
    assert (deserted["price_difference_picodollars"], deserted["tokens"]) == (0, None)
    assert document["lacks"] == [
        {
            "reason": "weeks",
            "host": None,
            "subject": None,
            "text": "no schedule is judged: 30 hours of history, and 336 are needed",
        }
    ]
    assert document["kinds_not_judged"] == {}
    assert (deserted["fewer_gpus"], deserted["cheaper_gpus"]) == (None, None)


def test_json_of_fewer_and_cheaper_gpus() -> None:
    """Their evidence, with the limits that they stay within."""
    report = AdviceReport(Advice((CONSOLIDATION, GPU_MODEL)), END, 336)

    consolidation, gpu_model = json.loads(as_json(report))["savings"]

    assert consolidation["fewer_gpus"] == {
        "servers": ["llm/embed"],
        "onto": ["llm/chat-8b"],
        "busiest_hour_ratio": 0.63,
        "busy_limit_ratio": 0.7,
        "memory_bytes": 64_424_509_440,
        "memory_total_bytes": 85_899_345_920,
        "memory_reserve_ratio": 0.1,
    }
    assert consolidation["price_difference_picodollars"] == 0
    assert gpu_model["cheaper_gpus"] == {
        "gpu_model": "NVIDIA L40S",
        "gpus": 2,
        "hosts": ["node-2"],
        "picodollars_per_hour": 1_500_000_000_000,
        "model": "llama-8b",
        "measured_host": "node-2",
        "measured_server": "llm/embed",
        "measured_tokens": 9_000_000,
        "measured_busy_gpu_hours": 20,
        "busiest_hour_gpu_hours": 1,
        "busy_limit_ratio": 0.7,
    }
    assert gpu_model["price_difference_picodollars"] == 100 * DOLLAR

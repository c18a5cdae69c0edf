"""Fleets: three hosts for three days, twenty for thirty, and twenty-five for ninety, over ends of months.

Nothing happens on the hour: pods are replaced, processes end and machines come at odd minutes.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from tests.e2e.backfill.recorded_fleet import (
    DAY,
    HOUR,
    Exporter,
    RecordedFleet,
    RecordedHost,
    RecordedServer,
    Tenancy,
)

H100: Final = "NVIDIA H100 80GB HBM3"
A100: Final = "NVIDIA A100-SXM4-80GB"
L40S: Final = "NVIDIA L40S"

CHAT: Final = RecordedServer("chat", "llama-70b", "Llama-3.3-70B", (40, 15, 9))
ASSIST: Final = RecordedServer("chat", "assist-8b", "Qwen3-8B", (90, 0, 30))
SEARCH: Final = RecordedServer("search", "rerank-8b", "Qwen3-Reranker-8B", (300, 20, 1))
LAB: Final = RecordedServer("lab", "draft-32b", "Draft-32B", (20, 5, 12))
ALONE: Final = RecordedServer("", "vllm:8000", "Llama-3.3-70B", (40, 15, 9))
FIRST: Final = RecordedServer("", "first", "Qwen3-8B", (90, 0, 30), port=8011)
SECOND: Final = RecordedServer("", "second", "Draft-32B", (20, 5, 12), port=8012)
LEFT: Final = RecordedServer("", "vllm:8021", "Qwen3-8B", (90, 0, 30), port=8021)
RIGHT: Final = RecordedServer("", "vllm:8022", "Draft-32B", (20, 5, 12), port=8022)

CONFIG: Final = """\
timezone: UTC
ownership:
  rules:
    - {match: {namespace: chat}, product: chat, team: conversations}
    - {match: {namespace: search}, product: search, team: retrieval}
    - {match: {server: first}, product: search, team: retrieval}
budgets:
  - {name: fleet, dollars_per_month: 1000}
hardware:
  - match: {instance_type: p5.48xlarge}
    rented:
      gpus_per_host: 8
      prices:
        - {from: 2026-01-01, dollars_per_host_hour: 55.04}
        - {from: "2026-09-27T10:20", dollars_per_host_hour: 41.28}
  - match: {host: "n*"}
    rented: {dollars_per_gpu_hour: 2.5}
  - match: {host: "w*"}
    owned:
      {purchase_dollars_per_host: 60000, gpus_per_host: 4, in_service: 2025-02-01, life_years: 4}
    energy: {dollars_per_kilowatt_hour: 0.12, pue_ratio: 1.3, host_factor_ratio: 1.5}
  - match: {gpu_model: "*L40S*"}
    rented: {dollars_per_gpu_hour: 0.8}
unmatched_hardware: unpriced
overheads:
  - {name: network, dollars_per_hour: 1.1, per: host}
servers:
  - {name: first, url: "http://127.0.0.1:8011/metrics", gpus: [0, 1, 2]}
  - {name: second, url: "http://127.0.0.1:8012/metrics", gpus: [3]}
"""


def at(month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """A moment of 2026 in UTC."""
    return int(datetime(2026, month, day, hour, minute, second, tzinfo=UTC).timestamp())


def host(
    name: str,
    seed: int,
    exporter: Exporter,
    gpu_model: str,
    slots: int,
    period: tuple[int, int],
    tenancies: Sequence[Tenancy],
    *,
    cluster: str = "",
    instance_type: str = "",
    replaced: tuple[int, int] | None = None,
    off: tuple[tuple[int, int], ...] = (),
    gaps: tuple[tuple[int, int], ...] = (),
    renamed: int | None = None,
) -> RecordedHost:
    """A host; `replaced`: a slot that gets another GPU, and when."""
    uuids = [[(period[0], f"GPU-{seed:08x}-0000-4000-8000-{slot:012x}")] for slot in range(slots)]
    if replaced is not None:
        slot, moment = replaced
        uuids[slot].append((moment, f"GPU-{seed:08x}-0000-4000-8000-{slot + 100:012x}"))
    return RecordedHost(
        name,
        exporter,
        gpu_model,
        tuple(tuple(lives) for lives in uuids),
        tuple(part for tenancy in tenancies for part in _without(_of_host(tenancy, name), off)),
        *period,
        cluster=cluster,
        instance_type=instance_type,
        off=off,
        gaps=gaps,
        renamed=renamed,
        seed=seed,
    )


def _of_host(tenancy: Tenancy, name: str) -> Tenancy:
    """A tenancy with a pod that no other host has, named as Kubernetes does."""
    if not tenancy.pod:
        return tenancy
    replica_set, _, pod = tenancy.pod.rpartition("-")
    number, letters = zlib.crc32(f"{name}/{tenancy.gpus[0]}/{pod}".encode()), "bcdfghjklmnpqrstvwxz2456789"
    suffix = "".join(letters[number // 27**power % 27] for power in range(5))
    return replace(tenancy, pod=f"{replica_set}-{suffix}")


def _without(tenancy: Tenancy, off: tuple[tuple[int, int], ...]) -> Iterator[Tenancy]:
    """A tenancy that ends when its host loses power, and goes on with the same pod afterwards."""
    since = tenancy.since
    for down, up in off:
        if since < down and up < tenancy.until:
            yield _part(tenancy, since, down)
            since = up
    yield _part(tenancy, since, tenancy.until)


def _part(tenancy: Tenancy, since: int, until: int) -> Tenancy:
    restarts = tuple(one for one in tenancy.restarts if since < one < until)
    return replace(tenancy, since=since, until=until, restarts=restarts)


def pods(
    server: RecordedServer,
    gpus: tuple[int, ...],
    moments: Sequence[int],
    *,
    restarts: Sequence[int] = (),
    hash_: str = "7d9c5b6f4d",
) -> list[Tenancy]:
    """One pod after the other, each from a moment to the next, less 40 s in which nobody holds the GPUs."""
    last = len(moments) - 2
    names = ("x2lqz", "b8k4d", "mv6rt", "q9w2s", "hj5nc", "t7zfp", "c4gxl", "z6vbk")
    return [
        Tenancy(
            server,
            f"{server.name}-{hash_}-{names[number % len(names)]}" if server.namespace else "",
            gpus,
            since,
            until if number == last else until - 40,
            restarts=tuple(one for one in restarts if since < one < until),
        )
        for number, (since, until) in enumerate(pairwise(moments))
    ]


def three_hosts() -> RecordedFleet:
    """Three days over the end of September: one host of each way to know who holds a GPU."""
    begin, end = at(9, 29), at(10, 2)
    before, period = begin - 5 * DAY, (begin, end)
    hosts = (
        host(
            "n01",
            1,
            "operator",
            H100,
            8,
            period,
            [
                *pods(
                    CHAT, (0, 1, 2, 3), [before, at(9, 30, 9, 17, 20), end], restarts=[at(10, 1, 3, 41, 10)]
                ),
                *pods(SEARCH, (4, 5), [before, end]),
                *pods(ASSIST, (6,), [at(9, 30, 14, 23, 50), at(10, 1, 20, 5, 10)]),
            ],
            cluster="east",
            instance_type="p5.48xlarge",
            renamed=at(9, 30, 22, 10),
        ),
        host(
            "w01",
            2,
            "honored",
            A100,
            4,
            period,
            [
                *pods(
                    LAB,
                    (0, 1),
                    [before, at(9, 30, 6, 47, 10), end],
                    restarts=[at(9, 30, 5, 13), at(10, 1, 21, 52, 30)],
                ),
                *pods(CHAT, (2,), [before, at(10, 1, 11, 29, 40)]),
            ],
            cluster="west",
            replaced=(1, at(9, 30, 18, 40)),
            off=((at(9, 30, 18, 30), at(9, 30, 18, 40)),),
            gaps=((at(10, 1, 2), at(10, 1, 7)),),
        ),
        host(
            "b01",
            3,
            "bare",
            L40S,
            4,
            period,
            [*pods(FIRST, (0, 1, 2), [before, end]), *pods(SECOND, (3,), [before, end])],
        ),
    )
    return RecordedFleet(begin, end, hosts, CONFIG)


def twenty_hosts() -> RecordedFleet:
    """Thirty days: Kubernetes with and without honored labels, plain hosts, spot nodes, every exporter."""
    begin, end = at(9, 15), at(10, 15)
    before, period = begin - 5 * DAY, (begin, end)
    everywhere = [(at(9, 21, 13), at(9, 21, 15))]
    """Prometheus itself was down."""

    def day(number: int, hour: int, minute: int, second: int = 0) -> int:
        return begin + number * DAY + hour * HOUR + minute * 60 + second

    east = [
        host(
            f"n{number:02d}",
            number,
            "operator",
            H100,
            8 if number <= 2 else 4,
            period,
            [
                *pods(
                    CHAT if number % 2 else SEARCH,
                    (0, 1),
                    [before, day(4 + number, 9, 7 * number, 20), day(15 + number, 16, 3 * number), end],
                    restarts=[day(9 + number, 3, 11, 10), day(22, 4, number)],
                ),
                *pods(ASSIST, (2,), [day(number, 10, 2, 30), day(12 + number, 21, 48, 50)]),
                *pods(LAB, (3,), [day(2, 6 + number, 31), day(5, 6, 29), day(29, 3, 3)]),
                *(pods(SEARCH, (4, 5, 6), [before, day(20, 12, 12, 10)]) if number <= 2 else ()),
            ],
            cluster="east",
            instance_type="p5.48xlarge" if number <= 2 else "",
            replaced=(1, day(11, 8, 50)) if number == 8 else None,
            off=((day(11, 8, 40), day(11, 8, 50)),) if number == 8 else (),
            gaps=(*everywhere, (day(17, 22, 14), day(18, 5, 38))) if number == 4 else tuple(everywhere),
            renamed=day(14, 11, 10),
        )
        for number in range(1, 9)
    ]
    west = [
        host(
            f"w{number:02d}",
            20 + number,
            "honored",
            A100,
            4,
            period,
            [
                *pods(
                    LAB, (0, 1, 2), [before, day(8 + number, 1, 23), end], restarts=[day(19, 2, 17 + number)]
                ),
                *pods(ASSIST, (3,), [day(3, 13, 21), day(26 - number, 18, 44, 40)]),
            ],
            cluster="west",
            gaps=tuple(everywhere),
        )
        for number in range(1, 5)
    ]
    spot = [
        host(
            f"n9{number}",
            40 + number,
            "operator",
            H100,
            2,
            (day(6 * number, 7, 36), day(6 * number + 9, 19, 2)),
            pods(ASSIST, (0, 1), [day(6 * number, 7, 44), day(6 * number + 9, 19, 2)]),
            cluster="east",
            gaps=tuple(everywhere),
        )
        for number in (1, 2)
    ]
    plain: list[tuple[str, Exporter, int, list[Tenancy]]] = [
        ("b01", "bare", 4, [*pods(FIRST, (0, 1, 2), [before, end]), *pods(SECOND, (3,), [before, end])]),
        ("b02", "bare", 4, [*pods(LEFT, (0, 1), [before, end]), *pods(RIGHT, (2, 3), [before, end])]),
        ("b03", "bare", 4, pods(ALONE, (0, 1, 2, 3), [before, day(13, 2, 34), end])),
        ("b04", "bare", 2, []),
        ("b05", "nvidia_gpu_exporter", 2, pods(ALONE, (0, 1), [before, end])),
        ("b06", "nvitop", 2, pods(ALONE, (0, 1), [before, end])),
    ]
    bare = [
        host(name, 60 + number, exporter, L40S, slots, period, tenancies, gaps=tuple(everywhere))
        for number, (name, exporter, slots, tenancies) in enumerate(plain)
    ]
    return RecordedFleet(begin, end, (*east, *west, *spot, *bare), CONFIG, frozenset({"b02"}))


def two_hundred_gpus(days: int = 90) -> RecordedFleet:
    """Twenty-five hosts of eight GPUs, each with two servers whose pods are replaced each month."""
    end = at(10, 15)
    begin = end - days * DAY
    moments = [begin - DAY, *(begin + (30 * n + 7) * DAY + n * 1110 for n in range(days // 30)), end]
    hosts = (
        host(
            f"n{number:02d}",
            number,
            "operator",
            H100,
            8,
            (begin, end),
            [
                *pods(CHAT if number % 2 else LAB, (0, 1, 2, 3), moments),
                *pods(SEARCH if number % 3 else ASSIST, (4, 5, 6, 7), moments),
            ],
            cluster="east",
        )
        for number in range(1, 26)
    )
    return RecordedFleet(begin, end, tuple(hosts), CONFIG)

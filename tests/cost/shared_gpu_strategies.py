"""Random hosts whose GPUs are shared, partitioned again, lost and found, and the holders of each part.

`Reckoning` implements the contract a second time, in fractions; it shares no arithmetic with the code.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from hypothesis import strategies as st

from exporter.cost.policy import CostPolicy
from exporter.readings import Gpu, GpuProcess, GpuReading, Holder, MigInstance, ServerKey, ServerReading
from exporter.tariff.terms import Electricity, HardwareMatch
from tests.cost.readings import cost_policy, down, overhead, owned, page, rent
from tests.kit.units import SECOND

GB: Final = 10**9
SERVERS: Final = 4
GAP: Final = 60 * SECOND

MODELS: Final = (("NVIDIA A100-SXM4-40GB", 7, 40), ("NVIDIA A30", 4, 24), ("NVIDIA A100-SXM4-40GB", 7, 40))
"""By number: the name, its compute slices and its memory in GB. GPU-0 is owned and pays for its power, GPU-1
is rented, GPU-2 has no price but what the host has for each GPU."""

Layout = tuple[tuple[str, int, int, int, int], ...]
"""By instance: UUID, GPU instance, slices of that, compute slices, GB of the GPU instance."""

LAYOUTS: Final[tuple[tuple[Layout | None, ...], ...]] = (
    (
        None,
        (),
        (("MIG-a", 1, 3, 3, 20), ("MIG-b", 2, 2, 2, 10), ("MIG-c", 3, 1, 1, 5)),
        (("MIG-a", 1, 4, 4, 20), ("MIG-b", 2, 3, 3, 20)),
        (("MIG-a", 1, 3, 1, 20), ("MIG-b", 1, 3, 2, 20), ("MIG-c", 5, 1, 1, 10)),
        tuple((f"MIG-{name}", number, 1, 1, 5) for number, name in enumerate("abcdefg")),
    ),
    (None, (("MIG-a", 1, 2, 2, 12), ("MIG-b", 2, 1, 1, 6)), (("MIG-a", 0, 4, 4, 24),)),
    (None,),
)


@dataclass(frozen=True)
class GpuSample:
    """What a tick reads of a GPU; `None` in its place: it is not among those that are read."""

    up: bool
    layout: Layout | None
    busy: float | None
    by_instance: dict[str, float | None]
    processes: tuple[str, ...] | None
    joules: int


@dataclass(frozen=True)
class SharedHostEvent:
    """What is read after some time. By server: tokens moved and requests running; `None` is no answer."""

    duration: int
    silent: bool
    gpus: tuple[GpuSample | None, ...]
    holders: tuple[Holder, ...]
    servers: tuple[tuple[int, int | None] | None, ...]


utilizations = st.none() | st.sampled_from([0.0, 0.25, 1.0]) | st.integers(0, 1000).map(lambda n: n / 1000)
names = ("", "MIG-a", "MIG-b", "MIG-c", "MIG-gone")
keys = st.integers(0, SERVERS - 1).map(lambda number: ServerKey("", f"s{number}"))
claims = st.builds(
    Holder,
    st.one_of(keys, keys, st.just(ServerKey("", "unmatched:python"))),
    st.integers(0, 2).map(lambda number: f"GPU-{number}"),
    st.sampled_from([None, None, 0.0, 0.25, 0.5, 0.7]),
    st.sampled_from(names),
    st.sampled_from([None, 0.0, 0.125, 0.3, 0.7]),
    st.sampled_from([None, 0, 5 * GB, 20 * GB, 33 * GB]),
)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Holder, ...]:
    """Servers that all tell what they use, on one GPU or one instance of it: any mix hides what each does."""
    uuid, instance = f"GPU-{draw(st.sampled_from([2, 2, 0, 1]))}", draw(st.sampled_from(["", "", "MIG-a"]))
    numbers = draw(st.sets(st.integers(0, SERVERS - 1), min_size=2))
    used = st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.7]), st.sampled_from([5 * GB, 20 * GB, 33 * GB]))
    return tuple(
        Holder(
            ServerKey("", f"s{number}"), uuid, draw(st.sampled_from([None, None, 0.5])), instance, *draw(used)
        )
        for number in sorted(numbers)
    )


def gpu_samples(number: int) -> st.SearchStrategy[GpuSample]:
    """Anything that NVML may say of a GPU."""
    return st.builds(
        GpuSample,
        st.sampled_from([True, True, True, False]),
        st.sampled_from(LAYOUTS[number]),
        utilizations,
        st.fixed_dictionaries({f"MIG-{name}": utilizations for name in "abcdefg"}),
        st.none() | st.lists(st.sampled_from(names[:4]), max_size=3).map(tuple),
        st.integers(0, 3000),
    )


events = st.builds(
    SharedHostEvent,
    st.one_of(st.just(10 * SECOND), st.integers(1, 60 * SECOND), st.integers(61 * SECOND, 7200 * SECOND)),
    st.sampled_from([False, False, False, True]),
    st.tuples(*(st.one_of(st.none(), *[gpu_samples(number)] * 4) for number in range(3))),
    st.lists(claims, max_size=8).map(tuple) | crowds(),
    st.tuples(
        *(
            st.none() | st.tuples(st.sampled_from([0, 0, 7, 5000]), st.sampled_from([None, 0, 3]))
            for _ in range(SERVERS)
        )
    ),
)
stories = st.lists(events, min_size=1, max_size=7)


def tariff() -> CostPolicy:
    """Prices of the three, and 0.25 dollars an hour of each for storage."""
    power = Electricity(Decimal("0.12"), Decimal("1.35"))
    own = replace(owned(energy=power, gpus=1), match=HardwareMatch(uuid="GPU-0"))
    leased = rent("3.67", match=HardwareMatch(uuid="GPU-1"))
    return cost_policy(own, leased, overheads=(overhead("storage", "0.25", "hour", "gpu"),))


@dataclass
class SharedGpuHost:
    """The host of a story: its counters go up whether they are read or not."""

    joules: list[int] = field(default_factory=lambda: [0, 0, 0])
    tokens: list[int] = field(default_factory=lambda: [0] * SERVERS)

    def first(self) -> tuple[list[GpuReading], list[ServerReading]]:
        """Everything is read once before a story begins."""
        quiet = GpuSample(True, None, 0.0, {}, None, 0)
        return [self._gpu(number, quiet) for number in range(3)], [
            self._page(number, 0) for number in range(SERVERS)
        ]

    def then(self, event: SharedHostEvent) -> tuple[list[GpuReading] | None, list[ServerReading]]:
        """What is read after a happening."""
        gpus = []
        for number, sample in enumerate(event.gpus):
            if sample is not None:
                self.joules[number] += sample.joules * event.duration // (10 * SECOND)
                gpus.append(self._gpu(number, sample))
        pages = []
        for number, answer in enumerate(event.servers):
            if answer is None:
                pages.append(down(self._page(number, 0)))
                continue
            self.tokens[number] += answer[0]
            pages.append(self._page(number, answer[1]))
        return None if event.silent else gpus, pages

    def _gpu(self, number: int, sample: GpuSample) -> GpuReading:
        model, _, memory = MODELS[number]
        gpu = Gpu(f"GPU-{number}", model)
        if not sample.up:
            return GpuReading(gpu, number, up=False)
        instances = None
        if sample.layout is not None:
            instances = tuple(
                MigInstance(uuid, gi, 0, "", slices, compute, gb * GB, sample.by_instance[uuid])
                for uuid, gi, slices, compute, gb in sample.layout
            )
        running = None
        if sample.processes is not None:
            running = tuple(GpuProcess(pid, instance=on) for pid, on in enumerate(sample.processes, start=1))
        return GpuReading(
            gpu,
            number,
            utilization_ratio=sample.busy if instances is None else None,
            memory_total_bytes=memory * GB,
            energy=self.joules[number] * 1000,
            power_limit_watts=400.0,
            instances=instances,
            processes=running,
        )

    def _page(self, number: int, running: int | None) -> ServerReading:
        key = ServerKey("", f"s{number}")
        load = None if running is None else float(running)
        return page(key, f"model-{number}", load, generation=float(self.tokens[number]))


class ExactShares:
    """What each (GPU, server, kind of time) is due, in nanoseconds; kinds are busy, idle and unobserved."""

    def __init__(self, story: Iterable[SharedHostEvent]) -> None:
        self.due: defaultdict[tuple[str, str, str], Fraction] = defaultdict(Fraction)
        self._layouts: list[Layout | None] = [None, None, None]
        self._holders: list[list[Holder]] = [[], [], []]
        self._lost = [False, False, False]
        for event in story:
            for number in range(3):
                self._tick(event, number)

    def _tick(self, event: SharedHostEvent, number: int) -> None:
        before = self._layouts[number], self._holders[number]
        sample = None if event.silent else event.gpus[number]
        if not event.silent:
            self._lost[number] = sample is None or not sample.up
            now = [one for one in event.holders if one.uuid == f"GPU-{number}"]
            if sample is not None and (sample.up or now):
                self._holders[number] = now
            if sample is not None and sample.up:
                self._layouts[number] = sample.layout
        gap = event.duration > GAP
        layout, holders = before if gap else (self._layouts[number], self._holders[number])
        for instance, part, those in _regions(number, layout, holders):
            self._region(event, number, sample, instance, part * event.duration, those, gap=gap)

    def _region(
        self,
        event: SharedHostEvent,
        number: int,
        sample: GpuSample | None,
        instance: str,
        time: Fraction,
        those: list[Holder],
        *,
        gap: bool,
    ) -> None:
        working, resting = _parts(those, ("sm", "memory")), _parts(those, ("memory", "sm"))

        def owe(server: str, kind: str, amount: Fraction) -> None:
            self.due[f"GPU-{number}", server, kind] += amount

        busy = None if gap else self._busy(event, number, sample, instance, [*resting])
        for server in resting:
            if gap:
                owe(server, "unobserved", time * resting[server])
            elif busy is not None:
                owe(server, "busy", time * busy * working[server])
                owe(server, "idle", time * (1 - busy) * resting[server])
            else:
                owe(server, self._phase_by_server(event, sample, instance, server), time * resting[server])

    def _busy(
        self, event: SharedHostEvent, number: int, sample: GpuSample | None, instance: str, servers: list[str]
    ) -> Fraction | None:
        if self._lost[number]:
            return Fraction(0)
        if sample is None:
            return None
        if sample.layout is not None and not instance:
            return Fraction(0)
        ratio = sample.busy if sample.layout is None else sample.by_instance[instance]
        moved = any((_answer(event, server) or (0, 0))[0] for server in servers)
        return None if ratio is None or (ratio == 0 and moved) else Fraction(str(ratio))

    def _phase_by_server(
        self, event: SharedHostEvent, sample: GpuSample | None, instance: str, server: str
    ) -> str:
        if server == "unallocated":
            lists_processes = sample is not None and sample.processes is not None
            return "idle" if lists_processes and instance not in sample.processes else "unobserved"  # type: ignore[union-attr, operator]
        answer = _answer(event, server)
        if answer is None:
            return "unobserved"
        moved, running = answer
        if running is None:
            return "busy" if moved else "unobserved"
        return "busy" if running else "idle"


def _answer(event: SharedHostEvent, server: str) -> Any:
    return event.servers[int(server[1:])] if server[0] == "s" else None


def _regions(
    number: int, layout: Layout | None, holders: list[Holder]
) -> list[tuple[str, Fraction, list[Holder]]]:
    """Instances, what none covers, or the GPU: its part of the GPU and who holds it."""
    if layout is None:
        return [("", Fraction(1), holders)]
    _, whole, memory = MODELS[number]
    sizes = {gi: max(Fraction(slices, whole), Fraction(gb, memory)) for _, gi, slices, _, gb in layout}
    over = max(Fraction(1), sum(sizes.values(), Fraction(0)))
    of_card = [one for one in holders if not one.instance]
    actual = []
    for uuid, gi, _, compute, _ in layout:
        part = sizes[gi] / over * Fraction(compute, sum(row[3] for row in layout if row[1] == gi))
        actual.append((uuid, part, [one for one in holders if one.instance == uuid] or of_card))
    rest = 1 - sum((part for _, part, _ in actual), Fraction(0))
    return [*actual, ("", rest, of_card)] if rest else actual


def _parts(those: list[Holder], measures: tuple[str, str]) -> dict[str, Fraction]:
    """Parts by server."""
    servers = list(dict.fromkeys(one.key.server for one in those))
    if len(servers) < 2:
        return {server: Fraction(1) for server in servers or ["unallocated"]}

    def summed(server: str, name: str) -> Fraction | None:
        reported = [getattr(one, name) for one in those if one.key.server == server]
        reported = [Fraction(str(value)) for value in reported if value is not None]
        return sum(reported, Fraction(0)) if reported else None

    ratios = {server: summed(server, "share_ratio") for server in servers}
    fixed = {server: ratio for server, ratio in ratios.items() if ratio is not None}
    others = [server for server in servers if server not in fixed]
    using = dict.fromkeys(others, Fraction(1))
    for name in measures:
        reported = {
            server: summed(server, {"sm": "sm_ratio", "memory": "memory_bytes"}[name]) for server in others
        }
        if None not in reported.values() and any(reported.values()):
            using = reported  # type: ignore[assignment]
            break
    left = max(Fraction(0), 1 - sum(fixed.values(), Fraction(0)))
    every = sum(using.values(), Fraction(0))
    parts = fixed | {server: left * using[server] / every for server in others}
    whole = sum(parts.values(), Fraction(0))
    return {server: part / whole if whole else Fraction(1, len(parts)) for server, part in parts.items()}

"""The GPUs that a host is charged for: slots, which GPU sits in each, and how many there should be.

The slot is charged, not the UUID. A VM that is stopped and started shows other UUIDs, and a board is
swapped; the host has as many GPUs as before, and costs as much.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost.policy import CostPolicy
from exporter.cost.state import GpuState, State
from exporter.readings import UNCOUNTED, UNSEEN, Frame, Gpu, GpuReading
from exporter.tariff.tariff import HostCount, Tariff

UNCOUNTED_TEXT: Final = (
    "The number or the price of this host's GPUs is not known. Its time costs nothing until a GPU is read, "
    "or a price of the configuration states both."
)
"""What people are told of a host whose time waits."""

RETIRED_MAX: Final = 128
"""Empty slots that are remembered: as many as a host can have GPUs."""

BOOTS_UNTIL_RELEASE: Final = 2
"""A slot that misses so many boots is released where nothing gives the host's number of GPUs."""


class Replacement(NamedTuple):
    """A GPU that took the slot of another."""

    old: Gpu
    new: Gpu
    pci_bus_id: str


@dataclass(frozen=True, slots=True)
class GpuInventory:
    """The slots of a host after one read of its GPUs. Those listed, lost and unseen are charged."""

    state: State
    """The state with the boot, the replacements and the retired GPUs of this read."""
    tariff: Tariff
    """Prices, with the predecessors of the GPUs that sit in these slots."""
    listed: Mapping[str, GpuState]
    """Slots with a listed GPU, by its UUID, without the reading of the tick."""
    lost: Mapping[str, GpuState] = field(default_factory=dict)
    """Slots whose GPU is not listed."""
    unseen: Mapping[str, GpuState] = field(default_factory=dict)
    """GPUs that were never listed, by model."""
    released: Mapping[str, GpuState] = field(default_factory=dict)
    """Slots that the host no longer has."""
    replaced: tuple[Replacement, ...] = ()
    expected: int | None = None
    """The number of GPUs that are owed, `None` where it is not known."""
    visible: int | None = None
    """The number of GPUs that NVML lists, `None` while it is silent."""
    stated: int | None = None
    """The number of GPUs by the rules or the instance type, `None` where neither gives it."""
    gpu_host: bool = True
    """False for a host without a sign of a GPU, which is not metered."""

    @property
    def charges_gpus(self) -> bool:
        """Whether the host has a GPU that is charged, listed or not."""
        return bool(self.listed or self.lost or self.unseen)

    @property
    def uncounted(self) -> bool:
        """Whether the number or the price of the host's GPUs is not known: its time waits for both."""
        return UNCOUNTED.gpu_model in self.unseen


class SlotEvidence(NamedTuple):
    """What a read shows of a host's slots, beside the GPUs that it lists."""

    booted: bool
    """Whether the host booted since it last listed a GPU."""
    gone: Collection[str] = ()
    """UUIDs of GPUs that it is known to have no more."""
    stated: bool = False
    """Whether its price or its type states the number of its GPUs."""


def boots_missed(
    gpu: GpuState, slots: Collection[str], listed: Collection[str], evidence: SlotEvidence
) -> int:
    """The boots that a slot has missed whose GPU is not listed; those of a slot that ended are the most.

    After a boot with none of the earlier GPUs the host is another one, unless their number is stated. While
    one of them is listed, another that is missing is a broken board. A boot that lists none shows nothing.

    Args:
        gpu: the GPU that is not listed.
        slots: the UUIDs of all slots.
        listed: the UUIDs that are listed.
        evidence: what else the read shows.
    """
    booted = evidence.booted and bool(listed)
    another_host = booted and not any(uuid in slots for uuid in listed)
    if not evidence.stated and (another_host or gpu.gpu.uuid in evidence.gone):
        return BOOTS_UNTIL_RELEASE
    return gpu.boots_missed + booted


def inventory(state: State, frame: Frame, policy: CostPolicy) -> GpuInventory:
    """Match the listed GPUs to the slots of the last read. While NVML is silent nothing changes.

    The policy prices the GPUs that sit in slots of others by `CostPolicy.following`.
    """
    tariff = policy.tariff
    if not frame.gpus and not state.gpus:
        return _never_listed(_retire(state, frame, tariff), frame, policy)
    if frame.gpus is None:
        return GpuInventory(
            _retire(state, frame, tariff),
            tariff,
            listed={},
            lost=state.gpus,
            unseen=state.unseen,
            expected=state.gpu_count,
        )
    matching = _Matching(state, frame.gpus, frame, policy)
    matching.by_address()
    matching.by_model()
    return matching.outcome()


def shows_gpus(state: State, frame: Frame, tariff: Tariff) -> bool:
    """Whether a host shows that it is a GPU host: by its ledger, its driver, its PCI bus or its price."""
    read_before = bool(state.gpus or state.former or state.retired or state.listed_in)
    evidence = frame.evidence
    # Where VMs have all boards, a driver is there for nothing.
    driver = (frame.gpus is not None or evidence.library) and not evidence.passed_through
    return read_before or driver or evidence.devices > 0 or tariff.unseen.named


def _never_listed(state: State, frame: Frame, policy: CostPolicy) -> GpuInventory:
    """The inventory of a host without a slot: the GPUs that its price states, or all of them uncounted."""
    visible = None if frame.gpus is None else 0
    gpu_host = shows_gpus(state, frame, policy.tariff)
    if not policy.all_gpus or not gpu_host:
        return GpuInventory(
            state, policy.tariff, listed={}, expected=visible, visible=visible, gpu_host=gpu_host
        )
    stated_here = policy.tariff.unseen
    expected = None if stated_here.gpus is None else max(0, stated_here.gpus - len(state.retired))
    if policy.tariff.location_pending and state.unseen and UNCOUNTED.gpu_model not in state.unseen:
        unseen = dict(state.unseen)  # until the location is known, the host is what it was
        expected = state.gpu_count
    elif expected is None or not stated_here.priced:
        unseen = {UNCOUNTED.gpu_model: GpuState(UNCOUNTED, -1, up=False)}
    else:
        unseen = {"": _stand_in(state, "", expected)} if expected else {}
    return GpuInventory(
        state,
        policy.tariff,
        listed={},
        unseen=unseen,
        expected=expected,
        visible=visible,
        stated=stated_here.gpus,
    )


def _stand_in(state: State, model: str, number: int) -> GpuState:
    gpu = state.unseen.get(model) or GpuState(Gpu(UNSEEN, model), -1, up=False)
    return replace(gpu, count=number)


class _Matching:
    """Listed GPUs on one side, slots without one on the other; each step settles some of both."""

    def __init__(
        self,
        state: State,
        readings: tuple[GpuReading, ...],
        frame: Frame,
        policy: CostPolicy,
    ) -> None:
        self._state = state
        self._frame = frame
        self._policy = policy
        self._rebooted = state.rebooted(frame)
        before = state.listed_in or state.boot
        booted = frame.evidence.booted or bool(before and frame.boot and before != frame.boot)
        # A boot that lists none shows nothing of the slots.
        self._new_boot = booted and bool(readings)
        self._readings = {reading.gpu.uuid: reading for reading in readings}
        self._listed: dict[str, GpuState] = {}
        self._new: list[GpuReading] = []
        for uuid, reading in self._readings.items():
            gpu = state.gpus.get(uuid)
            if gpu is None:
                self._new.append(reading)
            else:
                self._listed[uuid] = gpu if not gpu.boots_missed else replace(gpu, boots_missed=0)
        self._left: list[GpuState] = []
        self._missing: dict[str, GpuState] = {}
        missing = [gpu for uuid, gpu in state.gpus.items() if uuid not in self._readings]
        # Of another host, what is listed states the number, and not what was there before.
        gpus = [reading.gpu for reading in readings] or [gpu.gpu for gpu in missing]
        count = stated(policy.tariff, gpus) if missing else None
        evidence = SlotEvidence(booted, frame.evidence.gone, count is not None)
        self._another_host = self._new_boot and not self._listed
        for gpu in sorted(missing, key=_last_listed):
            if policy.tariff.has_left(gpu.gpu, frame.wall):
                self._left.append(gpu)
            else:
                boots = boots_missed(gpu, state.gpus, self._readings, evidence)
                self._missing[gpu.gpu.uuid] = (
                    gpu if boots == gpu.boots_missed else replace(gpu, boots_missed=boots)
                )
        self._replaced: list[Replacement] = []

    def by_address(self) -> None:
        """A new GPU takes the slot that was at its PCI address, unless two share that."""
        if not self._missing or not self._new:
            return
        here = Counter(reading.pci_bus_id for reading in self._readings.values())
        there = Counter(gpu.pci_bus_id for gpu in self._missing.values())
        at = {gpu.pci_bus_id: gpu for gpu in self._missing.values()}
        for reading in tuple(self._new):
            address = reading.pci_bus_id
            if address and here[address] == there[address] == 1:
                self._take(at[address], reading)

    def by_model(self) -> None:
        """The others take slots by model, then any: all of them after a boot, else those above the count."""
        if not self._missing or not self._new:
            return
        above = len(self._new)
        if not self._new_boot:
            count = self._count(self._stated())
            count_before = len(self._listed) + self._missing_kept() if count is None else count
            above += len(self._listed) + len(self._missing) - count_before
        for alike in (True, False):
            for reading in tuple(self._new):
                if above <= 0:
                    return
                for gpu in self._missing.values():
                    if not alike or gpu.gpu.gpu_model == reading.gpu.gpu_model:
                        self._take(gpu, reading)
                        above -= 1
                        break

    def _take(self, old: GpuState, reading: GpuReading) -> None:
        del self._missing[old.gpu.uuid]
        self._new.remove(reading)
        self._replaced.append(Replacement(old.gpu, reading.gpu, reading.pci_bus_id))
        counted = self._rebooted and old.energy_mark is not None
        self._listed[reading.gpu.uuid] = GpuState(
            reading.gpu,
            reading.index,
            # The driver was loaded since the last tick: all that it counted is of that time.
            energy_mark=0 if counted else None,
            carries=old.carries,
            rounding=old.rounding,
            predecessor=old.gpu.uuid,
            replaced_at=self._frame.wall,
            priced_as=self._policy.tariff.priced_as(old.gpu),
        )

    def outcome(self) -> GpuInventory:
        """The slots of the host now."""
        for reading in self._new:
            self._listed[reading.gpu.uuid] = GpuState(reading.gpu, reading.index)
        self._new = []
        visible = len(self._listed)
        policy = self._policy
        stated = self._stated()
        count = self._count(stated)
        waits = count is None and policy.tariff.location_pending
        if waits:  # until the location is known, the host is what it was
            lost = self._missing
        elif count is None:
            lost = {uuid: gpu for uuid, gpu in self._missing.items() if _is_kept(gpu)}
        else:
            last_listed = sorted(self._missing.items(), key=lambda item: _last_listed(item[1]))
            lost = dict(last_listed[: max(0, count - visible)])
        full = visible + len(lost)
        state = _retire(self._state, self._frame, policy.tariff)
        unseen: dict[str, int] = {}
        if count is not None:
            # A slot whose GPU was retired is empty, until another GPU sits in it.
            empty = max(0, count - full)
            if len(state.retired) > empty:
                state = replace(state, retired=state.retired[-empty:] if empty else ())
            count -= len(state.retired)
            if policy.all_gpus and full and count > full:
                unseen = _unseen(self._priced(), self._gpus(self._listed), self._gpus(lost), count - full)
        elif waits and policy.all_gpus:
            left = self._state.gpu_count - full
            for model, gpu in self._state.unseen.items():
                number = min(gpu.count, left)
                if number > 0:
                    unseen[model] = number
                    left -= number
        if self._replaced or (self._readings and self._frame.boot not in ("", state.listed_in)):
            state = replace(
                state,
                listed_in=self._frame.boot or state.listed_in,
                replaced=state.replaced + len(self._replaced),
            )
        return GpuInventory(
            state,
            self._priced(),
            listed=self._listed,
            # A retired GPU is charged until the day on which it left.
            lost={gpu.gpu.uuid: replace(gpu, up=False) for gpu in (*lost.values(), *self._left)},
            unseen={model: _stand_in(self._state, model, number) for model, number in unseen.items()},
            released={uuid: gpu for uuid, gpu in self._missing.items() if uuid not in lost},
            replaced=tuple(self._replaced),
            expected=full + sum(unseen.values()) if count is None else count,
            visible=visible,
            stated=stated,
        )

    def _missing_kept(self) -> int:
        """Missing slots that stay where nothing gives the host's number of GPUs."""
        return sum(_is_kept(gpu) for gpu in self._missing.values())

    def _count(self, stated: int | None) -> int | None:
        """The number of GPUs of the host by the number that is stated; `None` where nothing gives it."""
        if stated is None or self._policy.all_gpus:
            return stated
        # The machine may have more GPUs than are listed here: only those that were listed are of this host.
        return min(stated, len(self._listed) + self._missing_kept())

    def _stated(self) -> int | None:
        listed = [*self._gpus(self._listed), *(reading.gpu for reading in self._new)]
        return stated(self._priced(), listed, () if self._another_host else self._gpus(self._missing))

    def _priced(self) -> Tariff:
        """The prices, with the predecessors of the GPUs that took slots in this read."""
        if not self._replaced:
            return self._policy.tariff
        state = replace(self._state, gpus={**self._state.gpus, **self._listed})
        return replace(self._policy.tariff, predecessors=state.predecessors)

    @staticmethod
    def _gpus(gpus: Mapping[str, GpuState]) -> list[Gpu]:
        return [gpu.gpu for gpu in gpus.values()]


def stated(tariff: Tariff, listed: Collection[Gpu], missing: Collection[Gpu] = ()) -> int | None:
    """The number of GPUs of a host without failures; `None` where nothing gives it.

    It is `gpus_per_host` of the rules that price its GPUs, else what its instance type has. Where rules price
    different models of one host, and it has more GPUs than such a rule says, each counts its own models.
    """
    groups = _groups(tariff, listed, missing)
    counted = [group for group in groups if group.count is not None]
    if not counted:
        return tariff.instance_gpus
    whole = max((group.stated for group in counted if not group.part), default=0)
    if all(not group.part for group in counted):
        return whole
    return max(whole, sum(group.size for group in groups))


@dataclass(slots=True)
class _Group:
    """The GPUs of one rule."""

    count: HostCount | None
    """What the rule says of the host's number of GPUs."""
    listed: list[Gpu] = field(default_factory=list)
    missing: list[Gpu] = field(default_factory=list)
    part: bool = False
    """Whether the rule counts these GPUs, and not all of the host."""

    @property
    def stated(self) -> int:
        return 0 if self.count is None else self.count.gpus

    @property
    def size(self) -> int:
        """The number of its GPUs in a host of several rules."""
        total = len(self.listed) + len(self.missing)
        if self.count is None:
            return total
        if self.part and self.count.of == "models":
            return max(len(self.listed), self.stated)
        # A board that a rule names by UUID was listed once, or it is not of this host.
        return max(len(self.listed), min(self.stated, total))

    @property
    def model(self) -> str:
        """The model of all of them; empty where they are of several."""
        models = {gpu.gpu_model for gpu in self.listed or self.missing}
        return models.pop() if len(models) == 1 else ""


def _groups(tariff: Tariff, listed: Collection[Gpu], missing: Collection[Gpu]) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for gpu in listed:
        count = tariff.host_count(gpu)
        groups.setdefault("" if count is None else count.rule, _Group(count)).listed.append(gpu)
    for gpu in missing:
        count = tariff.host_count(gpu)
        groups.setdefault("" if count is None else count.rule, _Group(count)).missing.append(gpu)
    total = len(listed) + len(missing)
    for group in groups.values():
        several = group.count is not None and group.count.of != "host" and len(groups) > 1
        group.part = several and group.stated < total
    return list(groups.values())


def _unseen(tariff: Tariff, listed: list[Gpu], lost: list[Gpu], number: int) -> dict[str, int]:
    """By model, the GPUs that the host has and that NVML never listed."""
    groups = _groups(tariff, listed, lost)
    unseen: Counter[str] = Counter()
    for group in groups:
        if group.part:
            few = max(0, min(number, group.size - len(group.listed) - len(group.missing)))
            unseen[group.model] += few
            number -= few
    # The others are priced as the GPUs whose rule counts the host.
    whole = max((group for group in groups if not group.part), key=lambda group: group.stated, default=None)
    if whole is not None and whole.stated:
        unseen[whole.model] += number
    else:
        unseen[_Group(None, [*listed, *lost]).model] += number
    return {model: few for model, few in unseen.items() if few}


def _retire(state: State, frame: Frame, tariff: Tariff) -> State:
    """The state with its retired GPUs that are not listed."""
    if not state.retired and not tariff.retired:
        return state
    here = {reading.gpu.uuid for reading in frame.gpus or ()}
    left = (uuid for uuid, gpu in state.gpus.items() if tariff.has_left(gpu.gpu, frame.wall))
    retired = tuple(uuid for uuid in dict.fromkeys((*state.retired, *left)) if uuid not in here)
    return replace(state, retired=retired[-RETIRED_MAX:])


def _is_kept(gpu: GpuState) -> bool:
    """Whether a slot stays without its GPU where nothing gives the host's number of GPUs."""
    return gpu.boots_missed < BOOTS_UNTIL_RELEASE


def _last_listed(gpu: GpuState) -> tuple[bool, int, int, str]:
    """Sort key: GPUs that were listed last come first."""
    return not gpu.up, gpu.boots_missed, gpu.index, gpu.gpu.uuid

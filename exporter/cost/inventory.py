"""The GPUs that a host is charged for: slots, which GPU sits in each, and how many there should be.

The slot is charged, not the UUID. A VM that is stopped and started shows other UUIDs, and a board is
swapped; the host has as many GPUs as before, and costs as much. A GPU that NVML does not list is one of:

    missing     its slot is there and it is not listed; the read makes it one of the next four
    replaced    another GPU took its slot
    lost        its slot stays empty, and is charged
    released    its slot is not the host's any more
    retired     people took it out: charged until that day, then its slot is empty and free
    unseen      NVML never listed it, though the host has it: charged by model
    uncounted   all unseen GPUs of a host while their number or price is not known: their time is unpriced
    former      it priced a slot that is gone, and is remembered for late charges
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost.policy import CostPolicy
from exporter.cost.state import GPUS_MAX, GpuState, State
from exporter.readings import UNCOUNTED, UNSEEN, Frame, Gpu, GpuReading
from exporter.tariff.tariff import HostCount, Tariff

UNCOUNTED_TEXT: Final = (
    "The number or the price of this host's GPUs is not known. Its time costs nothing until a GPU is read, "
    "or a price of the configuration states both."
)
"""What people are told of a host whose time is unpriced."""

BOOTS_UNTIL_RELEASE: Final = 2
"""A slot that misses so many boots is released where nothing gives the host's number of GPUs."""

NO_SINGLE_MODEL: Final = ""
"""The model of unseen GPUs where the host has several models, or none is known."""


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
    listed: Mapping[str, GpuState] = field(default_factory=dict)
    """Slots with a listed GPU, by its UUID, without the reading of the tick."""
    lost: Mapping[str, GpuState] = field(default_factory=dict)
    """Slots whose GPU is lost, and retired GPUs that leave with this tick, by UUID."""
    unseen: Mapping[str, GpuState] = field(default_factory=dict)
    """GPUs that were never listed, by model."""
    released: Mapping[str, GpuState] = field(default_factory=dict)
    """Slots that the host no longer has, by the UUID of their GPU."""
    replaced: tuple[Replacement, ...] = ()
    """GPUs that took the slots of others in this read."""
    expected: int | None = None
    """The number of GPUs that are charged, `None` where it is not known."""
    visible: int | None = None
    """The number of GPUs that NVML lists, `None` while it is silent."""
    stated_count: int | None = None
    """The number of GPUs by the rules or the instance type, `None` where neither gives it."""
    gpu_host: bool = True
    """Whether the host shows a sign of a GPU. A host without one is not metered."""

    @property
    def charges_gpus(self) -> bool:
        """Whether the host has a GPU that is charged, listed or not."""
        return bool(self.listed or self.lost or self.unseen)

    @property
    def uncounted(self) -> bool:
        """Whether the number or the price of the host's GPUs is not known: its time is unpriced."""
        return UNCOUNTED.gpu_model in self.unseen


def take_inventory(state: State, frame: Frame, policy: CostPolicy) -> GpuInventory:
    """Match the listed GPUs to the slots of the last read. While NVML is silent nothing changes.

    The policy prices the GPUs that sit in slots of others by `CostPolicy.following`.
    """
    state_retired = _retire(state, frame, policy.tariff)
    if not frame.gpus and not state.gpus:
        return _never_listed(state_retired, frame, policy)
    if frame.gpus is None:
        return GpuInventory(
            state_retired, policy.tariff, lost=state.gpus, unseen=state.unseen, expected=state.gpu_count
        )
    last_boot = state.listed_in or state.boot
    is_other_boot = bool(last_boot and frame.boot and last_boot != frame.boot)
    read = _Read(
        state=state_retired,
        frame=frame,
        policy=policy,
        readings={reading.gpu.uuid: reading for reading in frame.gpus},
        new_boot=bool(frame.gpus) and (frame.evidence.booted or is_other_boot),
    )
    return _matching(read).outcome()


def shows_gpus(state: State, frame: Frame, tariff: Tariff) -> bool:
    """Whether a host shows that it is a GPU host: by its ledger, its driver, its PCI bus or its price."""
    had_gpus = bool(state.gpus or state.former or state.retired or state.listed_in)
    evidence = frame.evidence
    # Where VMs have all boards, the driver of the host has none.
    has_driver = (frame.gpus is not None or evidence.library) and not evidence.passed_through
    return had_gpus or has_driver or evidence.devices > 0 or tariff.unseen.named


def _never_listed(state: State, frame: Frame, policy: CostPolicy) -> GpuInventory:
    """The inventory of a host without a slot: the GPUs that its price states, or all of them uncounted."""
    tariff = policy.tariff
    visible = None if frame.gpus is None else 0
    gpu_host = shows_gpus(state, frame, tariff)
    if not policy.all_gpus or not gpu_host:
        return GpuInventory(state, tariff, expected=visible, visible=visible, gpu_host=gpu_host)
    stated_count = tariff.unseen.gpus
    host = GpuInventory(state, tariff, visible=visible, stated_count=stated_count)
    if tariff.location_pending and state.unseen and UNCOUNTED.gpu_model not in state.unseen:
        # Until the location is known, the host is what it was.
        return replace(host, unseen=state.unseen, expected=state.gpu_count)
    uncounted = {UNCOUNTED.gpu_model: GpuState(UNCOUNTED, -1, up=False)}
    if stated_count is None:
        return replace(host, unseen=uncounted)
    charged = max(0, stated_count - len(state.retired))
    if not tariff.unseen.priced:
        return replace(host, unseen=uncounted, expected=charged)
    numbers = {NO_SINGLE_MODEL: charged}
    return replace(host, unseen=_unseen_slots(state, numbers), expected=charged)


def _unseen_slots(state: State, numbers: Mapping[str, int]) -> dict[str, GpuState]:
    """Slots of unseen GPUs by model: those of the last tick go on, with the numbers of this read."""
    slots: dict[str, GpuState] = {}
    for model, number in numbers.items():
        slot = state.unseen.get(model) or GpuState(Gpu(UNSEEN, model), -1, up=False)
        if number:
            slots[model] = replace(slot, count=number)
    return slots


@dataclass(frozen=True, slots=True)
class _Read:
    """A read of the GPUs of a host with slots, and what it shows of them."""

    state: State
    """The state before the read, with the GPUs that are retired now."""
    frame: Frame
    """The frame of the read."""
    policy: CostPolicy
    """Prices, and whether NVML lists every GPU of the machine."""
    readings: Mapping[str, GpuReading]
    """The GPUs that NVML lists, by UUID."""
    new_boot: bool
    """Whether the host booted since it last listed a GPU. A boot that lists none shows nothing of slots."""

    @property
    def another_host(self) -> bool:
        """Whether a boot lists none of the earlier GPUs: the VM is another one."""
        return self.new_boot and not any(uuid in self.state.gpus for uuid in self.readings)

    def boots_missed(self, slot: GpuState, *, has_stated_count: bool) -> int:
        """The boots that a slot has missed whose GPU is not listed.

        One missed before, and no number of GPUs is stated:

            the same boot, or a boot that lists no GPU       1
            a boot that lists another of the earlier GPUs    2: a broken board
            a boot that lists none of the earlier GPUs       2: another host, released at once
            another host is known to have the GPU            2: released at once

        Where the number is stated, the last two rows are as the first two: the number decides.
        """
        is_elsewhere = self.another_host or slot.gpu.uuid in self.frame.evidence.gone
        if is_elsewhere and not has_stated_count:
            return BOOTS_UNTIL_RELEASE
        return slot.boots_missed + self.new_boot


class _Pair(NamedTuple):
    """A new GPU, and the missing slot that it takes."""

    reading: GpuReading
    slot: GpuState


def _matching(read: _Read) -> "_Matching":
    """Every listed GPU in a slot: in its own, else at its PCI address, else by model, else in one more."""
    tariff = read.policy.tariff
    unlisted = [slot for uuid, slot in read.state.gpus.items() if uuid not in read.readings]
    # Listed GPUs state the number of GPUs of another host, and not the GPUs that were there before.
    gpus = [reading.gpu for reading in read.readings.values()] or [slot.gpu for slot in unlisted]
    has_stated_count = stated_count(tariff, gpus) is not None
    retired: list[GpuState] = []
    missing: dict[str, GpuState] = {}
    for slot in sorted(unlisted, key=_last_listed):
        if tariff.is_retired(slot.gpu, read.frame.wall):
            retired.append(slot)
        else:
            boots = read.boots_missed(slot, has_stated_count=has_stated_count)
            missing[slot.gpu.uuid] = replace(slot, boots_missed=boots)
    own = {
        uuid: replace(read.state.gpus[uuid], boots_missed=0)
        for uuid in read.readings
        if uuid in read.state.gpus
    }
    new = tuple(reading for uuid, reading in read.readings.items() if uuid not in own)
    in_own_slots = _Matching(read, listed=own, new=new, missing=missing, retired=tuple(retired))
    if not new:
        return in_own_slots
    by_address = in_own_slots.with_pairs(in_own_slots.pairs_by_address())
    by_model = by_address.with_pairs(by_address.pairs_by_model())
    new_slots = {reading.gpu.uuid: GpuState(reading.gpu, reading.index) for reading in by_model.new}
    return replace(by_model, listed={**by_model.listed, **new_slots}, new=())


@dataclass(frozen=True, slots=True)
class _Matching:
    """Listed GPUs on one side, slots on the other. Each step returns a matching that settles more of both."""

    read: _Read
    """The read that lists the GPUs."""
    listed: Mapping[str, GpuState]
    """Slots with a listed GPU, by its UUID."""
    new: tuple[GpuReading, ...]
    """Listed GPUs without a slot."""
    missing: Mapping[str, GpuState]
    """Slots whose GPU is not listed, by its UUID; slots that were listed last come first."""
    retired: tuple[GpuState, ...]
    """Slots whose GPU is retired and not listed."""
    replaced: tuple[Replacement, ...] = ()
    """GPUs that took the slots of others."""

    def pairs_by_address(self) -> list[_Pair]:
        """A new GPU takes the missing slot that was at its PCI address, unless two share that."""
        readings_at = Counter(reading.pci_bus_id for reading in self.read.readings.values())
        slots_at = Counter(slot.pci_bus_id for slot in self.missing.values())
        slot_at = {slot.pci_bus_id: slot for slot in self.missing.values()}
        pairs: list[_Pair] = []
        for reading in self.new:
            address = reading.pci_bus_id
            if address and readings_at[address] == slots_at[address] == 1:
                pairs.append(_Pair(reading, slot_at[address]))
        return pairs

    def pairs_by_model(self) -> list[_Pair]:
        """New GPUs take missing slots of their own model, then of any, as many as are to be filled."""
        free = dict(self.missing)
        pairs: list[_Pair] = []
        others: list[GpuReading] = []
        for reading in self.new:
            alike = [uuid for uuid, slot in free.items() if slot.gpu.gpu_model == reading.gpu.gpu_model]
            if alike:
                pairs.append(_Pair(reading, free.pop(alike[0])))
            else:
                others.append(reading)
        pairs += [_Pair(reading, slot) for reading, slot in zip(others, free.values(), strict=False)]
        return pairs[: self._slots_to_fill()]

    def _slots_to_fill(self) -> int:
        """The number of new GPUs that take a missing slot; the others are more GPUs.

        After a boot all do. In the same boot, of a host with 7 listed GPUs, 1 missing and 1 new:

            8 GPUs are stated, or no number is    1 = 7 + 1 + 1 - 8
            9 GPUs are stated                     0 = 7 + 1 + 1 - 9
        """
        if self.read.new_boot or not self.missing:
            return len(self.new)
        count = self.count(self.stated_count())
        count_or_staying = self._staying() if count is None else count
        return max(0, len(self.listed) + len(self.missing) + len(self.new) - count_or_staying)

    def with_pairs(self, pairs: Sequence[_Pair]) -> "_Matching":
        """The matching once new GPUs sit in these missing slots: money goes on, and readings begin."""
        placed: dict[str, GpuState] = {}
        for reading, slot in pairs:
            # A driver that was loaded since the last tick counts energy from 0.
            is_loaded_since = slot.energy_mark is not None and self.read.state.rebooted(self.read.frame)
            placed[reading.gpu.uuid] = GpuState(
                reading.gpu,
                reading.index,
                energy_mark=0 if is_loaded_since else None,
                carries=slot.carries,
                rounding=slot.rounding,
                predecessor=slot.gpu.uuid,
                replaced_at=self.read.frame.wall,
                priced_as=self.read.policy.tariff.priced_as(slot.gpu),
            )
        taken = {pair.slot.gpu.uuid for pair in pairs}
        replaced = [Replacement(pair.slot.gpu, pair.reading.gpu, pair.reading.pci_bus_id) for pair in pairs]
        return replace(
            self,
            listed={**self.listed, **placed},
            new=tuple(reading for reading in self.new if reading.gpu.uuid not in placed),
            missing={uuid: slot for uuid, slot in self.missing.items() if uuid not in taken},
            replaced=(*self.replaced, *replaced),
        )

    def outcome(self) -> GpuInventory:
        """The slots of the host now, once no GPU is new."""
        stated = self.stated_count()
        count = self.count(stated)
        lost = self._lost(count)
        slots_filled = len(self.listed) + len(lost)
        retired = self.read.state.retired
        if count is not None:
            # Of 8 slots 7 are filled and 2 GPUs were retired: another GPU sits in the slot of the first.
            slots_empty = max(0, count - slots_filled)
            retired = retired[max(0, len(retired) - slots_empty) :]
        charged = None if count is None else count - len(retired)
        unseen = self._unseen(charged, lost)
        expected = slots_filled + sum(unseen.values()) if charged is None else charged
        # A retired GPU is charged until the day on which it was taken out.
        charged_unlisted = [*lost.values(), *self.retired]
        state_before = self.read.state
        boot = self.read.frame.boot if self.listed else ""
        state = replace(
            state_before,
            listed_in=boot or state_before.listed_in,
            replaced=state_before.replaced + len(self.replaced),
            retired=retired,
        )
        return GpuInventory(
            state,
            self._tariff(),
            listed=self.listed,
            lost={slot.gpu.uuid: replace(slot, up=False) for slot in charged_unlisted},
            unseen=_unseen_slots(state_before, unseen),
            released={uuid: slot for uuid, slot in self.missing.items() if uuid not in lost},
            replaced=self.replaced,
            expected=expected,
            visible=len(self.listed),
            stated_count=stated,
        )

    def _lost(self, count: int | None) -> dict[str, GpuState]:
        """The missing slots that stay; all other missing slots are released.

        Of three missing slots there stay:

            the host has 8 GPUs, 6 are listed    2, those that were listed last
            its location is not known yet        3: the host is what it was
            nothing gives its number of GPUs     those that missed fewer than 2 boots
        """
        if count is not None:
            last_listed_first = sorted(self.missing.values(), key=_last_listed)
            staying = last_listed_first[: max(0, count - len(self.listed))]
            return {slot.gpu.uuid: slot for slot in staying}
        if self.read.policy.tariff.location_pending:
            return dict(self.missing)
        return {uuid: slot for uuid, slot in self.missing.items() if _stays(slot)}

    def _unseen(self, charged: int | None, lost: Mapping[str, GpuState]) -> dict[str, int]:
        """The number of unseen GPUs by model.

        Beside 5 listed GPUs and 1 that is lost there are:

            8 GPUs are charged                              2
            the location is not known yet, 8 were before    2, of the models as before
            nothing gives the number of GPUs                0
            NVML may not list every GPU of the machine      0: other hosts have the GPUs that it does not list
        """
        slots_filled = len(self.listed) + len(lost)
        if not self.read.policy.all_gpus:
            return {}
        if charged is not None:
            if not slots_filled or charged <= slots_filled:
                return {}
            number = charged - slots_filled
            return _unseen_by_model(self._tariff(), _gpus(self.listed), _gpus(lost), number)
        state_before = self.read.state
        numbers: Counter[str] = Counter()
        if self.read.policy.tariff.location_pending:
            for model, slot in state_before.unseen.items():
                left = state_before.gpu_count - slots_filled - numbers.total()
                numbers[model] = max(0, min(slot.count, left))
        return dict(numbers)

    def _staying(self) -> int:
        """The number of the host's GPUs where nothing gives it: the listed, and missing slots that stay."""
        return len(self.listed) + sum(_stays(slot) for slot in self.missing.values())

    def count(self, stated: int | None) -> int | None:
        """The number of GPUs of the host by the number that is stated; `None` where nothing gives it."""
        if stated is None or self.read.policy.all_gpus:
            return stated
        # The machine may have more GPUs than are listed here: only those that were listed are of this host.
        return min(stated, self._staying())

    def stated_count(self) -> int | None:
        """The number that rules or the instance type state of this host."""
        listed = [*_gpus(self.listed), *(reading.gpu for reading in self.new)]
        missing = [] if self.read.another_host else _gpus(self.missing)
        return stated_count(self._tariff(), listed, missing)

    def _tariff(self) -> Tariff:
        """The prices, with the predecessors of the GPUs that took slots in this read."""
        if not self.replaced:
            return self.read.policy.tariff
        state = replace(self.read.state, gpus={**self.read.state.gpus, **self.listed})
        return replace(self.read.policy.tariff, predecessors=state.predecessors)


def stated_count(tariff: Tariff, listed: Sequence[Gpu], missing: Sequence[Gpu] = ()) -> int | None:
    """The number of GPUs of a host without failures; `None` where nothing gives it.

    It is `gpus_per_host` of the rules that price its GPUs, else what its instance type has. Where rules price
    different models of one host, and it has more GPUs than such a rule says, each counts its own models: with
    4 L4 by one rule and 2 H100 by another, a host of 4 L4 and 1 H100 has 6 GPUs.
    """
    groups = _groups(tariff, listed, missing)
    if all(group.count is None for group in groups):
        return tariff.instance_gpus
    host_count = max(group.host_count for group in groups)
    if not any(group.counts_only_own for group in groups):
        return host_count
    return max(host_count, sum(group.size for group in groups))


@dataclass(frozen=True, slots=True)
class _RuleGroup:
    """The GPUs of a host that one rule prices."""

    count: HostCount | None
    """What the rule says of the host's number of GPUs, `None` where it says nothing."""
    listed: Sequence[Gpu]
    """GPUs that NVML lists."""
    missing: Sequence[Gpu]
    """GPUs that NVML listed before."""
    counts_only_own: bool
    """Whether the rule counts the GPUs that it prices, and not all of the host."""

    @property
    def host_count(self) -> int:
        """The number of all GPUs of the host by the rule, 0 where the rule does not count them."""
        if self.count is None or self.counts_only_own:
            return 0
        return self.count.gpus

    @property
    def model(self) -> str:
        """The model of its GPUs: of those that are listed, if any is."""
        return _single_model(self.listed or self.missing)

    @property
    def size(self) -> int:
        """The number of its GPUs in a host of several rules."""
        total = len(self.listed) + len(self.missing)
        if self.count is None:
            return total
        if self.counts_only_own and self.count.of == "models":
            return max(len(self.listed), self.count.gpus)
        # A board that a rule names by UUID was listed once, or it is not of this host.
        return max(len(self.listed), min(self.count.gpus, total))


def _groups(tariff: Tariff, listed: Sequence[Gpu], missing: Sequence[Gpu]) -> list[_RuleGroup]:
    """The GPUs of a host by the rule that counts them; GPUs that no rule counts are one group."""
    counts: dict[str | None, HostCount | None] = {}
    rules: dict[Gpu, str | None] = {}
    for gpu in (*listed, *missing):
        count = tariff.host_count(gpu)
        rules[gpu] = None if count is None else count.rule
        counts.setdefault(rules[gpu], count)
    total = len(listed) + len(missing)
    groups: list[_RuleGroup] = []
    for rule, count in counts.items():
        # A rule of models or boards counts the whole host where it says so many, or no other rule is there.
        if count is None or count.of == "host" or len(counts) == 1:
            counts_only_own = False
        else:
            counts_only_own = count.gpus < total
        group = _RuleGroup(
            count,
            listed=[gpu for gpu in listed if rules[gpu] == rule],
            missing=[gpu for gpu in missing if rules[gpu] == rule],
            counts_only_own=counts_only_own,
        )
        groups.append(group)
    return groups


def _unseen_by_model(
    tariff: Tariff, listed: Sequence[Gpu], lost: Sequence[Gpu], number: int
) -> dict[str, int]:
    """A number of unseen GPUs by model: first the GPUs that rules count and miss, then all others."""
    groups = _groups(tariff, listed, lost)
    unseen: Counter[str] = Counter()
    for group in groups:
        if group.counts_only_own:
            others = number - unseen.total()
            absent = group.size - len(group.listed) - len(group.missing)
            unseen[group.model] += max(0, min(others, absent))
    # The others are priced as the GPUs whose rule counts the host.
    counting_host = max(groups, key=lambda group: group.host_count)
    model_of_all = _single_model([*listed, *lost])
    model = counting_host.model if counting_host.host_count else model_of_all
    unseen[model] += number - unseen.total()
    return dict(unseen)


def _single_model(gpus: Collection[Gpu]) -> str:
    """The model of GPUs that are all of one."""
    models = {gpu.gpu_model for gpu in gpus}
    return models.pop() if len(models) == 1 else NO_SINGLE_MODEL


def _retire(state: State, frame: Frame, tariff: Tariff) -> State:
    """The state with its retired GPUs that are not listed."""
    if not state.retired and not tariff.retired:
        return state
    listed = {reading.gpu.uuid for reading in frame.gpus or ()}
    retired_now = [uuid for uuid, slot in state.gpus.items() if tariff.is_retired(slot.gpu, frame.wall)]
    retired = dict.fromkeys((*state.retired, *retired_now))
    unlisted = tuple(uuid for uuid in retired if uuid not in listed)
    return replace(state, retired=unlisted[-GPUS_MAX:])


def _gpus(slots: Mapping[str, GpuState]) -> list[Gpu]:
    return [slot.gpu for slot in slots.values()]


def _stays(slot: GpuState) -> bool:
    """Whether a slot stays without its GPU where nothing gives the host's number of GPUs."""
    return slot.boots_missed < BOOTS_UNTIL_RELEASE


def _last_listed(slot: GpuState) -> tuple[bool, int, int, str]:
    """Sort key: slots whose GPUs were listed last come first."""
    return not slot.up, slot.boots_missed, slot.index, slot.gpu.uuid

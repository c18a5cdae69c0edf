"""A month of one bill over many hosts: what it charges for each, and what it charges for none.

Commitments are spread over what they cover, as the bill says, or else their fee by the covered quantity.
Memory grows with hosts, commitments and kinds of charges, not with rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import split
from exporter.finance.invoice import (
    APART,
    Apart,
    CommitmentCharge,
    CostColumn,
    Counted,
    InvoiceCharge,
    InvoiceError,
    InvoiceForm,
    InvoiceSums,
    Metered,
    span_of,
)
from exporter.finance.invoice_file import Reading, own_row_error, read_charges
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_DAY, Instant, Nanoseconds, Picodollars

PERIODS_MAX: Final = 10_000
"""Different periods of rows; a bill by the hour has 744, and with more its hours are not summed."""

LABELS_MAX: Final = 1000
"""Resources or services that are named of one kind."""

COMMITMENTS_MAX: Final = 10_000

MONTH_DAYS_MAX: Final = 32
"""A longer charge belongs to the month of its first day of UTC, by the noon of it."""

Residue = Literal[
    "unused_commitments",
    "prepaid_commitments",
    "other_resources",
    "no_resource",
    "support",
    "purchases",
    "taxes",
    "credits",
    "refunds",
    "corrections",
]
"""What a bill charges for no host.

unused_commitments: commitments and reserved capacity that nothing used.
prepaid_commitments: fees less what the month used of them: paid ahead, or below zero where paid before.
other_resources: usage of resources that are none of the hosts.
no_resource: usage without a resource.
"""

RESIDUES: Final[tuple[Residue, ...]] = get_args(Residue)

Machine = int | None
"""The number of a machine, `None` for all that is of no host."""

Match = Callable[[str, str], Machine]
"""Takes the id and the name of a resource; returns whose it is."""


@dataclass(slots=True)
class MachineCharges:
    """What a bill charges for one machine. `timed` is usage by time, by resource; `other` the other usage.

    `periods` and `used` are bits: the periods in which a resource was used by time, and the machine at all.
    """

    rows: int = 0
    timed: dict[str, Metered] = field(default_factory=dict)
    periods: dict[str, int] = field(default_factory=dict)
    used: int = 0
    resources: set[str] = field(default_factory=set)
    other: Picodollars = 0
    apart: dict[Apart, Picodollars] = field(default_factory=dict)


@dataclass(slots=True)
class _CommitmentUse:
    """What one machine used of a commitment, or nothing did. `effective` and `cost` are of its rows.

    `effective` has the cost of rows for which the bill does not say it.
    """

    cost: Picodollars = 0
    effective: Picodollars = 0
    time: Nanoseconds = 0
    resource: str = ""
    quantities: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Commitment:
    """A commitment or reserved capacity. `total` is all that the bill charges for it.

    `unused` and `prepaid` are what is spread over no machine. `amortized`: the bill spreads it by itself.
    """

    name: str
    kind: str
    total: Picodollars = 0
    unused: Picodollars = 0
    prepaid: Picodollars = 0
    amortized: bool = False
    users: dict[Machine, _CommitmentUse] = field(default_factory=dict)
    rest: _CommitmentUse = field(default_factory=_CommitmentUse)

    def add(self, charge: CommitmentCharge, machine: Machine, cost: Picodollars) -> _CommitmentUse | None:
        """Take a row in. Returns the use that it is added to; `None` for a fee."""
        self.total += cost
        if charge.used is None:
            return None
        use = self.users.setdefault(machine, _CommitmentUse()) if charge.used else self.rest
        use.cost += cost
        use.effective += cost if charge.effective is None else charge.effective
        self.amortized |= bool(charge.effective)
        if not use.quantities:
            use.quantities = [0] * len(charge.quantities)
        for number, quantity in enumerate(charge.quantities):
            use.quantities[number] += max(0, quantity or 0)
        return use

    def spread(self) -> dict[Machine, Picodollars]:
        """What each machine owes of it; sets what no machine does."""
        if self.amortized:
            parts = {machine: use.effective for machine, use in self.users.items()}
            self.unused = self.rest.effective
        else:
            every = [self.rest, *self.users.values()]
            shares = _shares(self.total - sum(use.cost for use in every), every)
            self.unused = self.rest.cost + shares[0]
            parts = {
                machine: use.cost + share
                for (machine, use), share in zip(self.users.items(), shares[1:], strict=True)
            }
        self.prepaid = self.total - self.unused - sum(parts.values())
        return parts


def _shares(fee: Picodollars, commitment_uses: list[_CommitmentUse]) -> list[Picodollars]:
    """A fee by the first quantity that all uses have, or by time; nothing where there is neither."""
    present = [use for use in commitment_uses if use.quantities]
    columns = [
        [use.quantities[number] if use.quantities else 0 for use in commitment_uses]
        for number in range(min((len(use.quantities) for use in present), default=0))
        if all(use.quantities[number] for use in present)
    ]
    columns.append([use.time for use in commitment_uses])
    for column in columns:
        weights = {number: weight for number, weight in enumerate(column) if weight > 0}
        if weights:
            sign = -1 if fee < 0 else 1
            parts, _rounding = split(abs(fee), weights)
            return [sign * parts.get(number, 0) for number in range(len(commitment_uses))]
    return [0] * len(commitment_uses)


class NamedAmount(NamedTuple):
    """A resource, service or commitment, and what a bill charges for it."""

    name: str
    amount: Picodollars


@dataclass(slots=True)
class _Labels:
    """Amounts by name, bounded: further names count in the total alone."""

    total: Picodollars = 0
    amounts: dict[str, Picodollars] = field(default_factory=dict)

    def add(self, name: str, amount: Picodollars) -> None:
        self.total += amount
        if name in self.amounts or len(self.amounts) < LABELS_MAX:
            self.amounts[name] = self.amounts.get(name, 0) + amount

    def dearest(self) -> tuple[NamedAmount, ...]:
        ordered = sorted(self.amounts.items(), key=lambda item: (-abs(item[1]), item[0]))
        return tuple(NamedAmount(*item) for item in ordered if item[1])


@dataclass(frozen=True, slots=True)
class ResidueAmount:
    """What a bill charges for no host, of one kind, and what for, the largest first."""

    kind: Residue
    amount: Picodollars
    names: tuple[NamedAmount, ...]


@dataclass(frozen=True, slots=True)
class BilledMachine:
    """What a bill charges for one machine, as `reconciliation.differences.compare` takes it."""

    sums: InvoiceSums
    rows: int
    resources: tuple[str, ...]
    time: Nanoseconds


@dataclass(frozen=True, slots=True)
class FleetBill:
    """The month of a bill. Machines and residue sum to `total`.

    `rows` are those of the month, `others` those of other months. `crowded`: its hours were not summed.
    """

    form: InvoiceForm
    cost: CostColumn
    rows: int
    total: Picodollars
    machines: Mapping[int, BilledMachine]
    residue: tuple[ResidueAmount, ...]
    others: Counted
    crowded: bool


def read_fleet_bill(path: Path, reading: Reading, period: Period, match: Match) -> FleetBill:
    """The month of a bill, read once.

    Raises:
        InvoiceError: it cannot be read, a row cannot be used, or it has nothing of the month.
    """
    sums = _BillSums(period, reading.zone, match)
    form: InvoiceForm = "focus"
    for each in read_charges(path, replace(reading, fleet=True)):
        if each.charge.own:
            raise own_row_error(path, each.line, each.charge.own)
        form = each.form
        try:
            sums.add(each.charge)
        except InvoiceError as error:
            raise InvoiceError(f"{path}: {error}") from None
    try:
        return sums.bill(form, reading.cost)
    except InvoiceError as error:
        raise InvoiceError(f"{path}: {error}") from None


class _BillSums:
    """Adds up the rows of a bill's month."""

    def __init__(self, period: Period, zone: ZoneInfo, match: Match) -> None:
        self._period, self._zone, self._match = period, zone, match
        self._start, self._end = period.bounds(zone)
        self._machines: dict[int, MachineCharges] = {}
        self._residue: dict[Residue, _Labels] = {}
        self._commitments: dict[str, Commitment] = {}
        self._purchases: dict[str, _Labels] = {}
        self._numbers: dict[tuple[Instant, Instant], int] = {}
        self._spans: dict[int, Nanoseconds] = {}
        self._crowded = False
        self._rows, self._total, self._others = 0, 0, Counted()
        self._months: set[str] = set()

    def bill(self, form: InvoiceForm, cost: CostColumn) -> FleetBill:
        """The sums, once all rows are added.

        Raises:
            InvoiceError: the bill has nothing of the month.
        """
        if not self._rows:
            raise InvoiceError(
                f"has nothing of {self._period.name}: it has {', '.join(sorted(self._months))}"
            )
        # Fees that name a reservation as their resource are of it; others are purchases.
        for key, labels in self._purchases.items():
            if key in self._commitments:
                self._commitments[key].total += labels.total
                continue
            for name, amount in labels.amounts.items():
                self._of("purchases").add(name, amount)
            if rest := labels.total - sum(labels.amounts.values()):
                self._of("purchases").add("other purchases", rest)
        self._spread()
        residue = [
            ResidueAmount(kind, self._residue[kind].total, self._residue[kind].dearest())
            for kind in RESIDUES
            if kind in self._residue
        ]
        return FleetBill(
            form=form,
            cost=cost,
            rows=self._rows,
            total=self._total,
            machines={number: self._billed(charges) for number, charges in self._machines.items()},
            residue=tuple(each for each in residue if each.amount or each.names),
            others=self._others,
            crowded=self._crowded,
        )

    def add(self, charge: InvoiceCharge) -> None:
        """Take a row in.

        Raises:
            InvoiceError: the bill has more commitments than any.
        """
        middle = _middle(charge.period.start, charge.period.end)
        if not self._start <= middle < self._end:
            self._others.count(charge.cost)
            if not self._rows and len(self._months) < LABELS_MAX:
                self._months.add(_month_name(middle, self._zone))
            return
        self._rows += 1
        self._total += charge.cost
        machine = self._match(charge.resource, charge.name) if charge.resource or charge.name else None
        if machine is not None:
            charges = self._machines.setdefault(machine, MachineCharges())
            charges.rows += 1
            if len(charges.resources) < LABELS_MAX:
                charges.resources.add(charge.resource or charge.name)
        if charge.commitment is not None:
            self._add_to_commitment(charge, charge.commitment, machine)
        elif machine is None:
            self._add_residue(charge)
        elif charge.apart is not None:
            apart = self._machines[machine].apart
            apart[charge.apart] = apart.get(charge.apart, 0) + charge.cost
        else:
            self._add_usage(self._machines[machine], charge, charge.cost)

    def _add_usage(self, machine: MachineCharges, charge: InvoiceCharge, cost: Picodollars) -> None:
        resource = charge.resource or charge.name
        bit = self._bit(charge)
        machine.used |= bit
        if charge.time is None:
            machine.other += cost
            return
        metered = machine.timed.setdefault(resource, Metered())
        metered.cost += cost
        metered.time += charge.time
        machine.periods[resource] = machine.periods.get(resource, 0) | bit

    def _bit(self, charge: InvoiceCharge) -> int:
        period = charge.period.start, charge.period.end
        number = self._numbers.get(period)
        if number is None:
            if len(self._numbers) == PERIODS_MAX:
                self._crowded = True
                return 0
            number = self._numbers[period] = len(self._numbers)
        return 1 << number

    def _add_residue(self, charge: InvoiceCharge) -> None:
        if charge.apart == "purchases" and not charge.support:
            key = _last_part(charge.resource)
            if key not in self._purchases and len(self._purchases) == LABELS_MAX:
                key = ""
            self._purchases.setdefault(key, _Labels()).add(_label(charge), charge.cost)
            return
        kind: Residue
        if charge.apart not in (None, "purchases"):
            kind = charge.apart
        elif charge.support:
            kind = "support"
        else:
            kind = "other_resources" if charge.resource else "no_resource"
        self._of(kind).add(_label(charge), charge.cost)

    def _of(self, kind: Residue) -> _Labels:
        return self._residue.setdefault(kind, _Labels())

    def _add_to_commitment(
        self, charge: InvoiceCharge, committed: CommitmentCharge, machine: Machine
    ) -> None:
        key = _last_part(committed.identifier)
        commitment = self._commitments.get(key)
        if commitment is None:
            if len(self._commitments) == COMMITMENTS_MAX:
                raise InvoiceError(f"has more than {COMMITMENTS_MAX:,} commitments")
            commitment = self._commitments[key] = Commitment(
                committed.name or committed.identifier, committed.kind
            )
        use = commitment.add(committed, machine, charge.cost)
        if use is None or not committed.used:
            return
        if charge.time is not None:
            use.time += charge.time
            use.resource = charge.resource or charge.name
        if machine is not None:  # its hours count at once, its money when all is known
            self._add_usage(self._machines[machine], charge, 0)

    def _spread(self) -> None:
        for commitment in self._commitments.values():
            for machine, amount in commitment.spread().items():
                use = commitment.users[machine]
                if machine is None:
                    self._of("other_resources").add(f"covered by {commitment.name}", amount)
                elif use.resource:
                    self._machines[machine].timed[use.resource].cost += amount
                else:
                    self._machines[machine].other += amount
            name = f"{commitment.name} ({commitment.kind})"
            left: dict[Residue, Picodollars] = {
                "unused_commitments": commitment.unused,
                "prepaid_commitments": commitment.prepaid,
            }
            for kind, amount in left.items():
                if amount:
                    self._of(kind).add(name, amount)

    def _billed(self, charges: MachineCharges) -> BilledMachine:
        """Usage by time of all resources as one meter: by several at once, time counts once.

        A resource without hours of its own, such as a disk in byte-seconds, is other usage.
        """
        meters = {resource: metered for resource, metered in charges.timed.items() if metered.time > 0}
        time = sum(
            min(metered.time, self._span(charges.periods[resource])) for resource, metered in meters.items()
        )
        sums = InvoiceSums(
            usage=sum(metered.cost for metered in charges.timed.values()) + charges.other,
            usage_periods={(0, self._span(charges.used))},
            apart={apart: charges.apart[apart] for apart in APART if apart in charges.apart},
        )
        if time > 0:
            cost = sum(metered.cost for metered in meters.values())
            sums.meters[next(iter(meters)), ""] = Metered(cost, time)
        return BilledMachine(sums, charges.rows, tuple(sorted(charges.resources)), time)

    def _span(self, bits: int) -> Nanoseconds:
        """How long the periods last together. Most machines of a bill have the same ones."""
        span = self._spans.get(bits)
        if span is None:
            periods = sorted(self._numbers.items())
            span = self._spans[bits] = span_of(period for period, number in periods if bits >> number & 1)
        return span


def _middle(start: Instant, end: Instant) -> Instant:
    """The instant by which a charge belongs to a month: a day of UTC lies in two days of most zones."""
    if end - start > MONTH_DAYS_MAX * NANOSECONDS_PER_DAY:
        return start - start % NANOSECONDS_PER_DAY + NANOSECONDS_PER_DAY // 2
    return (start + end) // 2


@lru_cache(maxsize=1024)
def _month_name(instant: Instant, zone: ZoneInfo) -> str:
    return month_of(instant, zone).name


def _last_part(identifier: str) -> str:
    return identifier.strip("/").replace(":", "/").rpartition("/")[2].casefold()


def _label(charge: InvoiceCharge) -> str:
    name = charge.name or charge.resource
    return f"{name} ({charge.service})" if name and charge.service else name or charge.service or "no name"

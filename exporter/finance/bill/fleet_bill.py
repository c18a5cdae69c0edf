"""A month of one bill over many hosts: what it charges for each, and what it charges for none.

Commitments are spread over what they cover, as the bill says, or else their fee by the covered quantity.
Memory grows with hosts, commitments and kinds of charges, not with rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add, divide
from exporter.finance.bill.bill_file import InvoiceForm, Reading, read_rows
from exporter.finance.bill.charges import (
    CommitmentCharge,
    CostColumn,
    InvoiceCharge,
    InvoiceError,
)
from exporter.finance.bill.host_bill import Counted, InvoiceSums, Metered, MeterKey, UsagePeriod, span_of
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_DAY, Nanoseconds, Picodollars

PERIODS_MAX: Final = 10_000
"""Different periods of rows; a bill by the hour has 744, and with more its hours are not summed."""

LABELS_MAX: Final = 1000
"""Resources or services that are named of one kind or of one machine; a bill may have another in each row."""

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
    """What a bill charges for one machine."""

    rows: int = 0
    sums: InvoiceSums = field(default_factory=InvoiceSums)
    """Its charges; meters are by resource, and its periods of usage are `used`."""
    periods: dict[str, int] = field(default_factory=dict)
    """The periods in which each resource was used by time, as bits."""
    used: int = 0
    """The periods in which the machine was used at all, as bits."""
    resources: set[str] = field(default_factory=set)

    def resource_of(self, charge: InvoiceCharge) -> str:
        """The resource of a charge; those beyond the ones that are told apart are one without a name."""
        resource = charge.resource or charge.name
        return resource if resource in self.resources else ""


@dataclass(slots=True)
class CommitmentUse:
    """What one machine used of a commitment, or what nothing used."""

    cost: Picodollars = 0
    """What the bill charges in its rows."""
    effective: Picodollars = 0
    """What the provider spread to its rows; the cost of rows where the bill does not say it."""
    time: Nanoseconds = 0
    resource: str | None = None
    """The machine's resource that it covered last by time; `None`: it covered none so."""
    quantities: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Commitment:
    """A commitment or reserved capacity."""

    name: str
    kind: str
    total: Picodollars = 0
    """All that the bill charges for it."""
    amortized: bool = False
    """Whether the bill spreads it by itself."""
    users: dict[Machine, CommitmentUse] = field(default_factory=dict)
    unused: CommitmentUse = field(default_factory=CommitmentUse)

    def add(self, charge: CommitmentCharge, machine: Machine, cost: Picodollars) -> CommitmentUse | None:
        """Take a row in. Returns what a machine used; `None` for a fee, and for what nothing used."""
        self.total += cost
        if charge.used is None:
            return None
        use = self.users.setdefault(machine, CommitmentUse()) if charge.used else self.unused
        use.cost += cost
        use.effective += cost if charge.effective is None else charge.effective
        self.amortized |= bool(charge.effective)
        before = use.quantities or [0] * len(charge.quantities)
        use.quantities = [
            sum_ + max(0, quantity or 0) for sum_, quantity in zip(before, charge.quantities, strict=True)
        ]
        return use if charge.used else None

    def spread(self) -> tuple[dict[Machine, Picodollars], Picodollars]:
        """What each machine owes of it, and what nothing used."""
        if self.amortized:
            parts = {machine: use.effective for machine, use in self.users.items()}
            return parts, self.unused.effective
        every = [self.unused, *self.users.values()]
        fee = self.total - sum(use.cost for use in every)
        unused, *costs = (use.cost + share for use, share in zip(every, _shares(fee, every), strict=True))
        return dict(zip(self.users, costs, strict=True)), unused


def _shares(fee: Picodollars, commitment_uses: Sequence[CommitmentUse]) -> list[Picodollars]:
    """A fee by the first quantity that all uses have, or by time; nothing where there is neither."""
    present = [use for use in commitment_uses if use.quantities]
    columns = [
        [use.quantities[number] if use.quantities else 0 for use in commitment_uses]
        for number in range(min((len(use.quantities) for use in present), default=0))
        if all(use.quantities[number] for use in present)
    ]
    for column in (*columns, [use.time for use in commitment_uses]):
        weights = {number: weight for number, weight in enumerate(column) if weight > 0}
        if weights:
            sign = -1 if fee < 0 else 1
            parts = divide(abs(fee), weights)
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
            add(self.amounts, name, amount)


@dataclass(frozen=True, slots=True)
class ResidueAmount:
    """What a bill charges for no host, of one kind, and what for, the largest first."""

    kind: Residue
    amount: Picodollars
    names: tuple[NamedAmount, ...]


@dataclass(frozen=True, slots=True)
class BilledMachine:
    """What a bill charges for one machine, as `differences.compare` takes it."""

    sums: InvoiceSums
    rows: int
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FleetBill:
    """The month of a bill. Machines and residue sum to `total`."""

    form: InvoiceForm
    cost: CostColumn
    rows: int
    """Rows of the month."""
    total: Picodollars
    machines: Mapping[int, BilledMachine]
    residue: tuple[ResidueAmount, ...]
    others: Counted
    """Rows of other months."""
    crowded: bool
    """Whether its hours were not summed."""


def read_fleet_bill(path: Path, reading: Reading, period: Period, match: Match) -> FleetBill:
    """The month of a bill, read once.

    Raises:
        InvoiceError: it cannot be read, a row cannot be used, or it has nothing of the month.
    """
    sums = _BillSums(period, reading.zone, match)
    form = read_rows(path, replace(reading, fleet=True), sums.add)
    if not sums.rows:
        months = ", ".join(sorted(sums.months))
        raise InvoiceError(f"{path}: has nothing of {period.name}: it has {months}")
    return sums.bill(form, reading.cost)


class _BillSums:
    """Adds up the rows of a bill's month."""

    def __init__(self, period: Period, zone: ZoneInfo, match: Match) -> None:
        self._zone, self._match = zone, match
        self._start, self._end = period.bounds(zone)
        self._machines: dict[int, MachineCharges] = {}
        self._residue: dict[Residue, _Labels] = {}
        self._commitments: dict[str, Commitment] = {}
        self._purchases: dict[str, _Labels] = {}
        self._numbers: dict[UsagePeriod, int] = {}
        self._spans: dict[int, Nanoseconds] = {}
        self._crowded = False
        self._total, self._others = 0, Counted()
        self.rows = 0
        self.months: set[str] = set()
        """Names of other months, up to the first row of this one."""

    def bill(self, form: InvoiceForm, cost: CostColumn) -> FleetBill:
        """The sums, once all rows are added."""
        for key, labels in self._purchases.items():
            if key in self._commitments:  # a fee that names a reservation as its resource
                self._commitments[key].total += labels.total
            else:
                purchases = self._of("purchases")
                for label, amount in labels.amounts.items():
                    purchases.add(label, amount)
                purchases.total += labels.total - sum(labels.amounts.values())
        for commitment in self._commitments.values():
            parts, unused = commitment.spread()
            for machine, amount in parts.items():
                resource = commitment.users[machine].resource
                if machine is None:
                    self._of("other_resources").add(f"covered by {commitment.name}", amount)
                    continue
                sums = self._machines[machine].sums
                sums.usage += amount
                if resource is not None:
                    sums.meters[MeterKey(resource, "")].cost += amount
            name = f"{commitment.name} ({commitment.kind})"
            prepaid = commitment.total - unused - sum(parts.values())
            if unused:
                self._of("unused_commitments").add(name, unused)
            if prepaid:
                self._of("prepaid_commitments").add(name, prepaid)
        residue = []
        for kind in RESIDUES:
            labels = self._residue.get(kind, _Labels())
            ordered = sorted(labels.amounts.items(), key=lambda item: (-abs(item[1]), item[0]))
            names = tuple(NamedAmount(*item) for item in ordered if item[1])
            if labels.total or names:
                residue.append(ResidueAmount(kind, labels.total, names))
        return FleetBill(
            form=form,
            cost=cost,
            rows=self.rows,
            total=self._total,
            machines={number: self._billed(charges) for number, charges in self._machines.items()},
            residue=tuple(residue),
            others=self._others,
            crowded=self._crowded,
        )

    def add(self, charge: InvoiceCharge) -> None:
        """Take a row in.

        Raises:
            InvoiceError: the bill has more commitments than any.
        """
        start = charge.period.start
        end = charge.period.end
        middle = (start + end) // 2
        if end - start > MONTH_DAYS_MAX * NANOSECONDS_PER_DAY:
            middle = start - start % NANOSECONDS_PER_DAY + NANOSECONDS_PER_DAY // 2
        # A day of UTC lies in two days of most zones: its middle tells the month.
        if not self._start <= middle < self._end:
            self._others.count(charge.cost)
            if not self.rows and len(self.months) < LABELS_MAX:
                self.months.add(month_of(middle, self._zone).name)
            return
        self.rows += 1
        self._total += charge.cost
        resource = charge.resource or charge.name
        machine = self._match(charge.resource, charge.name) if resource else None
        if machine is not None:
            charges = self._machines.setdefault(machine, MachineCharges())
            charges.rows += 1
            if len(charges.resources) < LABELS_MAX:
                charges.resources.add(resource)
        if charge.commitment is not None:
            self._add_to_commitment(charge, charge.commitment, machine)
        elif machine is None:
            self._add_residue(charge)
        elif charge.apart is not None:
            add(self._machines[machine].sums.apart, charge.apart, charge.cost)
        else:
            self._add_usage(self._machines[machine], charge, charge.cost)

    def _add_usage(self, machine: MachineCharges, charge: InvoiceCharge, cost: Picodollars) -> None:
        period = UsagePeriod(charge.period.start, charge.period.end)
        if period not in self._numbers and len(self._numbers) == PERIODS_MAX:
            self._crowded = True
            bit = 0
        else:
            bit = 1 << self._numbers.setdefault(period, len(self._numbers))
        machine.used |= bit
        machine.sums.usage += cost
        if charge.time is None:
            return
        resource = machine.resource_of(charge)
        machine.sums.meters.setdefault(MeterKey(resource, ""), Metered()).add(cost, charge.time)
        machine.periods[resource] = machine.periods.get(resource, 0) | bit

    def _add_residue(self, charge: InvoiceCharge) -> None:
        name = charge.name or charge.resource
        label = f"{name} ({charge.service})" if name and charge.service else name or charge.service
        label = label or "no name"
        if charge.apart == "purchases" and not charge.support:
            key = _last_part(charge.resource)
            if key not in self._purchases and len(self._purchases) == LABELS_MAX:
                key = ""
            self._purchases.setdefault(key, _Labels()).add(label, charge.cost)
            return
        kind: Residue = "other_resources" if charge.resource else "no_resource"
        if charge.apart not in (None, "purchases"):
            kind = charge.apart
        elif charge.support:
            kind = "support"
        self._of(kind).add(label, charge.cost)

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
            name = committed.name or committed.identifier
            commitment = self._commitments[key] = Commitment(name, committed.kind)
        use = commitment.add(committed, machine, charge.cost)
        if use is None:
            return
        if charge.time is not None:
            use.time += charge.time
        if machine is not None:  # its hours count at once, its money when all is known
            self._add_usage(self._machines[machine], charge, 0)
            if charge.time is not None:
                use.resource = self._machines[machine].resource_of(charge)

    def _billed(self, charges: MachineCharges) -> BilledMachine:
        """Usage by time of all resources as one meter: by several at once, time counts once.

        A resource without hours of its own, such as a disk in byte-seconds, is other usage.
        """
        sums = charges.sums
        sums.usage_periods = {UsagePeriod(0, self._span(charges.used))}
        meters = {key: metered for key, metered in sums.meters.items() if metered.time > 0}
        time = sum(
            min(metered.time, self._span(charges.periods[key.resource])) for key, metered in meters.items()
        )
        sums.meters = {}
        if time > 0:
            cost = sum(metered.cost for metered in meters.values())
            sums.meters[next(iter(meters))] = Metered(cost, time)
        return BilledMachine(sums, charges.rows, tuple(sorted(charges.resources)))

    def _span(self, bits: int) -> Nanoseconds:
        """How long the periods last together. Most machines of a bill have the same ones."""
        span = self._spans.get(bits)
        if span is None:
            periods = sorted(self._numbers.items())
            span = self._spans[bits] = span_of(period for period, number in periods if bits >> number & 1)
        return span


def _last_part(identifier: str) -> str:
    return identifier.strip("/").replace(":", "/").rpartition("/")[2].casefold()

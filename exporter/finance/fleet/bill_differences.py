"""The books of a fleet against one bill: named parts that sum to the difference, to the picodollar. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from exporter.finance.fleet.bill import BilledMachine, FleetBill, ResidueAmount
from exporter.finance.fleet.host_resources import HostIdentity, HostResources
from exporter.finance.fleet.record import FleetMonth, HostMonth
from exporter.finance.invoice import InvoiceSums
from exporter.finance.reconciliation.comparison import rows_text
from exporter.finance.reconciliation.differences import (
    KINDS,
    Book,
    ComparedDay,
    Difference,
    book_of,
    compare,
)
from exporter.ledger.history import HistorySums
from exporter.reports.rounding import CENT, dollars_text
from exporter.tariff.period import Period
from exporter.units import Instant, Nanoseconds, Picodollars


@dataclass(frozen=True, slots=True)
class HostBook:
    """What the books hold of one host against a bill. `undivided` is money without a component."""

    identity: HostIdentity
    book: Book
    apportioned: bool
    undivided: Picodollars


@dataclass(slots=True)
class HostBooks:
    """The books of hosts, taken one by one as their months are read, so that no month stays in memory."""

    components: frozenset[str]
    now: Instant
    by_ledger: dict[str, HostBook] = field(default_factory=dict)
    _identities: dict[str, HostIdentity] = field(default_factory=dict)

    def name(self, host: HostMonth) -> None:
        """Note by which names a source knows a host, even if the month of another source counts."""
        identity = HostIdentity.of(host)
        known = self._identities.setdefault(identity.ledger, identity)
        self._identities[identity.ledger] = known.known_as(identity)

    def add(self, host: HostMonth) -> None:
        """Take a host in; a later month of the same ledger replaces it."""
        record = host.record
        sums = record.sums or HistorySums()
        start, end = Period.named(record.month).bounds(ZoneInfo(host.zone))
        metered = sums.covered.get((), host.covered)
        book = book_of(host.name, max(0, min(end, self.now) - start), metered, sums, self.components)
        book.adjusted = record.adjusted
        undivided = host.total - record.adjusted - book.compared - sum(book.others.values())
        self.by_ledger[record.ledger] = HostBook(HostIdentity.of(host), book, host.apportioned, undivided)

    def of(self, fleet: FleetMonth) -> tuple[HostBook, ...]:
        """The books of the hosts that count, by name."""
        return tuple(
            replace(book, identity=book.identity.known_as(self._identities.get(ledger, book.identity)))
            for ledger, book in ((each.ledger, self.by_ledger[each.ledger]) for each in fleet.hosts)
        )


@dataclass(frozen=True, slots=True)
class ComparedMachine:
    """One machine: a host, or several whose ledgers share a resource of the bill.

    `compared` has its amounts and parts; `time` is for how long it is billed, `None` if the bill says none.
    """

    name: str
    ledgers: tuple[str, ...]
    resources: tuple[str, ...]
    rows: int
    compared: ComparedDay
    time: Nanoseconds | None
    apportioned: bool


@dataclass(frozen=True, slots=True)
class FleetReconciliation:
    """A bill against the books of a fleet: bill minus books is `parts` and `residue`.

    `parts` sum those of all machines that the bill has, `unbilled` the books of those that it lacks.
    `others` are components of the books that are not compared.
    """

    fleet: FleetMonth
    bill: FleetBill
    components: frozenset[str]
    to_date: bool
    machines: tuple[ComparedMachine, ...]
    parts: tuple[Difference, ...]
    others: Mapping[str, Picodollars]
    notes: tuple[str, ...]

    @property
    def posted(self) -> Picodollars:
        """The books that are compared, with posted adjustments."""
        return sum(each.compared.posted + each.compared.adjusted for each in self.machines)

    @property
    def difference(self) -> Picodollars:
        """Bill minus books."""
        return self.bill.total - self.posted

    @property
    def unbilled(self) -> tuple[ComparedMachine, ...]:
        """Machines with books and without a row of the bill."""
        return tuple(each for each in self.machines if not each.rows)

    @property
    def residue(self) -> tuple[ResidueAmount, ...]:
        """What the bill charges for no host."""
        return self.bill.residue


def reconcile_fleet(
    fleet: FleetMonth,
    host_books: Sequence[HostBook],
    resources: HostResources,
    bill: FleetBill,
    components: frozenset[str],
    now: Instant,
) -> FleetReconciliation:
    """Set the books of all hosts, in the order of those of `resources`, against a bill."""
    members: dict[int, list[HostBook]] = {}
    for number, each in enumerate(host_books):
        members.setdefault(resources.machine_of(number), []).append(each)
    compared = [
        _machine(hosts, bill.machines.get(number), crowded=bill.crowded) for number, hosts in members.items()
    ]
    machines = tuple(each for each in compared if _any(each))
    others: dict[str, Picodollars] = {}
    for each in host_books:
        for component, amount in each.book.others.items():
            others[component] = others.get(component, 0) + amount
    end = Period.named(fleet.record.month).bounds(fleet.zone)[1]
    return FleetReconciliation(
        fleet=fleet,
        bill=bill,
        components=components,
        to_date=now < end,
        machines=machines,
        parts=tuple(_summed(each.compared for each in machines if each.rows)),
        others=others,
        notes=tuple(_notes(fleet, host_books, bill, resources.unknown)),
    )


def _machine(hosts: Sequence[HostBook], billed: BilledMachine | None, *, crowded: bool) -> ComparedMachine:
    names = tuple(dict.fromkeys(each.identity.name for each in hosts))
    book = Book(" + ".join(names), 0)
    for each in hosts:
        book.add(each.book)
    sums = billed.sums if billed is not None else InvoiceSums()
    return ComparedMachine(
        name=book.name,
        ledgers=tuple(each.identity.ledger for each in hosts),
        resources=billed.resources if billed is not None else (),
        rows=billed.rows if billed is not None else 0,
        compared=compare(book, sums, crowded=crowded, common_hours=True),
        time=None if billed is None or crowded else billed.time or None,
        apportioned=any(each.apportioned for each in hosts),
    )


def _any(machine: ComparedMachine) -> bool:
    return bool(machine.rows or machine.compared.posted or machine.compared.adjusted)


def _summed(days: Iterable[ComparedDay]) -> Iterator[Difference]:
    """Parts of each kind, in the order of the report."""
    parts: dict[str, list[Difference]] = {}
    for day in days:
        for part in day.parts:
            parts.setdefault(part.kind, []).append(part)
    for kind in KINDS:
        ours = parts.get(kind)
        if ours:
            times = [part.time for part in ours if part.time is not None]
            yield Difference(
                kind, sum(part.amount for part in ours), sum(times) if len(times) == len(ours) else None
            )


def _notes(
    fleet: FleetMonth, host_books: Sequence[HostBook], bill: FleetBill, unknown: Sequence[str]
) -> Iterator[str]:
    if not bill.machines:
        yield "the bill has no row of these hosts by their names: list them with their resources in --hosts"
    if bill.others.rows:
        yield f"{rows_text(bill.others)} of other months: not compared"
    if fleet.zone.key != "UTC":
        yield (
            f"the month is one of {fleet.zone.key}: where the bill is by day of UTC, hours at both ends of "
            "the month differ"
        )
    if bill.crowded:
        yield "the bill has so many different periods that its hours were not summed"
    undivided = sum(each.undivided for each in host_books)
    if abs(undivided) >= CENT:
        yield f"{dollars_text(undivided)} dollars of the books have no component and are not compared"
    for basis, words in (("estimate", "estimated prices"), ("catalogue", "prices of the catalogue")):
        if amount := sum(each.book.money.get(basis, 0) for each in host_books):
            yield f"{dollars_text(amount)} dollars of the books come from {words}"
    if count := sum(each.apportioned for each in host_books):
        ledgers = "1 ledger" if count == 1 else f"{count:,} ledgers"
        yield f"{ledgers} known from Prometheus only: components are apportioned as counters rose"
    if unknown:
        listed = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        yield f"hosts of the list that have no ledger in this month: {listed}"

"""The books of a fleet against one bill: named parts that sum to the difference, to the picodollar. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from exporter.finance.bill.differences import Book, ComparedDay, Difference, compare, summed
from exporter.finance.bill.fleet_bill import BilledMachine, FleetBill
from exporter.finance.bill.host_bill import InvoiceSums
from exporter.finance.bill.host_comparison import notes_of_bases, rows_text
from exporter.finance.fleet.host_resources import HostIdentity, HostResources
from exporter.finance.fleet.record import FleetMonth, HostMonth
from exporter.finance.render import counted, few
from exporter.ledger.history import HistorySums
from exporter.reports.rounding import CENT, dollars_text
from exporter.tariff.period import Period
from exporter.units import Instant, Picodollars


@dataclass(frozen=True, slots=True)
class HostBook:
    """The books of one host."""

    identity: HostIdentity
    book: Book
    apportioned: bool
    undivided: Picodollars
    """Money without a component."""


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
        book = Book.of(
            host.name,
            passed=min(end, self.now) - start,
            covered=host.covered,
            sums=sums,
            components=self.components,
            adjusted=record.adjusted,
        )
        undivided = host.total - record.adjusted - book.compared - sum(book.others.values())
        self.by_ledger[record.ledger] = HostBook(HostIdentity.of(host), book, host.apportioned, undivided)

    def of(self, fleet: FleetMonth) -> tuple[HostBook, ...]:
        """The books of the hosts that count, by name."""
        known_books = [(each.ledger, self.by_ledger[each.ledger]) for each in fleet.hosts]
        return tuple(
            replace(book, identity=book.identity.known_as(self._identities.get(ledger, book.identity)))
            for ledger, book in known_books
        )


@dataclass(frozen=True, slots=True)
class ComparedMachine:
    """One machine: a host, or several whose ledgers share a resource of the bill."""

    ledgers: tuple[str, ...]
    resources: tuple[str, ...]
    rows: int
    compared: ComparedDay
    """Its books, by the names of its hosts, against its rows."""
    apportioned: bool


@dataclass(frozen=True, slots=True)
class FleetReconciliation:
    """A bill against the books of a fleet: bill minus books is `parts`, books without a bill, and residue."""

    fleet: FleetMonth
    bill: FleetBill
    components: frozenset[str]
    to_date: bool
    machines: tuple[ComparedMachine, ...]
    parts: tuple[Difference, ...]
    """Those of all machines that the bill has."""
    others: Mapping[str, Picodollars]
    """Components of the books that are not compared."""
    notes: tuple[str, ...]

    @property
    def booked(self) -> Picodollars:
        """The books that are compared, with posted adjustments."""
        return sum(each.compared.booked for each in self.machines)

    @property
    def unbilled(self) -> tuple[ComparedMachine, ...]:
        """Machines with books and without a row of the bill."""
        return tuple(each for each in self.machines if not each.rows)


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
    whole = Book.sum_of("total", [each.book for each in host_books])
    machines: list[ComparedMachine] = []
    for number, hosts in members.items():
        name = " + ".join(dict.fromkeys(host.identity.name for host in hosts))
        book = Book.sum_of(name, [host.book for host in hosts])
        billed = bill.machines.get(number) or BilledMachine(InvoiceSums(), 0, ())
        compared = compare(book, billed.sums, crowded=bill.crowded, common_hours=True)
        if not (billed.rows or compared.posted or compared.adjusted):
            continue
        machines.append(
            ComparedMachine(
                ledgers=tuple(host.identity.ledger for host in hosts),
                resources=billed.resources,
                rows=billed.rows,
                compared=compared,
                apportioned=any(host.apportioned for host in hosts),
            )
        )
    return FleetReconciliation(
        fleet=fleet,
        bill=bill,
        components=components,
        to_date=now < Period.named(fleet.record.month).bounds(fleet.zone)[1],
        machines=tuple(machines),
        parts=summed(part for each in machines if each.rows for part in each.compared.parts),
        others=whole.others,
        notes=tuple(_notes(fleet, host_books, whole, bill, resources.unknown)),
    )


def _notes(
    fleet: FleetMonth, host_books: Sequence[HostBook], whole: Book, bill: FleetBill, unknown: Sequence[str]
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
    yield from notes_of_bases(whole)
    if apportioned := sum(each.apportioned for each in host_books):
        ledgers = counted(apportioned, "ledger")
        yield f"{ledgers} known from Prometheus only: components are apportioned as counters rose"
    if unknown:
        yield f"hosts of the list that have no ledger in this month: {few(unknown, 10)}"

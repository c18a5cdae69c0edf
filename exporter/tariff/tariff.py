"""The tariff: the price of each GPU at an instant, by the rules of the configuration. Pure."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Final, Literal

from exporter.readings import UNCOUNTED, UNKNOWN_LOCATION, UNSEEN, Gpu, HostLocation
from exporter.tariff import quotes, terms
from exporter.tariff.calendar import Month
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.instances import CLOUDS
from exporter.tariff.quotes import NoQuote, Quote
from exporter.tariff.rate import ComponentRate, EnergyPrice, HardwareStatus, Price, Provenance, Rate
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_YEAR,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Nanoseconds,
    picodollars,
)

RENT: Final = "rent"
AMORTIZATION: Final = "amortization"
SUPPORT: Final = "support"
INSURANCE: Final = "insurance"
ENERGY: Final = "energy"

MACHINE: Final = (AMORTIZATION, RENT)
"""Components that are the price of the machine itself, owned or rented."""

HARDWARE: Final = (*MACHINE, SUPPORT, INSURANCE)
"""Components that are the price of the hardware; all of them accrue by time."""

ANNUITY_DIGITS: Final = 50
"""Decimal digits for (1 + r)^-life, far below a picodollar on any purchase."""


NO_PRICE: Final = Price((), None, HardwareStatus.UNPRICED)
"""The price of unpriced time."""

NOT_IN_SERVICE: Final = Price((), None, HardwareStatus.NOT_IN_SERVICE)
"""The price of owned hardware before it is in service."""

PRICES_CACHED: Final = 1024
"""Resolved prices that a tariff keeps: those of all GPUs of a host over years of months."""

BEFORE_CHANGES: Final = -(1 << 63)
"""An instant before any change of a price."""


@dataclass(frozen=True, slots=True)
class HostCount:
    """The number of GPUs of a host without failures, by the rule of a GPU."""

    rule: str
    """The rule's position in the configuration."""
    gpus: int
    of: Literal["host", "models", "boards"]
    """What the rule matches: any GPU of the host, GPUs of some models, or boards by UUID."""


@dataclass(frozen=True, slots=True)
class UnseenHardware:
    """What the prices state of a host none of whose GPUs was ever listed."""

    gpus: int | None
    """Number of GPUs by the rule or the instance type; `None` where neither states it."""
    priced: bool
    """Whether the GPUs have a price that does not depend on a model or UUID."""
    named: bool
    """Whether the host's instance type has GPUs, or the rule names this host, its type or a label of its
    node, and not every host."""


@dataclass(frozen=True)
class Tariff:
    """Prices of one host. The first hardware rule that matches a GPU prices it."""

    host: str = ""
    hardware: tuple[terms.Hardware, ...] = ()
    overheads: tuple[terms.Overhead, ...] = ()
    location: HostLocation = UNKNOWN_LOCATION
    """Location of the host, as far as it is known."""
    unmatched: terms.Unmatched = "unpriced"
    """Whether a GPU without a rule is estimated or unpriced."""
    catalogue: Catalogue = CATALOGUE
    location_pending: bool = False
    """Whether the location is not known yet, and rules that depend on it were left out."""
    retired: tuple[terms.Retirement, ...] = ()
    stand_ins: bool = True
    """Whether a rule with a list price takes an estimate where no list has it."""
    predecessors: tuple[tuple[str, Gpu], ...] = ()
    """By the UUID of a GPU that took the slot of another, that other one: its rule prices the slot until a
    rule names the new GPU."""

    def price(self, gpu: Gpu, at: Instant, month: Month, gpus_on_host: int) -> Price:
        """The price of a GPU at an instant of a month; `gpus_on_host` share the host's amounts."""
        # Between two changes the same GPU has the same price all month.
        changes_before = bisect_right(self._moments, at)
        since = self._moments[changes_before - 1] if changes_before else BEFORE_CHANGES
        return self._prices(gpu, since, month, gpus_on_host)

    @cached_property
    def _prices(self) -> Callable[[Gpu, Instant, Month, int], Price]:
        return lru_cache(PRICES_CACHED)(self._resolved)

    @cached_property
    def _moments(self) -> list[Instant]:
        moments = {retirement.since for retirement in self.retired}
        for rule in self.hardware:
            if isinstance(rule.pricing, terms.Rented):
                moments.update(price.since for price in rule.pricing.prices if price.since is not None)
            elif isinstance(rule.pricing, terms.Owned):
                moments |= {rule.pricing.in_service, end_of_life(rule.pricing)}
        return sorted(moments)

    def is_retired(self, gpu: Gpu, at: Instant) -> bool:
        """Whether a GPU is retired at an instant; prices do not depend on it."""
        return any(gone.uuid == gpu.uuid and gone.since <= at for gone in self.retired)

    def _resolved(self, gpu: Gpu, at: Instant, month: Month, gpus_on_host: int) -> Price:
        if gpu == UNCOUNTED:  # overheads per GPU are unpriced, too
            return NO_PRICE
        of_hardware = self.hardware_price(gpu, at)
        rates = [*of_hardware.rates]
        for overhead in self.overheads:
            if overhead.per == "fleet" or not terms.matches(overhead.host, self.host):
                continue
            sharers = gpus_on_host if overhead.per == "host" else 1
            rate = Rate(picodollars(overhead.amount_dollars), _length(overhead.period, month) * sharers)
            rates.append(ComponentRate(overhead.name, rate, Provenance("configured", overhead.source)))
        return Price(tuple(rates), of_hardware.energy, of_hardware.hardware)

    def hardware_price(self, gpu: Gpu, at: Instant) -> Price:
        """The price of its hardware alone: none before its first price or its service."""
        if gpu == UNCOUNTED:
            return NO_PRICE
        rule = self.rule(gpu)
        rates: tuple[ComponentRate, ...] = ()
        if rule is not None and isinstance(rule.pricing, terms.Owned):
            if at < rule.pricing.in_service:
                return NOT_IN_SERVICE
            rates = _ownership(rule.pricing, rule.source, at)
        elif rule is not None and isinstance(rule.pricing, terms.Rented):
            rent = rule.pricing.price_at(at)
            if rent is not None:
                rate = Rate(picodollars(rent.dollars_per_hour), NANOSECONDS_PER_HOUR * rent.gpus)
                provenance = Provenance("configured", rule.source, rent.since_text)
                while_up = rule.pricing.billing == "while_up"
                rates = (ComponentRate(RENT, rate, provenance, while_up=while_up),)
        else:
            quote = self.quote(gpu)
            if isinstance(quote, Quote):
                source = quote.source if rule is None else f"{rule.source}: {quote.source}"
                listed = None if rule is None else rule.pricing
                always = isinstance(listed, terms.Listed) and listed.billing == "always"
                rate = Rate(picodollars(quote.dollars_per_hour), NANOSECONDS_PER_HOUR * quote.devices)
                provenance = Provenance(quote.price_basis, source, quote.as_of, quote.derivation)
                rates = (ComponentRate(RENT, rate, provenance, while_up=not always),)
        if not rates:
            return NO_PRICE
        energy: EnergyPrice | None = None
        if rule is not None and rule.energy is not None:
            per_kilowatt_hour = picodollars(rule.energy.dollars_per_gpu_kilowatt_hour)
            energy = EnergyPrice(per_kilowatt_hour, Provenance("configured", rule.source))
        return Price(rates, energy, HardwareStatus.PRICED)

    def rule(self, gpu: Gpu) -> terms.Hardware | None:
        """The rule that prices a GPU, `None` where none matches it."""
        return self._rules(gpu)

    @cached_property
    def _rules(self) -> Callable[[Gpu], terms.Hardware | None]:
        return lru_cache(PRICES_CACHED)(lambda gpu: self._first(self.priced_as(gpu)))

    def priced_as(self, gpu: Gpu) -> Gpu:
        """The GPU whose rule prices a slot: the one before the GPU in it, until a rule names the new one.

        A rule names a GPU by its UUID, or by its model where the one before was of another.
        """
        before = dict(self.predecessors).get(gpu.uuid)
        if before is None:
            return gpu
        inherited, own = self._first(before), self._first(gpu)
        if own is None or own is inherited:
            return before
        if inherited is None:
            return gpu
        by_model = own.match.gpu_model is not None and gpu.gpu_model != before.gpu_model
        return gpu if own.match.uuid is not None or by_model else before

    def _first(self, gpu: Gpu) -> terms.Hardware | None:
        for rule in self.hardware:
            if next(rule.match.mismatches(self.host, self.location, gpu), None) is None:
                return rule
        return None

    def host_count(self, gpu: Gpu) -> HostCount | None:
        """The number of GPUs of the host by the rule of a GPU; `None` where its price is of one GPU."""
        rule = self.rule(gpu)
        if rule is None:
            return None
        if isinstance(rule.pricing, terms.Listed):
            quote = self.quote(gpu)
            # The type that such a rule names may be another one than the host's.
            if not rule.pricing.instance_type or not isinstance(quote, Quote) or not quote.instance_gpu:
                return None
            gpus = quote.devices
        elif isinstance(rule.pricing, terms.Owned):
            gpus = rule.pricing.gpus
        else:
            gpus = max(price.gpus for price in rule.pricing.prices)
        if gpus == 1 and not isinstance(rule.pricing, terms.Listed):
            return None
        if rule.match.uuid is not None:
            return HostCount(rule.source, gpus, "boards")
        return HostCount(rule.source, gpus, "host" if rule.match.gpu_model is None else "models")

    @cached_property
    def instance_gpus(self) -> int | None:
        """The number of GPUs that the host's instance type has by the catalogue; `None`: not known."""
        location = self.location
        if not location.instance_type or location.cloud not in CLOUDS:
            return None
        try:
            listing = self.catalogue.instance(location.cloud, location.instance_type, location.region)
        except CatalogueError:
            return None
        return None if listing is None else listing.devices

    @cached_property
    def unseen(self) -> UnseenHardware:
        """What is stated of this host while none of its GPUs was ever listed."""
        unknown = Gpu(UNSEEN, "")
        by_type = self.instance_gpus
        for candidate in self.hardware:
            mismatches = {each.key for each in candidate.match.mismatches(self.host, self.location, unknown)}
            if not mismatches:
                break
            if mismatches <= {"gpu_model", "uuid"}:
                # Whether it prices these GPUs depends on what nobody has seen.
                return UnseenHardware(by_type, priced=False, named=bool(by_type))
        rule = self.rule(unknown)
        count = self.host_count(unknown)
        own_price = rule is not None and not isinstance(rule.pricing, terms.Listed)
        priced = own_price or isinstance(self.quote(unknown), Quote)
        named = rule is not None and (
            bool((rule.match.host or "").strip("*") or (rule.match.instance_type or "").strip("*"))
            or bool(rule.match.node_label)
        )
        return UnseenHardware(by_type if count is None else count.gpus, priced, named or bool(by_type))

    def location_may_price(self, gpu: Gpu) -> bool:
        """Whether the host's location, once it is known, may give an unpriced GPU an hourly rent."""
        if gpu == UNCOUNTED:
            return True
        rule = self.rule(gpu)
        if rule is not None:
            return isinstance(rule.pricing, terms.Listed)
        by_location = any(each.depends_on_location for each in self.hardware)
        return self.location_pending or self.unmatched == "estimate" or by_location

    def quote(self, gpu: Gpu) -> Quote | NoQuote | None:
        """The catalogue's price of a GPU; `None` where the configuration decides."""
        rule = self.rule(gpu)
        if rule is None and self.unmatched == "estimate":
            return quotes.find_quote(self.catalogue, self.location, None, gpu.gpu_model)
        if rule is not None and isinstance(rule.pricing, terms.Listed):
            return quotes.find_quote(
                self.catalogue, self.location, rule.pricing, gpu.gpu_model, stand_ins=self.stand_ins
            )
        return None

    def changes(self, start: Instant, end: Instant) -> Iterator[Instant]:
        """Instants strictly between two others at which some price of this tariff changes, in no order."""
        return (instant for instant in self._moments if start < instant < end)

    def first_priced(self, gpu: Gpu, at: Instant) -> Instant:
        """The start of a GPU's first price that is not zero; `at` itself where its price has no date."""
        rule = self.rule(gpu)
        if rule is not None and isinstance(rule.pricing, terms.Owned):
            return rule.pricing.in_service
        if rule is not None and isinstance(rule.pricing, terms.Rented):
            prices = rule.pricing.prices
            first = next((price for price in prices if price.dollars_per_hour), prices[0])
            return first.since or 0
        return at

    def fleet_overheads(self, month: Month) -> Iterator[tuple[str, Rate]]:
        """Amounts per fleet, which no host's ledger includes."""
        for overhead in self.overheads:
            if overhead.per == "fleet":
                amount = picodollars(overhead.amount_dollars)
                yield overhead.name, Rate(amount, _length(overhead.period, month))


def annuity_dollars_per_year(owned: terms.Owned) -> Decimal:
    """The yearly payment that returns the purchase less its residual, with interest, over its life.

    `(P(1+a) - S/(1+r)^N) x r / (1 - (1+r)^-N)`; at r = 0 the straight line.
    """
    interest = owned.cost_of_capital_ratio or Decimal(0)
    with localcontext() as context:
        context.prec = ANNUITY_DIGITS
        if interest == 0:
            return owned.written_off_dollars / owned.life_years
        discount = (1 + interest) ** -owned.life_years
        repaid = owned.capital_dollars - owned.residual_dollars * discount
        return repaid * interest / (1 - discount)


def _ownership(owned: terms.Owned, source: str, at: Instant) -> tuple[ComponentRate, ...]:
    provenance = Provenance("configured", source, owned.in_service_text)
    yearly = NANOSECONDS_PER_YEAR * owned.gpus
    if at >= end_of_life(owned):
        amortization = Rate(0, yearly)
    elif owned.cost_of_capital_ratio:
        amortization = Rate(picodollars(annuity_dollars_per_year(owned)), yearly)
    else:
        amortization = Rate(picodollars(owned.written_off_dollars), _life(owned) * owned.gpus)
    rates = [ComponentRate(AMORTIZATION, amortization, provenance)]
    for component, amount in yearly_dollars(owned).items():
        if amount:
            rates.append(ComponentRate(component, Rate(picodollars(amount), yearly), provenance))
    return tuple(rates)


def yearly_dollars(owned: terms.Owned) -> Mapping[str, Decimal]:
    """Dollars of every year beside amortization, by component."""
    return {SUPPORT: owned.support_dollars_per_year, INSURANCE: owned.insurance_dollars_per_year}


def _life(owned: terms.Owned) -> Nanoseconds:
    return int(owned.life_years * NANOSECONDS_PER_YEAR)


def end_of_life(owned: terms.Owned) -> Instant:
    """The instant from which on owned hardware is written off."""
    return owned.in_service + _life(owned)


def _length(period: terms.Period, month: Month) -> Nanoseconds:
    return {"hour": NANOSECONDS_PER_HOUR, "month": month.length, "year": NANOSECONDS_PER_YEAR}[period]


def amortization_dollars_per_year(owned: terms.Owned) -> Fraction:
    """Straight line, exact; with `cost_of_capital_ratio` the annuity, to the picodollar as it is posted."""
    if owned.cost_of_capital_ratio:
        return Fraction(picodollars(annuity_dollars_per_year(owned)), PICODOLLARS_PER_DOLLAR)
    return Fraction(owned.written_off_dollars) / Fraction(owned.life_years)

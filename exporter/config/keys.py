"""The whole schema: every key of the file, in the order of its documentation."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from exporter.advice.saving import IgnoredSaving, SavingKind
from exporter.config.engines import ENGINES, engines_are_known
from exporter.config.gateways import with_gateway_pages
from exporter.config.hardware import DOLLARS_PER_HOUR, DOLLARS_PER_YEAR, HardwareKeys
from exporter.config.kubernetes import PodLabelKeys
from exporter.config.schema import ListItem, ListOf, Model, Table, field, unique
from exporter.config.servers import SERVERS
from exporter.config.settings import (
    DEFAULT_LEDGER,
    Budget,
    CloudChoice,
    Config,
    ConfiguredServer,
    GpusChoice,
    KubernetesChoice,
    PodLabels,
    ServerRule,
)
from exporter.config.times import DATE, TIME, ZONE, DatedInstant
from exporter.config.values import (
    DOLLAR_DECIMALS,
    GPU_UUID,
    Duration,
    Label,
    Number,
    PathOnHost,
    PatternText,
    Whole,
    new_file,
    safe_name,
)
from exporter.cost.policy import CardinalityLimits, OwnershipRule, SplitMethod, SplitRule, Weights
from exporter.engines.spec import Engine
from exporter.tariff import tariff
from exporter.tariff.hosted import PRICE_DECIMALS, HostedPrice
from exporter.tariff.terms import Hardware, Overhead, Per, Period, Retirement, Unmatched
from exporter.units import Nanoseconds

DEFAULTS: Final = Config()
"""The configuration without a file."""


class RetiredKeys(Model, kw_only=True):
    """A GPU that was removed for good."""

    uuid: Annotated[str, GPU_UUID]
    """The GPU's UUID, exactly as NVML reports it."""
    since: Annotated[DatedInstant, TIME] = field(name="from")
    """When it left: a date (the first instant of that local day) or a time, as prices have it."""
    note: Annotated[str, Label("note")] = ""
    """Note on where the GPU went."""

    def build(self) -> Retirement:
        """The retirement."""
        return Retirement(self.uuid, self.since.instant, self.since.text, self.note)


PER_MILLION = Number("dollars", Decimal(10_000), decimals=PRICE_DECIMALS, per="million tokens")


class TokenMatchKeys(Model, kw_only=True):
    """Patterns of a server and a model."""

    server: PatternText | None = None
    """The server's name."""
    model: PatternText | None = None
    """The model's name, as the engine reports it."""


class CompareKeys(Model, kw_only=True):
    """An offer of tokens."""

    name: Annotated[str, Label("name")]
    """The offer's name, like together-turbo: the label reference of the metrics."""
    match: TokenMatchKeys | None = None
    """Tokens to compare; all patterns given must match. Without it: all tokens."""
    prompt_dollars_per_million_tokens: Annotated[Decimal, PER_MILLION]
    """Price of a million prompt tokens."""
    cached_prompt_dollars_per_million_tokens: Annotated[Decimal | None, PER_MILLION] = None
    """Price of a million prompt tokens from its cache; without it, that of any prompt tokens."""
    generation_dollars_per_million_tokens: Annotated[Decimal, PER_MILLION]
    """Price of a million generated tokens."""
    as_of: Annotated[DatedInstant | None, DATE] = None
    """Date of the price."""

    def build(self) -> HostedPrice:
        """The offer."""
        return HostedPrice(
            reference=self.name,
            prompt=self.prompt_dollars_per_million_tokens,
            generation=self.generation_dollars_per_million_tokens,
            cached_prompt=self.cached_prompt_dollars_per_million_tokens,
            as_of=self.as_of.text if self.as_of else "",
            **(self.match.given() if self.match else {}),
        )


COMPONENTS: Final = (*tariff.HARDWARE, tariff.ENERGY, "adjustment")
"""Components that the program itself posts to."""

PERIODS: Final[tuple[Period, ...]] = ("hour", "month", "year")


class OverheadMatchKeys(Model, kw_only=True):
    """Pattern of a host."""

    host: PatternText | None = None
    """The host's name."""


class OverheadKeys(Model, kw_only=True):
    """An amount in addition to the hardware."""

    name: Annotated[str, safe_name("component name", reserved=COMPONENTS)]
    """The component that the amount is posted to, like storage or network."""
    dollars_per_hour: Annotated[Decimal | None, DOLLARS_PER_HOUR] = None
    """The amount per hour."""
    dollars_per_month: Annotated[
        Decimal | None, Number("dollars", Decimal(10_000_000), decimals=DOLLAR_DECIMALS, per="month")
    ] = None
    """The amount per calendar month; each month accrues exactly it."""
    dollars_per_year: Annotated[Decimal | None, DOLLARS_PER_YEAR] = None
    """The amount per year of 8766 hours."""
    per: Per
    """Unit of the amount: per GPU, per host, or once per fleet. A host's amount is spread over its GPUs. A
    fleet's amount enters no host's ledger: the fleet rules record it."""
    match: OverheadMatchKeys | None = None
    """Which hosts; without it every host. Not with per: fleet."""

    def build(self) -> Overhead:
        """The amount."""
        self.exactly_one(*(f"dollars_per_{period}" for period in PERIODS))
        if self.per == "fleet" and self.has("match"):
            self.refuse("match", "goes with per: gpu or host; a fleet's amount has no host, remove it")
        period = next(period for period in PERIODS if self.has(f"dollars_per_{period}"))
        return Overhead(
            name=self.name,
            amount_dollars=self.given()[f"dollars_per_{period}"],
            period=period,
            per=self.per,
            source=self.node.path,
            host=self.match.host if self.match else None,
        )


def _components_are_unique(items: list[ListItem[Overhead]]) -> None:
    """One name twice is fine for different hosts, and a mistake where both would be charged to one host."""
    by_name: dict[str, list[Overhead]] = {}
    for item in items:
        for other in by_name.setdefault(item.value.name, []):
            if None in (item.value.host, other.host) or item.value.host == other.host:
                item.refuse("name", f'"{other.name}" is already given by {other.source}; choose another name')
        by_name[item.value.name].append(item.value)


class BudgetMatchKeys(Model, kw_only=True):
    """Spending of one product."""

    product: Annotated[str, Label("product", exact=True)] = ""
    """The product, exactly as ownership names it."""


BUDGET_DOLLARS = Number(
    "dollars", Decimal(1_000_000_000), above_low=True, decimals=DOLLAR_DECIMALS, per="month"
)


class BudgetKeys(Model, kw_only=True):
    """A monthly budget."""

    name: Annotated[str, Label("name")]
    """The budget's name; alerts and dashboards show it."""
    match: BudgetMatchKeys | None = None
    """Spending that counts; without it, that of the whole fleet."""
    dollars_per_month: Annotated[Decimal, BUDGET_DOLLARS]
    """Amount that may be spent per calendar month."""

    def build(self) -> Budget:
        """The budget."""
        return Budget(self.name, self.match.product if self.match else "", self.dollars_per_month)


class OwnerMatchKeys(Model, kw_only=True):
    """Patterns of a server."""

    namespace: PatternText | None = None
    """The server's namespace."""
    server: PatternText | None = None
    """The server's name."""


TEAM = Label("team")


class OwnershipRuleKeys(Model, kw_only=True):
    """The owner of servers."""

    match: OwnerMatchKeys | None = None
    """Which servers; all patterns given must match. Without it: every server."""
    product: Annotated[str, Label("product")] = OwnershipRule().product
    """The product that pays."""
    team: Annotated[str, TEAM] = OwnershipRule().team
    """The team that owns the product."""

    def build(self) -> OwnershipRule:
        """The rule."""
        if not self.has("product", "team"):
            self.refuse("", "names no owner; give product, team or both")
        patterns = self.match.given() if self.match else {}
        return OwnershipRule(product=self.product, team=self.team, **patterns)


class OwnershipKeys(Model, kw_only=True):
    """Owners of cost."""

    pod_labels: Annotated[PodLabels, PodLabelKeys] = DEFAULTS.pod_labels
    """Labels of a server's pods that name its owner, where no rule does."""
    rules: Annotated[tuple[OwnershipRule, ...], ListOf(Table(OwnershipRuleKeys, "rule"))] = ()
    """Owners of servers. The first rule that matches decides; without one the owner is unassigned."""


WEIGHT = Number("weight", Decimal(1000))
POSITIVE_WEIGHT = Number("weight", Decimal(1000), above_low=True)


class WeightKeys(Model, kw_only=True):
    """Weights of tokens."""

    builds = Weights
    prompt: Annotated[Decimal, POSITIVE_WEIGHT] = Weights().prompt
    """Weight of a computed prompt token."""
    cached_prompt: Annotated[Decimal, WEIGHT] = Weights().cached_prompt
    """Weight of a prompt token from the prefix cache."""
    generation: Annotated[Decimal, POSITIVE_WEIGHT] = Weights().generation
    """Weight of a generated token."""


class OverrideWeightKeys(Model, kw_only=True):
    """Weights of tokens; those that are not given are inherited."""

    prompt: Annotated[Decimal | None, POSITIVE_WEIGHT] = None
    """As split.weights.prompt."""
    cached_prompt: Annotated[Decimal | None, WEIGHT] = None
    """As split.weights.cached_prompt."""
    generation: Annotated[Decimal | None, POSITIVE_WEIGHT] = None
    """As split.weights.generation."""


class OverrideKeys(Model, kw_only=True):
    """A rule of split for some servers and models."""

    match: TokenMatchKeys
    """Which servers and models; all patterns given must match."""
    method: SplitMethod | None = None
    """As split.method."""
    weights: OverrideWeightKeys | None = None
    """As split.weights; a weight that is not given is inherited."""

    def rule(self, general: SplitRule) -> SplitRule:
        """The rule; the keys that it lacks are those of the general one."""
        weights = self.weights.given() if self.weights else {}
        return replace(
            general,
            method=self.method or general.method,
            weights=replace(general.weights, **weights),
            **self.match.given(),
        )


class SplitKeys(Model, kw_only=True):
    """The general rule of split, and rules for some servers and models before it."""

    method: SplitMethod = SplitRule().method
    """Split of busy cost between prefill and decode. Method engine: by GPU seconds that the engine reports
    for each. Method time: by seconds that its requests spent in each. Method weights: by tokens. Method auto
    is the first of these that the server offers. A method that it does not offer falls back to the next."""
    weights: Annotated[Weights, WeightKeys] = SplitRule().weights
    """Weights of tokens where nothing measures them: an assumption. The price of a cached prompt token always
    depends on them, prefill against decode only with the method weights."""
    overrides: Annotated[tuple[OverrideKeys, ...], ListOf(Table(OverrideKeys, "rule"))] = ()
    """Overrides; the first match applies. Missing keys are inherited."""

    def build(self) -> tuple[SplitRule, ...]:
        """The rules, the first that matches applies."""
        general = SplitRule(method=self.method, weights=self.weights)
        return (*(override.rule(general) for override in self.overrides), general)


class DiscoveryKeys(Model, kw_only=True):
    """What is discovered."""

    processes: bool = DEFAULTS.processes
    """Whether servers and their GPUs are discovered from the processes that compute on GPUs; false leaves
    only the servers configured here."""
    gpus: GpusChoice = DEFAULTS.gpus
    """GPUs to charge where gpus_per_host of a rule, or the instance type, has more than NVML lists, also
    where it never listed one. With all, every GPU; with visible, those that NVML lists (two exporters with
    half of the GPUs each). With auto, all where NVIDIA_VISIBLE_DEVICES is all or not set in the exporter's
    environment."""
    cloud: CloudChoice = DEFAULTS.cloud
    """Cloud metadata service for instance type, region and lifecycle. auto: the cloud named by the firmware,
    if any; off: no request and no firmware; a cloud's name: that cloud."""
    kubernetes: KubernetesChoice = DEFAULTS.kubernetes
    """Source of the pods of this node. The source pods_api is the socket of the kubelet's Pods API
    (Kubernetes 1.37). The source kubelet uses https; api_server is the API server; auto is the first of these
    that answers. Both kubelet and api_server need a mounted service account. The labels of this node are from
    the API server. off: no request, not even to the kubelet's pod-resources socket."""
    kubelet_ca_file: PathOnHost | None = None
    """Certificates (PEM) that verify the kubelet's. Without it any certificate is accepted: kubelets sign
    their own by default, and these requests do not leave the node."""


class LimitKeys(Model, kw_only=True):
    """Bounds on what one host exports and reads."""

    builds = CardinalityLimits
    models: Annotated[int, Whole("models", 1, 1000)] = DEFAULTS.limits.models
    """Models of a host, beyond the first two of each server. A user or namespace gets at most half once
    another asks. Those beyond it are counted under other of their server."""
    servers: Annotated[int, Whole("servers", 1, 1000)] = DEFAULTS.limits.servers
    """Servers of a host. A user or namespace gets at most half once another asks. Those beyond it are counted
    under other of their namespace, or of their user as other:user-UID."""
    body_bytes: Annotated[int, Whole("bytes", 65_536, 67_108_864)] = DEFAULTS.limits.body_bytes
    """Longest response of a server; a longer one is a failed read."""
    parties: Annotated[int, Whole("parties", 1, 1000)] = DEFAULTS.limits.parties
    """Teams and adapters of a host that gateways name, counted per model of a server; those beyond it are
    counted under other."""


class GapKeys(Model, kw_only=True):
    """Charges for time without a tick."""

    gap_max_days: Annotated[Decimal, Number("days", Decimal(366))] = field(
        default=DEFAULTS.gap_max_days, name="max_days"
    )
    """Longest time without a tick that is charged; longer times are counted and not charged."""


class LedgerKeys(Model, kw_only=True):
    """Where the ledger is."""

    ledger_path: Annotated[Path, new_file(DEFAULT_LEDGER.name)] = field(
        default=DEFAULTS.ledger_path, name="path"
    )
    """Ledger file; its folder must be writable and must persist across restarts."""


class PriceFileKeys(Model, kw_only=True):
    """Where the price file is."""

    prices_path: PathOnHost = field(default=DEFAULTS.prices_path, name="path")
    """Price file, as `prices update` writes it; it must exist where a path is given here."""


class IgnoredKeys(Model, kw_only=True):
    """A finding that is not counted until a date."""

    kind: SavingKind
    """The kind of finding, as `advise` names it."""
    server: PatternText | None = None
    """The server's name, or namespace/name. Without it, any."""
    reason: Annotated[str, Label("reason")]
    """Why it is no waste; `advise` prints it."""
    until: Annotated[DatedInstant, TIME]
    """Date or time from which it counts again; a date is the first instant of that local day."""

    def build(self) -> IgnoredSaving:
        """The finding."""
        dated = {"until": self.until.instant, "until_text": self.until.text}
        return IgnoredSaving(**{**self.given(), **dated})


class AdviceKeys(Model, kw_only=True):
    """Savings to leave out."""

    ignored_savings: Annotated[tuple[IgnoredSaving, ...], ListOf(Table(IgnoredKeys, "finding"))] = field(
        default=(), name="ignore"
    )
    """Findings that are listed apart and not counted, until a date. The first that matches applies."""


class DocumentKeys(Model, kw_only=True):
    """The whole file."""

    interval: Annotated[Nanoseconds, Duration("1s", "15s")] = DEFAULTS.interval
    """How often everything is read; NVML's ring of samples holds about 16 s."""
    timezone: Annotated[ZoneInfo, ZONE] = DEFAULTS.timezone
    """Zone in which months and dates begin: a name of the IANA database."""
    hours_per_month: Annotated[Decimal, Number("hours", Decimal(744), Decimal(672))] = (
        DEFAULTS.hours_per_month
    )
    """Hours of the monthly run-rate. Amounts per month accrue by the calendar."""
    ownership: OwnershipKeys | None = None
    """Owners of cost. A change applies from then on and never moves posted money."""
    budgets: Annotated[
        tuple[Budget, ...],
        ListOf(
            Table(BudgetKeys, "budget"), (unique("name", lambda budget: budget.name, "choose another name"),)
        ),
    ] = DEFAULTS.budgets
    """Monthly budgets; without any there is one, fleet, of 27000 dollars for everything."""
    hardware: Annotated[tuple[Hardware, ...], ListOf(Table(HardwareKeys, "rule"))] = ()
    """Hardware prices. The first matching rule prices a GPU; unmatched_hardware decides for the rest."""
    unmatched_hardware: Unmatched = DEFAULTS.unmatched_hardware
    """GPUs without a matching rule, and rules without a list price. `estimate`: the nearest price, marked as
    an estimate. It is that of the instance type in another region, of the GPU at the lowest large cloud, or
    of its market. `unpriced`: no price, and the cost is absent."""
    retired: Annotated[
        tuple[Retirement, ...],
        ListOf(Table(RetiredKeys, "GPU"), (unique("uuid", lambda gone: gone.uuid, "give it once"),)),
    ] = ()
    """GPUs removed for good: sold, returned, scrapped. They cost nothing from then on. Past charges stay, and
    a GPU that NVML still lists is charged."""
    overheads: Annotated[
        tuple[Overhead, ...], ListOf(Table(OverheadKeys, "amount"), (_components_are_unique,))
    ] = ()
    """Named amounts in addition to the hardware, each its own component."""
    servers: Annotated[tuple[ConfiguredServer | ServerRule, ...], SERVERS] = ()
    """Inference servers: those not discovered (url and gpus), and corrections of discovered ones (match). A
    GPU named here belongs to no discovered server."""
    engines: Annotated[tuple[Engine, ...], ENGINES] = ()
    """Engines that are not built in, described by names on their metrics page."""
    split: Annotated[tuple[SplitRule, ...], SplitKeys] = ()
    """Split of a server's busy cost between prefill and decode."""
    compare: Annotated[
        tuple[HostedPrice, ...],
        ListOf(
            Table(CompareKeys, "offer"), (unique("name", lambda offer: offer.reference, "choose another"),)
        ),
    ] = ()
    """Hosted offers: what the tokens served here would have cost there."""
    advise: AdviceKeys | None = None
    """Savings that the verb `advise` finds."""
    discovery: DiscoveryKeys | None = None
    """Automatic discovery."""
    limits: Annotated[CardinalityLimits, LimitKeys] = DEFAULTS.limits
    """Bounds on what one host exports and reads."""
    gap: GapKeys | None = None
    """Charges for downtime of the daemon or the host, and for suspension."""
    ledger: LedgerKeys | None = None
    """Where running totals are stored."""
    prices: PriceFileKeys | None = None
    """A list of instance prices that replaces the bundled one; without a file the bundled one is used."""

    def build(self) -> Config:
        """The configuration."""
        engines_are_known(self, self.engines)
        values: dict[str, Any] = {}
        for name, value in self.given().items():
            if isinstance(value, Model):  # its keys fill fields of the configuration
                values.update(value.given())
            elif value != ():  # a list without items is as good as none: the default budget applies
                values[name] = value
        values["ownership"] = values.pop("rules", ())
        entries = with_gateway_pages(values.pop("servers", ()))
        described = {engine.name: engine for engine in self.engines}
        rules = []
        for entry in entries:
            if not isinstance(entry, ServerRule):
                continue
            engine = described.get(entry.engine or "")
            if engine is None:
                rules.append(entry)
                continue
            path = entry.metrics_path or engine.default_path
            rules.append(replace(entry, engine_port=engine.default_port, metrics_path=path))
        return Config(
            catalogue=self.context.catalogue,
            servers=tuple(entry for entry in entries if isinstance(entry, ConfiguredServer)),
            server_rules=tuple(rules),
            **values,
        )


DOCUMENT: Final[Table] = Table(DocumentKeys)

"""The typed configuration, frozen. The schema has the meaning of each key."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter.advice.saving import IgnoredSaving
from exporter.config.problems import Position
from exporter.config.values import has_wildcards
from exporter.cost.policy import CardinalityLimits, CostPolicy, OwnershipRule, SplitRule
from exporter.engines.gateways import Shares
from exporter.engines.spec import Engine
from exporter.readings import UNKNOWN_LOCATION, Division, HostLocation, Role, ServiceLevel
from exporter.tariff.catalogue import CATALOGUE, Catalogue
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, Overhead, Retirement, Unmatched
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND, Nanoseconds

DEFAULT_LEDGER = Path("/var/lib/inference-cost-exporter/ledger.db")
DEFAULT_PRICES = Path("/var/lib/inference-cost-exporter/prices.csv")

CloudChoice = Literal["auto", "off", "aws", "gcp", "azure", "oci", "nebius"]
"""Cloud whose metadata service reports the host's location: that of the firmware, none, or a named one."""

GpusChoice = Literal["auto", "all", "visible"]
"""GPUs that NVML lists: all if the process was given all (auto), all of the machine, or some."""

KubernetesChoice = Literal["auto", "off", "pods_api", "kubelet", "api_server"]
"""Source of the pods of this node; its labels are from the API server, unless it is off."""


@dataclass(frozen=True, slots=True)
class PodLabels:
    """The labels of pods that name an owner."""

    product: str = "app.kubernetes.io/part-of"
    """The label whose value is the product; empty for none."""
    team: str = "team"
    """The label whose value is the team; empty for none."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A monthly budget."""

    name: str
    """The name that alerts and dashboards show."""
    product: str
    """The product whose spending counts; empty for that of the whole fleet."""
    dollars_per_month: Decimal
    """The amount that may be spent per calendar month."""


DEFAULT_BUDGETS: Final = (Budget("fleet", "", Decimal(27000)),)
"""In force if none is configured. It is compared by identity: an equal budget may be configured."""


@dataclass(frozen=True, slots=True)
class GatewayTenant:
    """Who pays for tenants of a gateway."""

    match: str
    """The pattern of the label's value."""
    team: str
    """The team that pays."""
    product: str = ""
    """The product that pays; empty for the server's own."""


@dataclass(frozen=True, slots=True)
class GatewayPageRule:
    """How a gateway's page is read. By default, as the catalogue describes it."""

    labels: tuple[str, ...] = ()
    """The labels that together name the tenant of a series."""
    tenants: tuple[GatewayTenant, ...] = ()
    """Who pays for which tenant; the first match decides."""
    shares: Shares | None = None
    """The counters of its page, where they are not those of the catalogue."""


@dataclass(frozen=True, slots=True)
class GatewayDivision:
    """The division of a server's cost by the counts of a gateway."""

    division: Division
    """The gateway, and the counts of it that are this server's."""
    bearer_token_file: Path | None = None
    """The file with the token to send."""
    ca_file: Path | None = None
    """The file of certificates to trust."""
    page: GatewayPageRule = GatewayPageRule()
    """How its page is read."""
    uid: int | None = None
    """The uid whose process must listen at the gateway's URL, on this host; `None` for any, of any host."""


@dataclass(frozen=True, slots=True)
class ConfiguredServer:
    """One configured endpoint. Several with one name (and namespace) are replicas of one server.

    A field has the name and the meaning of its key.
    """

    name: str
    url: str
    gpus: tuple[int | str, ...] | None
    """NVML indices or UUIDs; `None` for every GPU of the host."""
    namespace: str = ""
    engine: str | None = None
    gpu_share_ratio: Decimal | None = None
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    server_name: str | None = None
    spans_hosts: bool = False
    role: Role = ""
    divide: GatewayDivision | None = None
    slo: ServiceLevel | None = None
    uid: int | None = None
    """The uid whose process must listen at the URL, on this host; `None` for any, of any host."""


@dataclass(frozen=True, slots=True)
class ServerMatch:
    """Which discovered servers; `None` matches any. Patterns are shell-style."""

    port: int | None = None
    """The port that it listens on."""
    workload: str | None = None
    """The pattern of `namespace/name`."""
    unit: str | None = None
    """The pattern of a unit of the host's service manager."""
    process: str | None = None
    """The pattern of its program's name, or of its engine."""
    user: str | None = None
    """The user of the host's own processes, as written."""
    uid: int | None = None
    """The number of that user, `None` if this machine does not know the name."""
    containers: bool = False
    """Whether the user is also matched in containers of the system's runtime."""

    @property
    def binds(self) -> bool:
        """Whether it names what another user cannot set: a user, a system unit, or pods of one namespace."""
        namespace = (self.workload or "").partition("/")[0]
        pods = bool(namespace) and not has_wildcards(namespace)
        return self.user is not None or self.unit is not None or pods


@dataclass(frozen=True, slots=True)
class ServerRule:
    """Corrections of discovered servers; `None` keeps what was discovered.

    A field has the name and the meaning of its key.
    """

    match: ServerMatch
    name: str | None = None
    namespace: str | None = None
    engine: str | None = None
    engine_port: int | None = None
    """The default port of an engine that the configuration describes."""
    gpu_share_ratio: Decimal | None = None
    spans_hosts: bool = False
    role: Role = ""
    metrics_scheme: str | None = None
    metrics_port: int | None = None
    metrics_path: str | None = None
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    server_name: str | None = None
    divide: GatewayDivision | None = None
    slo: ServiceLevel | None = None
    source: str = field(default="", compare=False)
    """The path of the rule in the file, like `servers[1]`."""


@dataclass(frozen=True, slots=True)
class Config:
    """One whole configuration. A field has the meaning of its key."""

    path: Path | None = None
    """The file, `None` without one."""
    hash: str = ""
    """The SHA-256 of the file's bytes."""
    interval: Nanoseconds = 10 * NANOSECONDS_PER_SECOND
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    hours_per_month: Decimal = Decimal(730)
    ownership: tuple[OwnershipRule, ...] = ()
    budgets: tuple[Budget, ...] = DEFAULT_BUDGETS
    hardware: tuple[Hardware, ...] = ()
    unmatched_hardware: Unmatched = "estimate"
    retired: tuple[Retirement, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    servers: tuple[ConfiguredServer, ...] = ()
    server_rules: tuple[ServerRule, ...] = ()
    engines: tuple[Engine, ...] = ()
    split: tuple[SplitRule, ...] = ()
    compare: tuple[HostedPrice, ...] = ()
    ignored_savings: tuple[IgnoredSaving, ...] = ()
    limits: CardinalityLimits = field(default_factory=CardinalityLimits)
    cloud: CloudChoice = "auto"
    gpus: GpusChoice = "auto"
    kubernetes: KubernetesChoice = "auto"
    kubelet_ca_file: Path | None = None
    pod_labels: PodLabels = field(default_factory=PodLabels)
    processes: bool = True
    gap_max_days: Decimal = Decimal(7)
    ledger_path: Path = DEFAULT_LEDGER
    prices_path: Path = DEFAULT_PRICES
    catalogue: Catalogue = CATALOGUE
    """The list prices of the price file, or the bundled ones where there is none."""
    positions: Mapping[str, Position] = field(default_factory=dict, compare=False, repr=False)
    """The position of each value in the file by its path, like `hardware[0].owned.life_years`."""

    def divides(self) -> tuple[GatewayDivision, ...]:
        """Every division by a gateway, in the order of the entries."""
        divides = [server.divide for server in self.servers] + [rule.divide for rule in self.server_rules]
        return tuple(divide for divide in divides if divide is not None)


GAP_INTERVALS: Final = 3
SHORTEST_GAP: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""A tick longer than three intervals and a minute was not observed."""


def cost_policy(
    config: Config, host: str, location: HostLocation | None = UNKNOWN_LOCATION, *, all_gpus: bool = False
) -> CostPolicy:
    """The cost policy of a configuration on a host.

    `location` is `None` until it is known: GPUs whose price depends on it are unpriced until then. So are
    those whose rule matches labels of the node that could not be read.
    `all_gpus`: this process was given all GPUs of the machine, unless the configuration says otherwise.
    """
    hardware, unmatched = config.hardware, config.unmatched_hardware
    if location is None:
        hardware = tuple(takewhile(lambda rule: not rule.depends_on_location, hardware))
    elif location.node_labels is None:
        hardware = tuple(takewhile(lambda rule: not rule.match.node_label, hardware))
    left_out = len(hardware) < len(config.hardware)
    location_pending = left_out or (location is None and unmatched == "estimate")
    if location is None or left_out:
        unmatched = "unpriced"
    # No label changes a price but those that a rule matches.
    matched = {name for rule in hardware for name, _ in rule.match.node_label}
    where = location or UNKNOWN_LOCATION
    where = replace(where, node_labels=tuple(pair for pair in where.node_labels or () if pair[0] in matched))
    return CostPolicy(
        tariff=Tariff(
            host,
            hardware,
            config.overheads,
            where,
            unmatched,
            config.catalogue,
            location_pending=location_pending,
            retired=config.retired,
            stand_ins=config.unmatched_hardware == "estimate",
        ),
        zone=config.timezone,
        ownership=config.ownership,
        split=config.split,
        compare=config.compare,
        limits=config.limits,
        interval=config.interval,
        gap_max=int(config.gap_max_days * NANOSECONDS_PER_DAY),
        gap_after=max(GAP_INTERVALS * config.interval, SHORTEST_GAP),
        all_gpus=all_gpus if config.gpus == "auto" else config.gpus == "all",
    )

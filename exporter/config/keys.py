"""The whole schema: every key of the file, in the order of its documentation."""

from decimal import Decimal
from typing import Final, get_args

from exporter.advice import SAVING_KINDS, IgnoredSaving, SavingKind
from exporter.config.engines import ENGINES_KEY, engines_are_known
from exporter.config.gateways import with_gateway_pages
from exporter.config.hardware import DOLLARS_PER_HOUR, DOLLARS_PER_YEAR, HARDWARE, UNMATCHED
from exporter.config.kubernetes import KUBELET_CA_FILE, KUBERNETES, POD_LABELS
from exporter.config.schema import (
    Key,
    ListItem,
    ListOf,
    MappingNode,
    Table,
    builds,
    exactly_one,
    group,
    unique,
)
from exporter.config.servers import SERVERS
from exporter.config.settings import (
    DEFAULT_LEDGER,
    Budget,
    CloudChoice,
    Config,
    ConfiguredServer,
    GpusChoice,
    ServerRule,
)
from exporter.config.times import DateValue, TimeValue, ZoneValue
from exporter.config.values import (
    DOLLAR_DECIMALS,
    AbsolutePath,
    Choice,
    Duration,
    GpuUuid,
    Label,
    Name,
    NewFile,
    Number,
    Pattern,
    Truth,
    Whole,
)
from exporter.cost.policy import CardinalityLimits, OwnershipRule, SplitMethod, SplitRule, Weights
from exporter.engines.spec import Engine
from exporter.frozen import replace
from exporter.tariff.hosted import PRICE_DECIMALS, HostedPrice
from exporter.tariff.terms import Overhead, Per, Period, Retirement

UUID = Key(
    "uuid",
    GpuUuid(),
    "The GPU's UUID, exactly as NVML reports it.",
    record=Retirement,
    required=True,
)
SINCE = Key(
    "from",
    TimeValue(),
    "When it left: a date (the first instant of that local day) or a time, as prices have it.",
    required=True,
)
NOTE = Key("note", Label("note"), "Note on where the GPU went.", record=Retirement)


def _retirement(mapping: MappingNode) -> Retirement:
    since = mapping[SINCE]
    return Retirement(since=since.instant, since_text=since.text, **mapping.filled())


RETIRED = Key(
    "retired",
    ListOf(
        Table((UUID, SINCE, NOTE), _retirement, expected="GPU"),
        (unique(UUID.name, lambda gone: gone.uuid, "give it once"),),
    ),
    "GPUs removed for good: sold, returned, scrapped. They cost nothing from then on. Past charges stay, and "
    "a GPU that NVML still lists is charged.",
    record=Config,
)


PER_MILLION = Number("dollars per million tokens", Decimal(10_000), decimals=PRICE_DECIMALS)

REFERENCE = Key(
    "name",
    Label("name"),
    "The offer's name, like together-turbo: the label reference of the metrics.",
    record=HostedPrice,
    field="reference",
    required=True,
)
COMPARE_SERVER = Key("server", Pattern(), "The server's name.", record=HostedPrice)
COMPARE_MODEL = Key("model", Pattern(), "The model's name, as the engine reports it.", record=HostedPrice)
COMPARE_MATCH = Key(
    "match",
    group((COMPARE_SERVER, COMPARE_MODEL)),
    "Tokens to compare; all patterns given must match. Without it: all tokens.",
)
PROMPT_PRICE = Key(
    "prompt_dollars_per_million_tokens",
    PER_MILLION,
    "Price of a million prompt tokens.",
    record=HostedPrice,
    field="prompt",
    required=True,
)
CACHED_PRICE = Key(
    "cached_prompt_dollars_per_million_tokens",
    PER_MILLION,
    "Price of a million prompt tokens from its cache; without it, that of any prompt tokens.",
    record=HostedPrice,
    field="cached_prompt",
)
GENERATION_PRICE = Key(
    "generation_dollars_per_million_tokens",
    PER_MILLION,
    "Price of a million generated tokens.",
    record=HostedPrice,
    field="generation",
    required=True,
)
AS_OF = Key("as_of", DateValue(), "Date of the price.")


def _hosted(mapping: MappingNode) -> HostedPrice:
    as_of = mapping.get(AS_OF)
    return HostedPrice(as_of="" if as_of is None else as_of.text, **mapping.filled())


COMPARE = Key(
    "compare",
    ListOf(
        Table(
            (REFERENCE, COMPARE_MATCH, PROMPT_PRICE, CACHED_PRICE, GENERATION_PRICE, AS_OF),
            _hosted,
            expected="offer",
        ),
        # A name is one series with one price: two models at one provider are two offers.
        (unique(REFERENCE.name, lambda offer: offer.reference, "choose another"),),
    ),
    "Hosted offers: what the tokens served here would have cost there.",
    record=Config,
)


COMPONENTS: Final = ("rent", "amortization", "support", "insurance", "energy", "adjustment")
"""Components that the program itself posts to."""

OVERHEAD_NAME = Key(
    "name",
    Name("component name", reserved=COMPONENTS),
    "The component that the amount is posted to, like storage or network.",
    record=Overhead,
    required=True,
)
PER_HOUR = Key("dollars_per_hour", DOLLARS_PER_HOUR, "The amount per hour.")
PER_MONTH = Key(
    "dollars_per_month",
    Number("dollars per month", Decimal(10_000_000), decimals=DOLLAR_DECIMALS),
    "The amount per calendar month; each month accrues exactly it.",
)
PER_YEAR = Key("dollars_per_year", DOLLARS_PER_YEAR, "The amount per year of 8766 hours.")
PERIODS: Final[tuple[tuple[Key[Decimal], Period], ...]] = (
    (PER_HOUR, "hour"),
    (PER_MONTH, "month"),
    (PER_YEAR, "year"),
)
PER: Key[Per] = Key(
    "per",
    Choice(get_args(Per)),
    "Unit of the amount: per GPU, per host, or once per fleet. A host's amount is spread over its GPUs. A "
    "fleet's amount enters no host's ledger: the fleet rules record it.",
    record=Overhead,
    required=True,
)
OVERHEAD_HOST = Key("host", Pattern(), "The host's name.", record=Overhead)
OVERHEAD_MATCH = Key(
    "match",
    group((OVERHEAD_HOST,)),
    "Which hosts; without it every host. Not with per: fleet.",
)


def _overhead(mapping: MappingNode) -> Overhead:
    key, period = next((key, period) for key, period in PERIODS if key in mapping)
    return Overhead(amount_dollars=mapping[key], period=period, source=mapping.path, **mapping.filled())


def _fleet_is_everywhere(mapping: MappingNode) -> None:
    if mapping[PER] == "fleet" and OVERHEAD_MATCH in mapping:
        mapping.refuse(OVERHEAD_MATCH, "goes with per: gpu or host; a fleet's amount has no host, remove it")


def _components_are_unique(items: list[ListItem[Overhead]]) -> None:
    """One name twice is fine for different hosts, and a mistake where both would be charged to one host."""
    by_name: dict[str, list[Overhead]] = {}
    for item in items:
        for other in by_name.setdefault(item.value.name, []):
            if None in (item.value.host, other.host) or item.value.host == other.host:
                message = f'"{other.name}" is already given by {other.source}; choose another name'
                item.refuse(OVERHEAD_NAME.name, message)
        by_name[item.value.name].append(item.value)


OVERHEADS = Key(
    "overheads",
    ListOf(
        Table(
            (OVERHEAD_NAME, PER_HOUR, PER_MONTH, PER_YEAR, PER, OVERHEAD_MATCH),
            _overhead,
            (exactly_one(PER_HOUR, PER_MONTH, PER_YEAR), _fleet_is_everywhere),
            expected="amount",
        ),
        (_components_are_unique,),
    ),
    "Named amounts in addition to the hardware, each its own component.",
    record=Config,
)

BUDGET_NAME = Key(
    "name", Label("name"), "The budget's name; alerts and dashboards show it.", record=Budget, required=True
)
BUDGET_PRODUCT = Key(
    "product", Label("product", exact=True), "The product, exactly as ownership names it.", record=Budget
)
BUDGET_MATCH = Key(
    "match",
    group((BUDGET_PRODUCT,)),
    "Spending that counts; without it, that of the whole fleet.",
)
BUDGET_DOLLARS = Key(
    "dollars_per_month",
    Number("dollars per month", Decimal(1_000_000_000), above_low=True, decimals=DOLLAR_DECIMALS),
    "Amount that may be spent per calendar month.",
    record=Budget,
    required=True,
)


BUDGETS = Key(
    "budgets",
    ListOf(
        Table(
            (BUDGET_NAME, BUDGET_MATCH, BUDGET_DOLLARS),
            lambda mapping: Budget(**{BUDGET_PRODUCT.name: "", **mapping.filled()}),
            expected="budget",
        ),
        (unique(BUDGET_NAME.name, lambda budget: budget.name, "choose another name"),),
    ),
    "Monthly budgets; without any there is one, fleet, of 27000 dollars for everything.",
    record=Config,
)


INTERVAL = Key(
    "interval",
    Duration("1s", "15s"),
    "How often everything is read; NVML's ring of samples holds about 16 s.",
    record=Config,
)
TIMEZONE = Key(
    "timezone",
    ZoneValue(),
    "Zone in which months and dates begin: a name of the IANA database.",
    record=Config,
)
HOURS_PER_MONTH = Key(
    "hours_per_month",
    Number("hours", Decimal(744), Decimal(672)),
    "Hours of the monthly run-rate. Amounts per month accrue by the calendar.",
    record=Config,
)

OWNER_NAMESPACE = Key("namespace", Pattern(), "The server's namespace.", record=OwnershipRule)
OWNER_SERVER = Key("server", Pattern(), "The server's name.", record=OwnershipRule)
OWNER_MATCH = Key(
    "match",
    group((OWNER_NAMESPACE, OWNER_SERVER)),
    "Which servers; all patterns given must match. Without it: every server.",
)
PRODUCT = Key("product", Label("product"), "The product that pays.", record=OwnershipRule)
TEAM = Key("team", Label("team"), "The team that owns the product.", record=OwnershipRule)


def _names_an_owner(mapping: MappingNode) -> None:
    if PRODUCT not in mapping and TEAM not in mapping:
        mapping.refuse(None, "names no owner; give product, team or both")


RULES = Key(
    "rules",
    ListOf(Table((OWNER_MATCH, PRODUCT, TEAM), builds(OwnershipRule), (_names_an_owner,), expected="rule")),
    "Owners of servers. The first rule that matches decides; without one the owner is unassigned.",
    record=Config,
    field="ownership",
)
OWNERSHIP = Key(
    "ownership",
    group((POD_LABELS, RULES)),
    "Owners of cost. A change applies from then on and never moves posted money.",
)

WEIGHT = Number("weight", Decimal(1000))
POSITIVE_WEIGHT = Number("weight", Decimal(1000), above_low=True)
PROMPT = Key("prompt", POSITIVE_WEIGHT, "Weight of a computed prompt token.", record=Weights)
CACHED_PROMPT = Key(
    "cached_prompt", WEIGHT, "Weight of a prompt token from the prefix cache.", record=Weights
)
GENERATION = Key("generation", POSITIVE_WEIGHT, "Weight of a generated token.", record=Weights)
METHODS: Choice[SplitMethod] = Choice(get_args(SplitMethod))
METHOD = Key(
    "method",
    METHODS,
    "Split of busy cost between prefill and decode. Method engine: by GPU seconds that the engine reports "
    "for each. Method time: by seconds that its requests spent in each. Method weights: by tokens. Method "
    "auto is the first of these that the server offers. A method that it does not offer falls back to the "
    "next.",
    record=SplitRule,
)
WEIGHTS = Key(
    "weights",
    Table((PROMPT, CACHED_PROMPT, GENERATION), builds(Weights)),
    "Weights of tokens where nothing measures them: an assumption. The price of a cached prompt token always "
    "depends on them, prefill against decode only with the method weights.",
    record=SplitRule,
)
SPLIT_SERVER = Key("server", Pattern(), "The server's name.", record=SplitRule)
SPLIT_MODEL = Key("model", Pattern(), "The model's name, as the engine reports it.", record=SplitRule)
SPLIT_MATCH = Key(
    "match",
    group((SPLIT_SERVER, SPLIT_MODEL)),
    "Which servers and models; all patterns given must match.",
    required=True,
)
OVERRIDE_METHOD = Key("method", METHODS, "As split.method.")
OVERRIDE_WEIGHTS = Key(
    "weights",
    group(
        (
            Key("prompt", POSITIVE_WEIGHT, "As split.weights.prompt."),
            Key("cached_prompt", WEIGHT, "As split.weights.cached_prompt."),
            Key("generation", POSITIVE_WEIGHT, "As split.weights.generation."),
        )
    ),
    "As split.weights; a weight that is not given is inherited.",
)
OVERRIDES = Key(
    "overrides",
    ListOf(Table((SPLIT_MATCH, OVERRIDE_METHOD, OVERRIDE_WEIGHTS), lambda mapping: mapping, expected="rule")),
    "Overrides; the first match applies. Missing keys are inherited.",
)


def _split(mapping: MappingNode) -> tuple[SplitRule, ...]:
    general = SplitRule(**mapping.filled())
    overrides = mapping.get(OVERRIDES) or ()
    return (*(_override(override, general) for override in overrides), general)


def _override(override: MappingNode, general: SplitRule) -> SplitRule:
    """A rule of its own; the keys that it lacks are those of the general rule."""
    weights = override.get(OVERRIDE_WEIGHTS)
    return replace(
        general,
        method=override.get(OVERRIDE_METHOD) or general.method,
        weights=general.weights if weights is None else replace(general.weights, **weights.values),
        **override[SPLIT_MATCH].filled(),
    )


SPLIT = Key(
    "split",
    Table((METHOD, WEIGHTS, OVERRIDES), _split),
    "Split of a server's busy cost between prefill and decode.",
    record=Config,
)

CLOUD: Key[CloudChoice] = Key(
    "cloud",
    Choice(get_args(CloudChoice)),
    "Cloud metadata service for instance type, region and lifecycle. auto: the cloud named by the firmware, "
    "if any; off: no request and no firmware; a cloud's name: that cloud.",
    record=Config,
)
PROCESSES = Key(
    "processes",
    Truth(),
    "Whether servers and their GPUs are discovered from the processes that compute on GPUs; false leaves "
    "only the servers configured here.",
    record=Config,
)
GPUS: Key[GpusChoice] = Key(
    "gpus",
    Choice(get_args(GpusChoice)),
    "GPUs to charge where gpus_per_host of a rule, or the instance type, has more than NVML lists, also "
    "where it never listed one. With all, every GPU; with visible, those that NVML lists (two exporters "
    "with half of the GPUs each). With auto, all where NVIDIA_VISIBLE_DEVICES is all or not set in the "
    "exporter's environment.",
    record=Config,
)
DISCOVERY = Key(
    "discovery",
    group((PROCESSES, GPUS, CLOUD, KUBERNETES, KUBELET_CA_FILE)),
    "Automatic discovery.",
)

MODELS = Key(
    "models",
    Whole("models", 1, 1000),
    "Models of a host, beyond the first two of each server. A user or namespace gets at most half once "
    "another asks. Those beyond it are counted under other of their server.",
    record=CardinalityLimits,
)
MOST_SERVERS = Key(
    "servers",
    Whole("servers", 1, 1000),
    "Servers of a host. A user or namespace gets at most half once another asks. Those beyond it are "
    "counted under other of their namespace, or of their user as other:user-UID.",
    record=CardinalityLimits,
)
BODY_BYTES = Key(
    "body_bytes",
    Whole("bytes", 65_536, 67_108_864),
    "Longest response of a server; a longer one is a failed read.",
    record=CardinalityLimits,
)
MOST_OWNERS = Key(
    "parties",
    Whole("parties", 1, 1000),
    "Teams and adapters of a host that gateways name, counted per model of a server; those beyond it are "
    "counted under other.",
    record=CardinalityLimits,
)
LIMITS = Key(
    "limits",
    Table((MODELS, MOST_SERVERS, BODY_BYTES, MOST_OWNERS), builds(CardinalityLimits)),
    "Bounds on what one host exports and reads.",
    record=Config,
)

GAP_DAYS = Key(
    "max_days",
    Number("days", Decimal(366)),
    "Longest time without a tick that is charged; longer times are counted and not charged.",
    record=Config,
    field="gap_max_days",
)
GAP = Key(
    "gap",
    group((GAP_DAYS,)),
    "Charges for downtime of the daemon or the host, and for suspension.",
)

LEDGER_PATH = Key(
    "path",
    NewFile(DEFAULT_LEDGER.name),
    "Ledger file; its folder must be writable and must persist across restarts.",
    record=Config,
    field="ledger_path",
)
LEDGER = Key("ledger", group((LEDGER_PATH,)), "Where running totals are stored.")

PRICES_PATH = Key(
    "path",
    AbsolutePath(),
    "Price file, as `prices update` writes it; it must exist where a path is given here.",
    record=Config,
    field="prices_path",
)
PRICES = Key(
    "prices",
    group((PRICES_PATH,)),
    "A list of instance prices that replaces the bundled one; without a file the bundled one is used.",
)

SAVING_KIND: Key[SavingKind] = Key(
    "kind",
    Choice(SAVING_KINDS),
    "The kind of finding, as `advise` names it.",
    record=IgnoredSaving,
    required=True,
)
SAVING_SERVER = Key(
    "server",
    Pattern(),
    "The server's name, or namespace/name. Without it, any.",
    record=IgnoredSaving,
)
SAVING_REASON = Key(
    "reason",
    Label("reason"),
    "Why it is no waste; `advise` prints it.",
    record=IgnoredSaving,
    required=True,
)
SAVING_UNTIL = Key(
    "until",
    TimeValue(),
    "Date or time from which it counts again; a date is the first instant of that local day.",
    required=True,
)


def _ignored_saving(mapping: MappingNode) -> IgnoredSaving:
    until = mapping[SAVING_UNTIL]
    return IgnoredSaving(until=until.instant, until_text=until.text, **mapping.filled())


IGNORED = Key(
    "ignore",
    ListOf(
        Table(
            (SAVING_KIND, SAVING_SERVER, SAVING_REASON, SAVING_UNTIL),
            _ignored_saving,
            expected="finding",
        )
    ),
    "Findings that are listed apart and not counted, until a date. The first that matches applies.",
    record=Config,
    field="ignored_savings",
)
ADVISE = Key("advise", group((IGNORED,)), "Savings that the verb `advise` finds.")


def _config(mapping: MappingNode) -> Config:
    # A list without items is as good as none: without budgets the default one applies.
    given = {field: value for field, value in mapping.filled().items() if value != ()}
    servers = with_gateway_pages(mapping.get(SERVERS) or ())
    engines = {engine.name: engine for engine in mapping.get(ENGINES_KEY) or ()}
    return Config(
        catalogue=mapping.context.catalogue,
        servers=tuple(entry for entry in servers if isinstance(entry, ConfiguredServer)),
        server_rules=tuple(
            _found_by(engines.get(entry.engine or ""), entry)
            for entry in servers
            if isinstance(entry, ServerRule)
        ),
        **given,
    )


def _found_by(engine: Engine | None, rule: ServerRule) -> ServerRule:
    """A rule with the port and path of its engine, where the file describes that engine."""
    if engine is None:
        return rule
    path = rule.metrics_path or engine.default_path
    return replace(rule, engine_port=engine.default_port, metrics_path=path)


DOCUMENT = Table(
    (
        INTERVAL,
        TIMEZONE,
        HOURS_PER_MONTH,
        OWNERSHIP,
        BUDGETS,
        HARDWARE,
        UNMATCHED,
        RETIRED,
        OVERHEADS,
        SERVERS,
        ENGINES_KEY,
        SPLIT,
        COMPARE,
        ADVISE,
        DISCOVERY,
        LIMITS,
        GAP,
        LEDGER,
        PRICES,
    ),
    _config,
    (engines_are_known,),
)

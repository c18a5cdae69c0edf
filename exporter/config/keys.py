"""The whole schema: every key of the file, in the order of its documentation."""

from decimal import Decimal
from pathlib import Path
from typing import Final

from exporter.config.hardware import DOLLARS_PER_HOUR, DOLLARS_PER_YEAR, HARDWARE, UNMATCHED
from exporter.config.kubernetes import KUBELET_CA_FILE, KUBERNETES, POD_LABELS
from exporter.config.schema import Context, Key, ListItem, ListOf, MappingNode, Table, exactly_one
from exporter.config.servers import SERVERS
from exporter.config.settings import (
    DEFAULT_BUDGETS,
    DEFAULT_LEDGER,
    DEFAULT_PRICES,
    Budget,
    CloudChoice,
    Config,
    ConfiguredServer,
    GpusChoice,
    PodLabels,
    ServerRule,
)
from exporter.config.times import DateValue, TimeValue, ZoneValue
from exporter.config.values import (
    DOLLAR_DECIMALS,
    AbsolutePath,
    Choice,
    Duration,
    Label,
    Name,
    Number,
    Pattern,
    Truth,
    Whole,
)
from exporter.cost.policy import CardinalityLimits, OwnershipRule, SplitMethod, SplitRule, Weights
from exporter.cost.postings import UNASSIGNED
from exporter.tariff.hosted import PRICE_DECIMALS, HostedPrice
from exporter.tariff.terms import Overhead, Per, Period, Retirement

UUID = Key("uuid", Label("GPU's UUID", exact=True), "The GPU's UUID, exactly as NVML said it.", required=True)
SINCE = Key(
    "from",
    TimeValue(),
    "When it left: a date (the first instant of that local day) or a time, as prices have it.",
    required=True,
)
NOTE = Key("note", Label("note"), "A word for whoever asks where it is.", default=None)


def _retirement(block: MappingNode) -> Retirement:
    since = block[SINCE]
    return Retirement(block[UUID], since.instant, since.text, block.get(NOTE) or "")


def _gpus_are_told_once(items: list[ListItem[Retirement]], walk: Context) -> bool:
    good = True
    seen: dict[str, str] = {}
    for item in items:
        if item.value.uuid in seen:
            message = f'"{item.value.uuid}" is already given by {seen[item.value.uuid]}; give it once'
            item.refuse(UUID.name, message, walk)
            good = False
        seen.setdefault(item.value.uuid, item.path)
    return good


RETIRED = Key(
    "retired",
    ListOf(Table((UUID, SINCE, NOTE), _retirement, words="GPU"), (_gpus_are_told_once,)),
    "GPUs that were taken out for good: sold, returned, scrapped. From then on they cost nothing; what was "
    "charged stays, and one that NVML still shows is charged on.",
)


PER_MILLION = Number("dollars per million tokens", Decimal(10_000), decimals=PRICE_DECIMALS)

REFERENCE = Key(
    "name",
    Label("name"),
    "The offer's name, like together-turbo: the label reference of the metrics.",
    required=True,
)
COMPARE_SERVER = Key("server", Pattern(), "The server's name.")
COMPARE_MODEL = Key("model", Pattern(), "The model's name, as the engine tells it.")
COMPARE_MATCH = Key(
    "match",
    Table(
        (COMPARE_SERVER, COMPARE_MODEL), lambda block: (block.get(COMPARE_SERVER), block.get(COMPARE_MODEL))
    ),
    "Whose tokens are compared with it; all patterns given must match. Without it: everybody's.",
)
PROMPT_PRICE = Key(
    "prompt_dollars_per_million_tokens",
    PER_MILLION,
    "What a million prompt tokens cost there.",
    required=True,
)
CACHED_PRICE = Key(
    "cached_prompt_dollars_per_million_tokens",
    PER_MILLION,
    "What a million prompt tokens from its cache cost there; without it, as any prompt tokens.",
)
GENERATION_PRICE = Key(
    "generation_dollars_per_million_tokens",
    PER_MILLION,
    "What a million generated tokens cost there.",
    required=True,
)
AS_OF = Key("as_of", DateValue(), "The date on which the price was read.")


def _hosted(block: MappingNode) -> HostedPrice:
    server, model = block.get(COMPARE_MATCH) or (None, None)
    read = block.get(AS_OF)
    return HostedPrice(
        reference=block[REFERENCE],
        prompt=block[PROMPT_PRICE],
        generation=block[GENERATION_PRICE],
        cached_prompt=block.get(CACHED_PRICE),
        server=server,
        model=model,
        as_of="" if read is None else read.text,
    )


def _names_are_told_once(items: list[ListItem[HostedPrice]], walk: Context) -> bool:
    """A name is one series with one price: two models at one provider are two offers."""
    good = True
    seen: dict[str, str] = {}
    for item in items:
        name = item.value.reference
        if name in seen:
            item.refuse(REFERENCE.name, f'"{name}" is already given by {seen[name]}; choose another', walk)
            good = False
        seen.setdefault(name, item.path)
    return good


COMPARE = Key(
    "compare",
    ListOf(
        Table(
            (REFERENCE, COMPARE_MATCH, PROMPT_PRICE, CACHED_PRICE, GENERATION_PRICE, AS_OF),
            _hosted,
            words="offer",
        ),
        (_names_are_told_once,),
    ),
    "Hosted offers to compare with: what the tokens served here would have cost there.",
)


COMPONENTS: Final = ("rent", "amortization", "support", "insurance", "energy", "adjustment")
"""Components that the program itself posts to."""

OVERHEAD_NAME = Key(
    "name",
    Name("component name", reserved=COMPONENTS),
    "The component that the amount is posted to, like storage or network.",
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
PER_CHOICE: Choice[Per] = Choice(("gpu", "host", "fleet"))
PER = Key(
    "per",
    PER_CHOICE,
    "What the amount is for: each GPU, each host, or the whole fleet once. A host's amount is spread over "
    "its GPUs; a fleet's never enters a host's books: the fleet rules record it beside them.",
    required=True,
)
OVERHEAD_HOST = Key("host", Pattern(), "The host's name.")
OVERHEAD_MATCH = Key(
    "match",
    Table((OVERHEAD_HOST,), lambda block: block.get(OVERHEAD_HOST)),
    "Which hosts; without it every host. Not with per: fleet.",
)


def _overhead(block: MappingNode) -> Overhead:
    key, period = next((key, period) for key, period in PERIODS if key in block)
    return Overhead(
        name=block[OVERHEAD_NAME],
        amount_dollars=block[key],
        period=period,
        per=block[PER],
        source=block.path,
        host=block.get(OVERHEAD_MATCH),
    )


def _fleet_is_everywhere(block: MappingNode) -> bool:
    if block.values.get(PER.name) != "fleet" or OVERHEAD_MATCH not in block:
        return True
    block.refuse(OVERHEAD_MATCH, "goes with per: gpu or host; a fleet's amount has no host, remove it")
    return False


def _components_are_told_once(items: list[ListItem[Overhead]], walk: Context) -> bool:
    """One name twice is fine for different hosts, and a mistake where both would be charged to one host."""
    good = True
    seen: dict[str, list[Overhead]] = {}
    for item in items:
        for other in seen.setdefault(item.value.name, []):
            if None in (item.value.host, other.host) or item.value.host == other.host:
                message = f'"{other.name}" is already given by {other.source}; choose another name'
                item.refuse(OVERHEAD_NAME.name, message, walk)
                good = False
                break
        seen[item.value.name].append(item.value)
    return good


OVERHEADS = Key(
    "overheads",
    ListOf(
        Table(
            (OVERHEAD_NAME, PER_HOUR, PER_MONTH, PER_YEAR, PER, OVERHEAD_MATCH),
            _overhead,
            (exactly_one(PER_HOUR, PER_MONTH, PER_YEAR), _fleet_is_everywhere),
            words="amount",
        ),
        (_components_are_told_once,),
    ),
    "Named amounts beside the hardware, each its own component.",
)

BUDGET_NAME = Key("name", Label("name"), "The budget's name; alerts and dashboards show it.", required=True)
BUDGET_PRODUCT = Key("product", Label("product", exact=True), "The product, exactly as ownership names it.")
BUDGET_MATCH = Key(
    "match",
    Table((BUDGET_PRODUCT,), lambda block: block.get(BUDGET_PRODUCT) or ""),
    "Whose spending counts; without it that of the whole fleet.",
)
BUDGET_DOLLARS = Key(
    "dollars_per_month",
    Number("dollars per month", Decimal(1_000_000_000), above_low=True, decimals=DOLLAR_DECIMALS),
    "What may be spent in a calendar month.",
    required=True,
)


def _budget(block: MappingNode) -> Budget:
    return Budget(block[BUDGET_NAME], block.get(BUDGET_MATCH) or "", block[BUDGET_DOLLARS])


def _amounts_names_are_told_once(items: list[ListItem[Budget]], walk: Context) -> bool:
    good = True
    seen: dict[str, str] = {}
    for item in items:
        if item.value.name in seen:
            message = f'"{item.value.name}" is already given by {seen[item.value.name]}; choose another name'
            item.refuse(BUDGET_NAME.name, message, walk)
            good = False
        seen.setdefault(item.value.name, item.path)
    return good


BUDGETS = Key(
    "budgets",
    ListOf(
        Table((BUDGET_NAME, BUDGET_MATCH, BUDGET_DOLLARS), _budget, words="budget"),
        (_amounts_names_are_told_once,),
    ),
    "Monthly budgets; without any there is one, fleet, of 27000 dollars for everything.",
)


INTERVAL = Key(
    "interval",
    Duration("1s", "15s"),
    "How often everything is read; NVML's ring of samples holds about 16 s.",
    default="10s",
)
TIMEZONE = Key(
    "timezone", ZoneValue(), "Where months and dates begin: a name of the IANA database.", default="UTC"
)
HOURS_PER_MONTH = Key(
    "hours_per_month",
    Number("hours", Decimal(744), Decimal(672)),
    "Hours of the monthly run-rate; amounts per month accrue by the calendar whatever it says.",
    default="730",
)

OWNER_NAMESPACE = Key("namespace", Pattern(), "The server's namespace.")
OWNER_SERVER = Key("server", Pattern(), "The server's name.")
OWNER_MATCH = Key(
    "match",
    Table(
        (OWNER_NAMESPACE, OWNER_SERVER), lambda block: (block.get(OWNER_NAMESPACE), block.get(OWNER_SERVER))
    ),
    "Which servers; all patterns given must match. Without it: every server.",
)
PRODUCT = Key("product", Label("product"), "The product that pays.", default=UNASSIGNED)
TEAM = Key("team", Label("team"), "The team that answers for it.", default=UNASSIGNED)


def _names_an_owner(block: MappingNode) -> bool:
    if PRODUCT in block or TEAM in block:
        return True
    block.refuse(None, "names no owner; give product, team or both")
    return False


def _owner(block: MappingNode) -> OwnershipRule:
    namespace, server = block.get(OWNER_MATCH) or (None, None)
    return OwnershipRule(product=block[PRODUCT], team=block[TEAM], namespace=namespace, server=server)


RULES = Key(
    "rules",
    ListOf(Table((OWNER_MATCH, PRODUCT, TEAM), _owner, (_names_an_owner,), words="rule")),
    "Who pays for which servers; the first rule that matches decides, and without one it is unassigned.",
)
OWNERSHIP = Key(
    "ownership",
    Table((POD_LABELS, RULES), lambda block: (block.get(RULES) or (), block.get(POD_LABELS) or PodLabels())),
    "Who pays. A change holds from then on and never moves posted money.",
)

WEIGHT = Number("weight", Decimal(1000))
POSITIVE_WEIGHT = Number("weight", Decimal(1000), above_low=True)
PROMPT = Key("prompt", POSITIVE_WEIGHT, "What a computed prompt token weighs.", default="1")
CACHED_PROMPT = Key(
    "cached_prompt", WEIGHT, "What a prompt token from the prefix cache weighs.", default="0.1"
)
GENERATION = Key("generation", POSITIVE_WEIGHT, "What a generated token weighs.", default="3")
METHODS: Choice[SplitMethod] = Choice(("auto", "engine", "time", "weights"))
METHOD = Key(
    "method",
    METHODS,
    "How busy money is split between prefill and decode: engine by the GPU seconds that the engine itself "
    "tells of each, time by the seconds that its requests spent in each, weights by the tokens. Auto takes "
    "the first of them that the server offers; a method that it does not offer gives way to those after it.",
    default="auto",
)
WEIGHTS = Key(
    "weights",
    Table(
        (PROMPT, CACHED_PROMPT, GENERATION),
        lambda block: Weights(block[PROMPT], block[CACHED_PROMPT], block[GENERATION]),
    ),
    "What tokens weigh where nothing measures it: an assumption. The price of a cached prompt token rests on "
    "it always, prefill against decode under the method weights only.",
)
SPLIT_SERVER = Key("server", Pattern(), "The server's name.")
SPLIT_MODEL = Key("model", Pattern(), "The model's name, as the engine tells it.")
SPLIT_MATCH = Key(
    "match",
    Table((SPLIT_SERVER, SPLIT_MODEL), lambda block: (block.get(SPLIT_SERVER), block.get(SPLIT_MODEL))),
    "Which servers and models; all patterns given must match.",
    required=True,
)
OTHER_METHOD = Key("method", METHODS, "As split.method.")
OTHER_PROMPT = Key("prompt", POSITIVE_WEIGHT, "As split.weights.prompt.")
OTHER_CACHED_PROMPT = Key("cached_prompt", WEIGHT, "As split.weights.cached_prompt.")
OTHER_GENERATION = Key("generation", POSITIVE_WEIGHT, "As split.weights.generation.")
OTHER_WEIGHTS = Key(
    "weights",
    Table((OTHER_PROMPT, OTHER_CACHED_PROMPT, OTHER_GENERATION), lambda block: block),
    "As split.weights; a weight that is not given is taken from there.",
)
OVERRIDES = Key(
    "overrides",
    ListOf(Table((SPLIT_MATCH, OTHER_METHOD, OTHER_WEIGHTS), lambda block: block, words="rule")),
    "Exceptions, first match wins; what an exception does not say is taken from above.",
)


def _weights(given: MappingNode | None, otherwise: Weights) -> Weights:
    if given is None:
        return otherwise
    cached_prompt = given.get(OTHER_CACHED_PROMPT)
    return Weights(
        prompt=given.get(OTHER_PROMPT) or otherwise.prompt,
        cached_prompt=otherwise.cached_prompt if cached_prompt is None else cached_prompt,
        generation=given.get(OTHER_GENERATION) or otherwise.generation,
    )


def _split(block: MappingNode) -> tuple[SplitRule, ...]:
    whole = SplitRule(method=block[METHOD], weights=block.get(WEIGHTS) or Weights())
    exceptions = []
    for override in block.get(OVERRIDES) or ():
        server, model = override[SPLIT_MATCH]
        exceptions.append(
            SplitRule(
                server=server,
                model=model,
                method=override.get(OTHER_METHOD) or whole.method,
                weights=_weights(override.get(OTHER_WEIGHTS), whole.weights),
            )
        )
    return (*exceptions, whole)


SPLIT = Key(
    "split",
    Table((METHOD, WEIGHTS, OVERRIDES), _split),
    "How the busy money of a server is split between prefill and decode.",
)

CLOUDS: Choice[CloudChoice] = Choice(("auto", "off", "aws", "gcp", "azure", "oci", "nebius"))
CLOUD = Key(
    "cloud",
    CLOUDS,
    "Whose metadata service is asked for instance type, region and lifecycle: auto asks the cloud that the "
    "machine's firmware names, and nobody where it names none; off asks nobody and reads no firmware; a "
    "cloud's name asks that cloud whatever the firmware says.",
    default="auto",
)
PROCESSES = Key(
    "processes",
    Truth(),
    "Whether the processes that compute on the GPUs are looked at, to find which servers hold them and where "
    "they are read; false leaves only what servers says.",
    default="true",
)
LISTED: Choice[GpusChoice] = Choice(("auto", "all", "visible"))
GPUS = Key(
    "gpus",
    LISTED,
    "Which GPUs of the machine are charged where a rule's gpus_per_host, or the instance type, says that it "
    "has more than NVML lists: all, or the visible ones, as where two exporters are given half of them each. "
    "With auto it is all where NVIDIA_VISIBLE_DEVICES is all or not set in the exporter's environment.",
    default="auto",
)
DISCOVERY = Key(
    "discovery",
    Table((PROCESSES, GPUS, CLOUD, KUBERNETES, KUBELET_CA_FILE), lambda block: block),
    "What is found out without being told here.",
)

MODELS = Key("models", Whole("models", 1, 1000), "Models of a host beyond it go under other.", default="50")
MOST_SERVERS = Key(
    "servers", Whole("servers", 1, 1000), "Servers of a host beyond it go under other.", default="50"
)
BODY_BYTES = Key(
    "body_bytes",
    Whole("bytes", 65_536, 67_108_864),
    "The longest answer of a server that is read; a longer one is a failed read.",
    default="8388608",
)
PARTIES = Key(
    "parties",
    Whole("parties", 1, 1000),
    "Teams and adapters of a host that gateways name, counted for each model of a server; beyond it they go "
    "under other.",
    default="50",
)
LIMITS = Key(
    "limits",
    Table(
        (MODELS, MOST_SERVERS, BODY_BYTES, PARTIES),
        lambda block: CardinalityLimits(
            block[MODELS], block[MOST_SERVERS], block[BODY_BYTES], block[PARTIES]
        ),
    ),
    "Bounds on what one host exports and reads.",
)

GAP_DAYS = Key(
    "max_days",
    Number("days", Decimal(366)),
    "The longest time without a tick that is charged; what is longer is counted and not charged.",
    default="7",
)
GAP = Key(
    "gap",
    Table((GAP_DAYS,), lambda block: block[GAP_DAYS]),
    "What is charged for the time that nobody metered: a daemon or a host that was down, a suspended host.",
)

LEDGER_PATH = Key(
    "path",
    AbsolutePath(),
    "The file that holds the books; the folder must be writable and must outlive a restart.",
    default=str(DEFAULT_LEDGER),
)
LEDGER = Key(
    "ledger", Table((LEDGER_PATH,), lambda block: block[LEDGER_PATH]), "Where the running totals are kept."
)

PRICES_PATH = Key(
    "path",
    AbsolutePath(),
    "The price file, as `prices update` writes it; it must exist where a path is given here.",
    default=str(DEFAULT_PRICES),
)
PRICES = Key(
    "prices",
    Table((PRICES_PATH,), lambda block: block[PRICES_PATH]),
    "A list of instance prices that replaces the bundled one; without a file the bundled one is used.",
)


def config(block: MappingNode, path: Path | None = None, file_hash: str = "") -> Config:
    """The configuration of a document whose keys are all good."""
    rules, pod_labels = block.get(OWNERSHIP) or ((), PodLabels())
    servers, discovery = block.get(SERVERS) or (), block.get(DISCOVERY)
    return Config(
        path=path,
        hash=file_hash,
        interval=block[INTERVAL],
        timezone=block[TIMEZONE],
        hours_per_month=block[HOURS_PER_MONTH],
        ownership=rules,
        budgets=block.get(BUDGETS) or DEFAULT_BUDGETS,
        hardware=block.get(HARDWARE) or (),
        unmatched_hardware=block[UNMATCHED],
        retired=block.get(RETIRED) or (),
        overheads=block.get(OVERHEADS) or (),
        servers=tuple(entry for entry in servers if isinstance(entry, ConfiguredServer)),
        server_rules=tuple(entry for entry in servers if isinstance(entry, ServerRule)),
        split=block.get(SPLIT) or (),
        compare=block.get(COMPARE) or (),
        limits=block.get(LIMITS) or CardinalityLimits(),
        cloud=Config().cloud if discovery is None else discovery[CLOUD],
        processes=Config().processes if discovery is None else discovery[PROCESSES],
        gpus=Config().gpus if discovery is None else discovery[GPUS],
        kubernetes=Config().kubernetes if discovery is None else discovery[KUBERNETES],
        kubelet_ca_file=None if discovery is None else discovery.get(KUBELET_CA_FILE),
        pod_labels=pod_labels,
        gap_max_days=Config().gap_max_days if block.get(GAP) is None else block[GAP],
        ledger_path=block.get(LEDGER) or DEFAULT_LEDGER,
        prices_path=block.get(PRICES) or DEFAULT_PRICES,
        catalogue=block.walk.catalogue,
    )


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
        SPLIT,
        COMPARE,
        DISCOVERY,
        LIMITS,
        GAP,
        LEDGER,
        PRICES,
    ),
    config,
)

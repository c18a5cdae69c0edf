"""The whole schema: every key of the file, in the order of its documentation."""

from decimal import Decimal
from pathlib import Path

from exporter.config.amounts import BUDGETS, OVERHEADS
from exporter.config.comparison import COMPARE
from exporter.config.endpoints import SERVERS
from exporter.config.hardware import HARDWARE, UNMATCHED
from exporter.config.kubernetes import KUBELET_CA_FILE, KUBERNETES, POD_LABELS
from exporter.config.moments import Zone
from exporter.config.retired import RETIRED
from exporter.config.schema import Block, Key, ListOf, Table
from exporter.config.settings import (
    DEFAULT_BUDGETS,
    DEFAULT_LEDGER,
    DEFAULT_PRICES,
    CloudChoice,
    Config,
    GpusChoice,
    PodLabels,
    Server,
    ServerRule,
)
from exporter.config.values import AbsolutePath, Choice, Duration, Label, Number, Pattern, Truth, Whole
from exporter.cost.policy import Limits, OwnershipRule, SplitMethod, SplitRule, Weights
from exporter.cost.postings import UNASSIGNED

INTERVAL = Key(
    "interval",
    Duration("1s", "15s"),
    "How often everything is read; NVML's ring of samples holds about 16 s.",
    default="10s",
)
TIMEZONE = Key(
    "timezone", Zone(), "Where months and dates begin: a name of the IANA database.", default="UTC"
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


def _names_an_owner(block: Block) -> bool:
    if PRODUCT in block or TEAM in block:
        return True
    block.refuse(None, "names no owner; give product, team or both")
    return False


def _owner(block: Block) -> OwnershipRule:
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


def _weights(given: Block | None, otherwise: Weights) -> Weights:
    if given is None:
        return otherwise
    cached_prompt = given.get(OTHER_CACHED_PROMPT)
    return Weights(
        prompt=given.get(OTHER_PROMPT) or otherwise.prompt,
        cached_prompt=otherwise.cached_prompt if cached_prompt is None else cached_prompt,
        generation=given.get(OTHER_GENERATION) or otherwise.generation,
    )


def _split(block: Block) -> tuple[SplitRule, ...]:
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
        lambda block: Limits(block[MODELS], block[MOST_SERVERS], block[BODY_BYTES], block[PARTIES]),
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


def config(block: Block, path: Path | None = None, file_hash: str = "") -> Config:
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
        servers=tuple(entry for entry in servers if isinstance(entry, Server)),
        server_rules=tuple(entry for entry in servers if isinstance(entry, ServerRule)),
        split=block.get(SPLIT) or (),
        compare=block.get(COMPARE) or (),
        limits=block.get(LIMITS) or Limits(),
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

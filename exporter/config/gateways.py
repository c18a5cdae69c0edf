"""The keys of `servers[].divide`: a gateway whose counts divide a server's cost."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, TypeAlias, get_args
from urllib.parse import urlsplit

from exporter.config.document import Node, Scalar, Sequence
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import (
    Context,
    Key,
    ListItem,
    ListOf,
    MappingNode,
    Table,
    builds,
    describe,
    unique,
)
from exporter.config.settings import (
    ConfiguredServer,
    GatewayDivision,
    GatewayPageRule,
    GatewayTenant,
    ServerRule,
)
from exporter.config.urls import Url
from exporter.config.values import (
    NO_UID,
    AbsolutePath,
    Choice,
    Label,
    Pattern,
    ScalarValidator,
    User,
    has_wildcards,
    uid_of,
)
from exporter.engines.exposition import parsed
from exporter.engines.gateways import Shares, TokenSeries, with_counters
from exporter.engines.spec import overlap
from exporter.frozen import dataclass, replace
from exporter.readings import DividedBy, Division

LABELS_MAX: Final = 8
"""Labels that together name a tenant."""

WILDCARDS_MAX: Final = 100
"""Tenants whose match has wildcards."""

SERIES_CHARACTERS: Final = 512

_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}", re.ASCII)

_WORDS: Final[Choice[DividedBy]] = Choice(get_args(DividedBy))

By: TypeAlias = DividedBy | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricLabel(ScalarValidator[str]):
    """The name of a label, as Prometheus has it."""

    expected: str = "label"

    @property
    def example(self) -> str:
        """A label that a gateway may have."""
        return "label like tenant_id"

    def parse(self, written: Scalar) -> str:
        """The name itself."""
        if not _LABEL_NAME.fullmatch(written.text):
            raise RefusedError(f"{shown(written.text)} is no label; write letters, digits and underscores")
        return written.text


@dataclass(frozen=True, slots=True)
class UnitOfDivision:
    """One of the words, or a list of labels."""

    @property
    def expected(self) -> str:
        """The words, or a list."""
        return f"{', '.join(_WORDS.options)} or list of labels"

    def read(self, node: Node, path: str, context: Context) -> By:
        """As `Validator.read`."""
        if isinstance(node, Scalar):
            try:
                return _WORDS.read(node, path, context)
            except RefusedError as refused:
                raise RefusedError(f"{refused}; labels go into a list, like [tenant_id]") from None
        if not isinstance(node, Sequence):
            raise RefusedError(f"must be {self.expected}, not {describe(node)}")
        if not 1 <= len(node.items) <= LABELS_MAX:
            raise RefusedError(f"has {len(node.items)} labels; it takes 1 to {LABELS_MAX}")
        return ListOf(MetricLabel(), (unique("", str, "keep one"),)).read(node, path, context)


@dataclass(frozen=True, slots=True)
class SeriesChoice(ScalarValidator[TokenSeries]):
    """The name of a counter as it is on the page, with labels and values that it must have."""

    expected: str = "series"

    @property
    def example(self) -> str:
        """A counter, and one of its kinds."""
        return 'series like tokens_total or tokens_total{type="input"}'

    def parse(self, written: Scalar) -> TokenSeries:
        """The series that was written."""
        text = written.text
        line = parsed(f"{text} 0".encode()) if len(text) <= SERIES_CHARACTERS else None
        if line is None or not re.fullmatch(r"[^\s{]+(\{.*\})?", text):
            raise RefusedError(f"{shown(text)} is no series; write a {self.example}")
        if line.name.endswith("_bucket"):
            raise RefusedError(
                f"{shown(text)} counts requests; write {line.name.removesuffix('_bucket')}_sum"
            )
        return TokenSeries(line.name, tuple((name, (value,)) for name, value in line.labels.items()))


BY: Final[Key[By]] = Key(
    "by",
    UnitOfDivision(),
    "Unit of division. team: the teams that LiteLLM or Bifrost reports, each in place of the server's own. "
    "adapter: LoRA adapters, each as a model of the server. A list: the labels that name a tenant.",
    required=True,
)
GATEWAY = Key(
    "gateway",
    Url(instead="bearer_token_file"),
    "Where the gateway's metrics are scraped. LiteLLM proxy: /metrics/, with a slash at its end.",
    required=True,
)
LISTENING_USER: Final = Key(
    "user",
    User(),
    "The user whose process listens at the URL on this host. The page of any other process is not read.",
)


def user_goes_with_an_address(url: Key[str]) -> Callable[[MappingNode], None]:
    """A rule: who listens is known at an address of this host."""

    def check(mapping: MappingNode) -> None:
        host = urlsplit(mapping.get(url) or "").hostname or "localhost"
        with suppress(ValueError):
            ip_address(host)
            return
        if LISTENING_USER in mapping and host != "localhost":
            mapping.refuse(LISTENING_USER, f"goes with localhost or an IP address in {url.name}")

    return check


def listening_uid(mapping: MappingNode) -> int | None:
    """The uid of the user who must listen; that of nobody where this machine does not know the name."""
    user = mapping.get(LISTENING_USER)
    if user is None:
        return None
    uid = uid_of(user)
    return NO_UID if uid is None else uid


MODELS = Key(
    "models",
    ListOf(Pattern(), least=1),
    "Patterns of the gateway's names for this server's models, without the provider and its slash. By team "
    "or tenant, in addition to the server's own names; by adapter, the names of its adapters in vLLM.",
)
DEPLOYMENTS = Key(
    "deployments",
    ListOf(Label("deployment"), least=1),
    "The model_id of the LiteLLM proxy's deployments that lead to this server. Without it: all that "
    "serve its models, except those that another server's entry names.",
)
TENANT_MATCH = Key(
    "match",
    Pattern(),
    "Pattern of the label's value; of several labels, their values with / between them.",
    record=GatewayTenant,
    required=True,
)
TENANT_TEAM = Key("team", Label("team"), "The team that pays.", record=GatewayTenant, required=True)
TENANT_PRODUCT = Key(
    "product", Label("product"), "The product that pays; the server's own without it.", record=GatewayTenant
)


def _few_have_wildcards(items: list[ListItem[GatewayTenant]]) -> None:
    """Each of the 20,000 series of a page may be of a tenant that every pattern is compared with."""
    patterns = [item for item in items if has_wildcards(item.value.match)]
    for item in patterns[WILDCARDS_MAX : WILDCARDS_MAX + 1]:
        message = f"at most {WILDCARDS_MAX} tenants may have * ? or [; write the others in full"
        item.refuse(TENANT_MATCH.name, message)


TENANTS = Key(
    "tenants",
    ListOf(
        Table((TENANT_MATCH, TENANT_PRODUCT, TENANT_TEAM), builds(GatewayTenant), expected="tenant"),
        (_few_have_wildcards,),
        least=1,
    ),
    "Who pays for which tenant, with a list in by. The first match decides; one without a match is of team "
    "other. Only doctor shows a tenant's own name. One entry of a gateway gives them for all.",
    record=GatewayPageRule,
)
PROMPT = Key("prompt", SeriesChoice(), "Prompt tokens, cached ones included.")
CACHED_PROMPT = Key(
    "cached_prompt",
    SeriesChoice(),
    "Those of the prompt tokens that a prefix cache served. With it they weigh less, for each tenant alike. "
    "A page that counts prompts must have it.",
)
GENERATION = Key("generation", SeriesChoice(), "Generated tokens.")


def _counts_something(mapping: MappingNode) -> None:
    if PROMPT not in mapping and GENERATION not in mapping:
        mapping.refuse(None, "counts no tokens; give prompt, generation or both")
    if CACHED_PROMPT in mapping and PROMPT not in mapping:
        mapping.refuse(CACHED_PROMPT, "is a part of prompt, which is missing; give both")
    earlier: dict[str, TokenSeries] = {}
    for key in (PROMPT, CACHED_PROMPT, GENERATION):
        if (series := mapping.get(key)) is not None:
            same = next((name for name, other in earlier.items() if _overlap(series, other)), None)
            if same is not None:
                mapping.refuse(key, f"counts series that {same} counts; give a label that tells them apart")
            earlier[key.name] = series


def _overlap(one: TokenSeries, other: TokenSeries) -> bool:
    return one.name == other.name and overlap(one.where, other.where)


COUNTERS = Key(
    "counters",
    Table((PROMPT, CACHED_PROMPT, GENERATION), lambda mapping: mapping, (_counts_something,)),
    "Counters of a gateway that is not in [Gateways](engines.md#gateways), or in place of those there, whose "
    "other labels stay. "
    "Exact names, also of the `_sum` of a histogram. One entry of a gateway gives them for all.",
)
MODEL_LABEL = Key(
    "model_label",
    MetricLabel(),
    "The label of these counters for the model; without it, of a built-in gateway its own.",
    default="model",
)
BEARER_TOKEN_FILE = Key(
    "bearer_token_file",
    AbsolutePath(),
    "A file with the token to send; the LiteLLM proxy needs one.",
    record=GatewayDivision,
)
CA_FILE = Key(
    "ca_file", AbsolutePath(), "A file of certificates (PEM) to trust; https only.", record=GatewayDivision
)


def _adapters_have_models(mapping: MappingNode) -> None:
    if mapping[BY] == "adapter" and MODELS not in mapping:
        mapping.refuse(
            None,
            "says nothing of the adapters: give models, the names of its adapters, "
            'or ["*"] where the gateway leads to this server alone',
        )


def _certificates_go_with_https(mapping: MappingNode) -> None:
    if CA_FILE in mapping and urlsplit(mapping[GATEWAY]).scheme != "https":
        mapping.refuse(CA_FILE, "goes with an https URL only; remove it or write https")


def _tenants_go_with_labels(mapping: MappingNode) -> None:
    by = mapping[BY]
    if isinstance(by, str) and TENANTS in mapping:
        mapping.refuse(TENANTS, "go with a list of labels in by, like [tenant_id]; remove them or write one")
    shares = _shares(mapping)
    if by == "team" and shares is not None and not shares.teams:
        mapping.refuse(COUNTERS, "have no label that is known to name teams; write it in by, like [team]")
    if MODEL_LABEL in mapping and COUNTERS not in mapping:
        mapping.refuse(MODEL_LABEL, "goes with counters only; remove it or give counters")


def _shares(mapping: MappingNode) -> Shares | None:
    counters = mapping.get(COUNTERS)
    if counters is None:
        return None
    prompt, cached, generation = (
        () if (series := counters.get(key)) is None else (series,)
        for key in (PROMPT, CACHED_PROMPT, GENERATION)
    )
    shares = Shares(prompt, generation, mapping[MODEL_LABEL], cached=cached)
    known = with_counters(shares.names)
    if known is None:
        return shares
    if MODEL_LABEL in mapping:
        known = replace(known, model=shares.model)
    return replace(known, prompt=prompt, generation=generation, cached=cached)


def _divide(mapping: MappingNode) -> GatewayDivision:
    by, shares = mapping[BY], _shares(mapping)
    division = Division(
        by if isinstance(by, str) else "team",
        mapping[GATEWAY],
        mapping.get(MODELS) or (),
        mapping.get(DEPLOYMENTS) or (),
    )
    fields = mapping.filled()
    page = GatewayPageRule(() if isinstance(by, str) else by, fields.pop(TENANTS.name, ()), shares)
    return GatewayDivision(division, page=page, uid=listening_uid(mapping), **fields)


DIVIDE = Key(
    "divide",
    Table(
        (
            BY,
            GATEWAY,
            LISTENING_USER,
            TENANTS,
            MODELS,
            DEPLOYMENTS,
            COUNTERS,
            MODEL_LABEL,
            BEARER_TOKEN_FILE,
            CA_FILE,
        ),
        _divide,
        (
            *(_adapters_have_models, _certificates_go_with_https, _tenants_go_with_labels),
            user_goes_with_an_address(GATEWAY),
        ),
    ),
    "Divides a server's cost and tokens by the counts of a gateway in front of it. The rest stays with the "
    "server's owner, as does everything before the first count.",
    record=ServerRule,
)


Entry: TypeAlias = ConfiguredServer | ServerRule


def gateways_are_consistent(items: list[ListItem[Entry]]) -> None:
    """A gateway may divide many servers. It is scraped once, and it is no server itself."""
    servers = {item.value.url: item.path for item in items if isinstance(item.value, ConfiguredServer)}
    pages = _pages(item.value for item in items)
    gateways: dict[str, tuple[str, GatewayDivision]] = {}
    for item in items:
        if (divide := item.value.divide) is None:
            continue
        url = divide.division.gateway
        path, other = gateways.setdefault(url, (item.path, divide))
        page = pages[url]
        if url in servers:
            message = f"its gateway is {servers[url]}, which is a server; give the gateway's own URL"
        elif (divide.bearer_token_file, divide.ca_file) != (other.bearer_token_file, other.ca_file):
            message = f"its gateway is read with other files by {path}; give both the same"
        elif divide.uid != other.uid:
            message = f"its gateway is read for another user by {path}; give both the same"
        elif divide.page.labels != other.page.labels:
            message = f"its gateway has other labels in {path}; give both the same"
        elif divide.page.tenants not in ((), page.tenants) or divide.page.shares not in (None, page.shares):
            message = "its gateway has other tenants or counters in an entry above; give them once"
        elif divide.division.deployments and page.shares is not None and not page.shares.deployment:
            message = (
                "names deployments, and its gateway's counters have no label for them; remove deployments"
            )
        elif divide.page.labels and not page.tenants:
            message = "names no tenants, so that all would be of team other; give tenants"
        else:
            continue
        item.refuse(DIVIDE.name, message)


def with_gateway_pages(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries, each with the tenants and counters that any entry of its gateway gives."""
    entries = tuple(entries)
    pages = _pages(entries)

    def filled(entry: Entry) -> Entry:
        if entry.divide is None:
            return entry
        page = pages[entry.divide.division.gateway]
        division = replace(entry.divide.division, cached=page.shares is not None and bool(page.shares.cached))
        return replace(entry, divide=replace(entry.divide, division=division, page=page))

    return tuple(map(filled, entries))


def _pages(entries: Iterable[Entry]) -> dict[str, GatewayPageRule]:
    """By the URL of a gateway, what the first of its entries with it says."""
    pages: dict[str, GatewayPageRule] = {}
    for entry in entries:
        if (divide := entry.divide) is not None:
            page = pages.get(divide.division.gateway, divide.page)
            pages[divide.division.gateway] = GatewayPageRule(
                page.labels, page.tenants or divide.page.tenants, page.shares or divide.page.shares
            )
    return pages

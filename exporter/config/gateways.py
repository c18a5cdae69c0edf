"""The keys of `servers[].divide`: a gateway whose counts divide a server's cost."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Annotated, Final, TypeAlias, get_args
from urllib.parse import urlsplit

from exporter.config.document import Node, Scalar, Sequence
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import ListItem, ListOf, Model, Table, unique
from exporter.config.settings import (
    ConfiguredServer,
    GatewayDivision,
    GatewayPageRule,
    GatewayTenant,
    ServerRule,
)
from exporter.config.urls import scraped_url
from exporter.config.values import (
    PATTERN,
    USER,
    Choice,
    Context,
    Custom,
    Label,
    PathOnHost,
    PatternText,
    Text,
    describe,
    has_wildcards,
    matching,
    uid_of,
)
from exporter.engines.exposition import parsed
from exporter.engines.gateways import Shares, TokenSeries, with_counters
from exporter.engines.spec import overlap
from exporter.readings import DividedBy, Division

LABELS_MAX: Final = 8
"""Labels that together name a tenant."""

WILDCARDS_MAX: Final = 100
"""Tenants whose match has wildcards."""

SERIES_CHARACTERS: Final = 512

NO_UID: Final = -1
"""(uid_t) -1, which names no user."""

_WORDS: Final[Choice[DividedBy]] = Choice(get_args(DividedBy))

By: TypeAlias = DividedBy | tuple[str, ...]


METRIC_LABEL: Final = matching(
    "label",
    re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}").fullmatch,
    "; write letters, digits and underscores",
    str,
    like="tenant_id",
)
"""The name of a label, as Prometheus has it."""


LABEL_LIST: Final = ListOf(METRIC_LABEL, (unique("", str, "keep one"),))


def _by(node: Node, context: Context) -> By:
    if isinstance(node, Scalar):
        try:
            return _WORDS.read(node, context)
        except RefusedError as refused:
            raise RefusedError(f"{refused}; labels go into a list, like [tenant_id]") from None
    if not isinstance(node, Sequence):
        raise RefusedError(f"must be {UNIT_OF_DIVISION.expected}, not {describe(node)}")
    if not 1 <= len(node.items) <= LABELS_MAX:
        raise RefusedError(f"has {len(node.items)} labels; it takes 1 to {LABELS_MAX}")
    return LABEL_LIST.read(node, context)


UNIT_OF_DIVISION: Final = Custom(f"{', '.join(_WORDS.options)} or list of labels", _by)


def _series(written: Scalar) -> TokenSeries:
    """A counter by its name on the page, with labels and values that it must have."""
    text = written.text
    line = parsed(f"{text} 0".encode()) if len(text) <= SERIES_CHARACTERS else None
    if line is None or not re.fullmatch(r"[^\s{]+(\{.*\})?", text):
        raise RefusedError(f"{shown(text)} is no series; write a series like {SERIES.like}")
    if line.name.endswith("_bucket"):
        raise RefusedError(f"{shown(text)} counts requests; write {line.name.removesuffix('_bucket')}_sum")
    return TokenSeries(line.name, tuple((name, (value,)) for name, value in line.labels.items()))


SERIES: Final = Text("series", _series, like='tokens_total or tokens_total{type="input"}')


def check_user(model: Model, name: str, url: str | None) -> None:
    """Refuse `user` beside the URL of another host: who listens is known at an address of this one."""
    host = urlsplit(url or "").hostname or "localhost"
    with suppress(ValueError):
        ip_address(host)
        return
    if model.has("user") and host != "localhost":
        model.refuse("user", f"goes with localhost or an IP address in {name}")


def listening_uid(user: str | None) -> int | None:
    """The uid of the user who must listen; that of nobody where this machine does not know the name."""
    if user is None:
        return None
    uid = uid_of(user)
    return NO_UID if uid is None else uid


class TenantKeys(Model, kw_only=True):
    """Who pays for tenants."""

    builds = GatewayTenant
    match: PatternText
    """Pattern of the label's value; of several labels, their values with / between them."""
    product: Annotated[str, Label("product")] = ""
    """The product that pays; the server's own without it."""
    team: Annotated[str, Label("team")]
    """The team that pays."""


def _few_have_wildcards(items: list[ListItem[GatewayTenant]]) -> None:
    """Each of the 20,000 series of a page may be of a tenant that every pattern is compared with."""
    patterns = [item for item in items if has_wildcards(item.value.match)]
    for item in patterns[WILDCARDS_MAX : WILDCARDS_MAX + 1]:
        message = f"at most {WILDCARDS_MAX} tenants may have * ? or [; write the others in full"
        item.refuse("match", message)


class GatewayCounterKeys(Model, kw_only=True):
    """Counters of tokens on a gateway's page."""

    prompt: Annotated[TokenSeries | None, SERIES] = None
    """Prompt tokens, cached ones included."""
    cached_prompt: Annotated[TokenSeries | None, SERIES] = None
    """Those of the prompt tokens that a prefix cache served. With it they weigh less, for each tenant alike.
    A page that counts prompts must have it."""
    generation: Annotated[TokenSeries | None, SERIES] = None
    """Generated tokens."""

    def check(self) -> None:
        """Refuse counters that do not go together."""
        if not self.has("prompt", "generation"):
            self.refuse("", "counts no tokens; give prompt, generation or both")
        if self.has("cached_prompt") and not self.has("prompt"):
            self.refuse("cached_prompt", "is a part of prompt, which is missing; give both")
        earlier: dict[str, TokenSeries] = {}
        for name, series in self.given().items():
            for other_name, other in earlier.items():
                if series.name == other.name and overlap(series.where, other.where):
                    message = f"counts series that {other_name} counts; give a label that tells them apart"
                    self.refuse(name, message)
            earlier[name] = series


class DivideKeys(Model, kw_only=True):
    """The division of a server's cost by a gateway."""

    by: Annotated[By, UNIT_OF_DIVISION]
    """Unit of division. team: the teams that LiteLLM or Bifrost reports, each in place of the server's own.
    adapter: LoRA adapters, each as a model of the server. A list: the labels that name a tenant."""
    gateway: Annotated[str, scraped_url("bearer_token_file")]
    """Where the gateway's metrics are scraped. LiteLLM proxy: /metrics/, with a slash at its end."""
    user: Annotated[str | None, USER] = None
    """The user whose process listens at the URL on this host. The page of any other process is not read."""
    tenants: Annotated[
        tuple[GatewayTenant, ...], ListOf(Table(TenantKeys, "tenant"), (_few_have_wildcards,), least=1)
    ] = ()
    """Who pays for which tenant, with a list in by. The first match decides; one without a match is of team
    other. Only doctor shows a tenant's own name. One entry of a gateway gives them for all."""
    models: Annotated[tuple[str, ...], ListOf(PATTERN, least=1)] = ()
    """Patterns of the gateway's names for this server's models, without the provider and its slash. By team
    or tenant, in addition to the server's own names; by adapter, the names of its adapters in vLLM."""
    deployments: Annotated[tuple[str, ...], ListOf(Label("deployment"), least=1)] = ()
    """The model_id of the LiteLLM proxy's deployments that lead to this server. Without it: all that serve
    its models, except those that another server's entry names."""
    counters: GatewayCounterKeys | None = None
    """Counters of a gateway that is not in [Gateways](engines/gateways.md), or in place of those there, whose
    other labels stay. Exact names, also of the `_sum` of a histogram. One entry of a gateway gives them for
    all."""
    model_label: Annotated[str, METRIC_LABEL] = "model"
    """The label of these counters for the model; without it, of a built-in gateway its own."""
    bearer_token_file: PathOnHost | None = None
    """A file with the token to send; the LiteLLM proxy needs one."""
    ca_file: PathOnHost | None = None
    """A file of certificates (PEM) to trust; https only."""

    def build(self) -> GatewayDivision:
        """The division."""
        if self.by == "adapter" and not self.models:
            self.refuse(
                "",
                "says nothing of the adapters: give models, the names of its adapters, "
                'or ["*"] where the gateway leads to this server alone',
            )
        if self.ca_file and urlsplit(self.gateway).scheme != "https":
            self.refuse("ca_file", "goes with an https URL only; remove it or write https")
        if isinstance(self.by, str) and self.tenants:
            self.refuse(
                "tenants", "go with a list of labels in by, like [tenant_id]; remove them or write one"
            )
        shares: Shares | None = None
        if self.counters is not None:
            prompt = tuple(filter(None, [self.counters.prompt]))
            cached = tuple(filter(None, [self.counters.cached_prompt]))
            generation = tuple(filter(None, [self.counters.generation]))
            shares = Shares(prompt, generation, self.model_label, cached=cached)
            known = with_counters(shares.names)
            if known is not None:
                model = shares.model if self.has("model_label") else known.model
                shares = replace(known, model=model, prompt=prompt, generation=generation, cached=cached)
        if self.by == "team" and shares is not None and not shares.teams:
            self.refuse("counters", "have no label that is known to name teams; write it in by, like [team]")
        if self.has("model_label") and self.counters is None:
            self.refuse("model_label", "goes with counters only; remove it or give counters")
        check_user(self, "gateway", self.gateway)
        division = Division(
            self.by if isinstance(self.by, str) else "team", self.gateway, self.models, self.deployments
        )
        labels = () if isinstance(self.by, str) else self.by
        return GatewayDivision(
            division,
            bearer_token_file=self.bearer_token_file,
            ca_file=self.ca_file,
            page=GatewayPageRule(labels, self.tenants, shares),
            uid=listening_uid(self.user),
        )


Entry: TypeAlias = ConfiguredServer | ServerRule


def gateways_are_consistent(items: list[ListItem[Entry]]) -> None:
    """A gateway may divide many servers. It is scraped once, and it is no server itself."""
    servers = {item.value.url: item.path for item in items if isinstance(item.value, ConfiguredServer)}
    pages = _pages(item.value for item in items)
    first_entries: dict[str, ListItem[Entry]] = {}
    for item in items:
        divide = item.value.divide
        if divide is None:
            continue
        url = divide.division.gateway
        first = first_entries.setdefault(url, item)
        other = first.value.divide or divide
        page = pages[url]
        if url in servers:
            message = f"its gateway is {servers[url]}, which is a server; give the gateway's own URL"
        elif (divide.bearer_token_file, divide.ca_file) != (other.bearer_token_file, other.ca_file):
            message = f"its gateway is read with other files by {first.path}; give both the same"
        elif divide.uid != other.uid:
            message = f"its gateway is read for another user by {first.path}; give both the same"
        elif divide.page.labels != other.page.labels:
            message = f"its gateway has other labels in {first.path}; give both the same"
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
        item.refuse("divide", message)


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
        divide = entry.divide
        if divide is not None:
            page = pages.get(divide.division.gateway, divide.page)
            pages[divide.division.gateway] = GatewayPageRule(
                page.labels, page.tenants or divide.page.tenants, page.shares or divide.page.shares
            )
    return pages

"""The keys of `servers`: configured servers, and corrections of discovered ones."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from exporter import vendors
from exporter.config.document import Node, Scalar, Sequence
from exporter.config.gateways import DivideKeys, check_user, gateways_are_consistent, listening_uid
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import ListItem, ListOf, Model, Table, field, unique
from exporter.config.settings import ConfiguredServer, GatewayDivision, ServerMatch, ServerRule
from exporter.config.urls import HOST, METRICS_PATH, SCHEMES, URL_CHARACTERS, refuse_api, scraped_url
from exporter.config.values import (
    PERCENT,
    USER,
    Choice,
    Context,
    Custom,
    Label,
    Number,
    PathOnHost,
    PatternText,
    Port,
    Text,
    Whole,
    describe,
    gpu_uuid,
    matching,
    plain,
    printable,
    uid_of,
)
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.readings import Role, ServerKey, ServiceLevel, masked

MOST_GPUS: Final = 1024
NAME_CHARACTERS: Final = 64

FIRST_TOKEN_SECONDS_MAX: Final = Decimal(3600)
PER_TOKEN_SECONDS_MAX: Final = Decimal(60)
TARGET: Final = Decimal("0.99")

Gpus: TypeAlias = tuple[int | str, ...]
ALL: Final[Gpus] = ()
"""Stands for `all`: an empty list is refused."""


def _certificate_name(written: Scalar) -> str:
    """The name in lower case, or the address."""
    text = written.text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    # Digits and dots alone are a mistyped address.
    if len(text) > 253 or not HOST.fullmatch(text) or not re.search("[A-Za-z]", text):
        raise RefusedError(f"{shown(text)} is no name; write one of the certificate's, without port or *")
    return text.removesuffix(".").lower()


ENGINE_NAME: Final = matching(
    "engine name", printable(NAME_CHARACTERS), f": 1 to {NAME_CHARACTERS} characters", str
)
"""That there is such an engine is known once `engines` is read."""

_MIG_ID: Final = re.compile(r"[A-Za-z0-9/-]{1,124}", re.ASCII)


def _gpu(node: Node, context: Context) -> int | str:
    """One GPU: its NVML index, or the UUID of it or of a part of it."""
    if isinstance(node, Scalar):
        if any(vendor.spelled_uuid(node.text) for vendor in vendors.VENDORS):
            return gpu_uuid(node)
        if _MIG_ID.fullmatch(node.text) and any(vendor.is_id(node.text) for vendor in vendors.VENDORS):
            return node.text
        if node.plain and re.match(r"[\d+-]", node.text):
            return Whole("index", 0, MOST_GPUS - 1).read(node, context)
    raise RefusedError(f"must be an index like 0 or a UUID as NVML says (GPU-...), not {describe(node)}")


GPU_LIST: Final = ListOf(Custom("index or UUID", _gpu), (unique("", lambda gpu: gpu, "keep one"),))


def _gpus(node: Node, context: Context) -> Gpus:
    if isinstance(node, Scalar) and node.text == "all":
        return ALL
    if not isinstance(node, Sequence):
        raise RefusedError(f"must be the word all or a list like [0, 1], not {describe(node)}")
    if not node.items:
        raise RefusedError("is an empty list; write the indices or UUIDs, or the word all")
    return GPU_LIST.read(node, context)


GPUS: Final = Custom("all, or list of indices and UUIDs", _gpus)


def _path_on_server(written: Scalar) -> str:
    """A path, with a query where it takes one; never a host."""
    text = written.text
    if not re.fullmatch(r"/(?!/)[!-~]*", text) or "#" in text or len(text) > URL_CHARACTERS:
        raise RefusedError(f"{shown(masked(text))} is no path; begin it with one /, as in /metrics")
    refuse_api(text.partition("?")[0], shown(masked(text)))
    return text


class SloKeys(Model, kw_only=True):
    """Objectives of latency."""

    first_token_seconds: Annotated[
        Decimal | None, Number("seconds", FIRST_TOKEN_SECONDS_MAX, above_low=True)
    ] = None
    """Longest time from the arrival of a request to its first token."""
    per_token_seconds: Annotated[Decimal | None, Number("seconds", PER_TOKEN_SECONDS_MAX, above_low=True)] = (
        None
    )
    """Longest time of each token after the first, as a mean of the request where the engine has that."""
    target_ratio: Annotated[Decimal, Number("ratio", Decimal(1), above_low=True, excess=PERCENT)] = TARGET
    """Part of the requests that should meet each objective; the alerts compare with it."""

    def build(self) -> ServiceLevel:
        """The service level."""
        if not self.has("first_token_seconds", "per_token_seconds"):
            self.refuse("", "has no objective; give first_token_seconds, per_token_seconds or both")
        first, per_token = self.first_token_seconds, self.per_token_seconds
        return ServiceLevel(
            None if first is None else float(first),
            None if per_token is None else float(per_token),
            float(self.target_ratio),
        )


ANY_GPU: Final = "(any)"
"""Stands for the GPUs that no entry names, which servers on all GPUs share."""


class ServerMatchKeys(Model, kw_only=True):
    """What a discovered server has."""

    port: Port | None = None
    """The port that it listens on."""
    workload: PatternText | None = None
    """Its workload as namespace/name, in Kubernetes."""
    unit: PatternText | None = None
    """Its system unit, like vllm@chat.service; no unit of a user's own manager."""
    process: PatternText | None = None
    """The name of its program, as between `unmatched:` and `:user-UID`, or its engine."""
    user: Annotated[str | None, USER] = None
    """The user that it runs as on the host itself, by name or uid; pods are matched by workload."""
    containers: bool = False
    """Whether the user matches containers outside Kubernetes too. Write the uid that the container runs
    as."""

    def build(self) -> ServerMatch:
        """The match."""
        if not self.given():
            self.refuse(
                "", "is empty and would match every server; give port, workload, unit, process or user"
            )
        if self.has("containers") and not self.has("user"):
            self.refuse("containers", "goes with user only; without a user containers are matched already")
        if self.has("user") and self.has("workload"):
            self.refuse("user", "matches no pod, whose uid is its author's choice; keep workload alone")
        return ServerMatch(uid=None if self.user is None else uid_of(self.user), **self.given())


class MetricsKeys(Model, kw_only=True):
    """How metrics are scraped."""

    metrics_scheme: Annotated[str | None, Choice(("http", "https"))] = field(default=None, name="scheme")
    """Scheme of its metrics, with match only."""
    metrics_port: Port | None = field(default=None, name="port")
    """Port of its metrics, with match only."""
    metrics_path: Annotated[str | None, Text("path", _path_on_server, like=METRICS_PATH)] = field(
        default=None, name="path"
    )
    """Path of its metrics, with match only."""
    bearer_token_file: PathOnHost | None = None
    """A file with the token to send: over https, to loopback, or to a pod of this node. With it, match needs
    a user, a unit, or a workload of one namespace."""
    ca_file: PathOnHost | None = None
    """A file of certificates (PEM) to trust; https only."""
    server_name: Annotated[str | None, Text("name like chat.example.com", _certificate_name)] = None
    """Host name to verify in the certificate, if it differs from the address; https only."""


ROLE_OF: Final[Mapping[str, Role]] = {"both": "", "prefill": "prefill", "decode": "decode"}


class ServerKeys(Model, kw_only=True):
    """A configured server, by its url, or a correction of discovered ones, by their match."""

    match: Annotated[ServerMatch | None, ServerMatchKeys] = None
    """Discovered servers of this entry, in place of a url. All keys given must match; the first matching
    entry decides."""
    name: Annotated[
        str | None, Label("server name", reserved=(UNALLOCATED, OTHER), reserved_beginning="unmatched:")
    ] = None
    """The server's name. Entries with the same name are replicas, and their tokens add up."""
    url: Annotated[str | None, scraped_url("metrics.bearer_token_file")] = None
    """Where its metrics are scraped; /metrics for a URL without a path. Values of its query are masked
    wherever it is shown."""
    user: Annotated[str | None, USER] = None
    """The user whose process listens at the URL on this host. The page of any other process is not read."""
    gpus: Annotated[Gpus | None, GPUS] = None
    """GPUs that it uses: a list of NVML indices or UUIDs like [0, 1], or the word all."""
    engine: Annotated[str | None, ENGINE_NAME] = None
    """Engine name, built in or of `engines` (default: recognized from its metrics page)."""
    namespace: Annotated[str | None, Label("namespace")] = None
    """Namespace of the server; empty without it."""
    gpu_share_ratio: Annotated[Decimal | None, Number("ratio", Decimal(1), above_low=True)] = None
    """Share of each of its GPUs that it pays for, where several servers share them; at most 1 in total."""
    spans_hosts: bool = False
    """Whether it runs on several hosts. The fleet rules then record its cost per token, not the host."""
    role: Annotated[str, Choice(("both", "prefill", "decode"))] = "both"
    """Its role in a pair with prefill on one server and decode on the other. With `both` its command line or
    a label of its pod says it, while its page agrees."""
    metrics: MetricsKeys | None = None
    """How its metrics are scraped."""
    divide: Annotated[GatewayDivision | None, DivideKeys] = None
    """Divides a server's cost and tokens by the counts of a gateway in front of it. The rest stays with the
    server's owner, as does everything before the first count."""
    slo: Annotated[ServiceLevel | None, SloKeys] = None
    """Service level of the server: the share of requests within it is exported. Only with this key are the
    engine's histograms of latency read."""

    def build(self) -> ConfiguredServer | ServerRule:
        """The server, or the correction."""
        if self.has("match") and self.has("url"):
            self.refuse("match", "cannot be combined with url; keep exactly one of url, match")
        fields = self.given() | {"role": ROLE_OF[self.role]}
        for name in ("match", "user", "gpus", "metrics"):
            fields.pop(name, None)
        fields |= self.metrics.given() if self.metrics else {}
        if self.match is not None:
            if self.has("user"):
                self.refuse("user", "goes with url only; write it in match")
            if self.has("gpus"):
                problem = "goes with url only; which GPUs a server that is found holds is found as well"
                self.refuse("gpus", problem)
            if len(self.given()) == 1:
                problem = "says nothing of the servers that it matches; give name, gpu_share_ratio or others"
                self.refuse("", problem)
            # Any program can choose its command line and port: a token goes to what only its owner can set.
            if self.metrics and self.metrics.bearer_token_file and not self.match.binds:
                problem = (
                    "would be sent to whatever program matches; add to match `user`, `unit` or a `workload` "
                    "of one namespace like ml/chat-*, or give the url in place of match"
                )
                self.metrics.refuse("bearer_token_file", problem)
            return ServerRule(match=self.match, source=self.node.path, **fields)
        for name in ("name", "url", "gpus"):
            self.needs(name)
        for name in ("scheme", "port", "path"):
            if self.metrics and self.metrics.has(name):
                self.metrics.refuse(name, f"goes with match only: the url has the {name}")
        check_user(self, "url", self.url)
        return ConfiguredServer(gpus=self.gpus or None, uid=listening_uid(self.user), **fields)


Entries: TypeAlias = list[ListItem[ConfiguredServer | ServerRule]]


def _configured(items: Entries) -> Iterator[tuple[ListItem[ConfiguredServer | ServerRule], ConfiguredServer]]:
    """The entries that are configured servers."""
    for item in items:
        if isinstance(item.value, ConfiguredServer):
            yield item, item.value


def _metrics_files_go_with_https(items: Entries) -> None:
    for item in items:
        entry = item.value
        scheme = urlsplit(entry.url).scheme if isinstance(entry, ConfiguredServer) else entry.metrics_scheme
        for name, value in (("ca_file", entry.ca_file), ("server_name", entry.server_name)):
            if value and scheme != "https":
                what = "an https URL" if isinstance(entry, ConfiguredServer) else "`scheme: https`"
                item.refuse("metrics", f"{name} goes with {what} only; remove it or write https")


def _urls_are_unique(items: Entries) -> None:
    paths: dict[SplitResult, str] = {}
    for item, server in _configured(items):
        parts = urlsplit(server.url)
        port = parts.port or SCHEMES[parts.scheme]
        endpoint = parts._replace(netloc=f"{parts.hostname}:{port}")
        if endpoint in paths:
            message = f"the same URL is already read by {paths[endpoint]}; its tokens would be counted twice"
            item.refuse("url", message)
        paths.setdefault(endpoint, item.path)


def _shares_fit(items: Entries) -> None:
    """The configured shares of one GPU are at most 1 together; replicas have one share of it."""
    shares: dict[int | str, dict[ServerKey, Decimal]] = {ANY_GPU: {}}
    for item, server in _configured(items):
        if server.gpu_share_ratio is None:
            continue
        key = ServerKey(server.namespace, server.name)
        for gpu in list(shares) if server.gpus is None else server.gpus:
            of_gpu = shares.setdefault(gpu, dict(shares[ANY_GPU]))
            if of_gpu.setdefault(key, server.gpu_share_ratio) != server.gpu_share_ratio:
                message = f"is {plain(of_gpu[key])} for another replica on GPU {gpu}; give both the same"
                item.refuse("gpu_share_ratio", message)
            total = sum(of_gpu.values(), Decimal(0))
            if total > 1:
                message = f"the shares of GPU {gpu} come to {plain(total)}; make them at most 1 together"
                item.refuse("gpu_share_ratio", message)


def _levels_are_consistent(items: Entries) -> None:
    """Replicas have one service level: their histograms add up."""
    first_entries: dict[ServerKey, ListItem[ConfiguredServer | ServerRule]] = {}
    for item in items:
        entry = item.value
        if entry.name is None:
            continue
        first = first_entries.setdefault(ServerKey(entry.namespace or "", entry.name), item)
        if first.value.slo != entry.slo:
            message = f"differs from that of {first.path}, a replica of {entry.name}; give both the same"
            item.refuse("slo", message)


SERVERS = ListOf(
    Table(ServerKeys, "server"),
    (
        _metrics_files_go_with_https,
        _urls_are_unique,
        _shares_fit,
        gateways_are_consistent,
        _levels_are_consistent,
    ),
)

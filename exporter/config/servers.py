"""The keys of `servers`: configured servers, and corrections of discovered ones."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from exporter.config.document import Node, Scalar, Sequence
from exporter.config.gateways import (
    DIVIDE,
    LISTENING_USER,
    gateways_are_consistent,
    listening_uid,
    user_goes_with_an_address,
)
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import (
    Context,
    Key,
    ListItem,
    ListOf,
    MappingNode,
    Table,
    describe,
    group,
    missing,
    unique,
)
from exporter.config.settings import ConfiguredServer, ServerMatch, ServerRule
from exporter.config.urls import HOST, METRICS_PATH, SCHEMES, URL_CHARACTERS, Url, refuse_api
from exporter.config.values import (
    PERCENT,
    AbsolutePath,
    Choice,
    GpuUuid,
    Label,
    Number,
    Pattern,
    ScalarValidator,
    Truth,
    User,
    Whole,
    is_gpu_uuid,
    plain,
    uid_of,
)
from exporter.cost.postings import OTHER, UNALLOCATED
from exporter.frozen import dataclass
from exporter.readings import Role, ServiceLevel, masked

MOST_GPUS: Final = 1024
NAME_CHARACTERS: Final = 64

FIRST_TOKEN_SECONDS_MAX: Final = Decimal(3600)
PER_TOKEN_SECONDS_MAX: Final = Decimal(60)
TARGET: Final = Decimal("0.99")

_UUID = re.compile(r"(GPU|MIG)-[A-Za-z0-9/-]{1,120}", re.ASCII)

Gpus: TypeAlias = tuple[int | str, ...]
ALL: Final[Gpus] = ()
"""Stands for `all`: an empty list is refused."""


@dataclass(frozen=True, slots=True)
class ServerName(ScalarValidator[str]):
    """The name of a certificate's subject: a DNS name or an address, and no URL."""

    expected: str = "name like chat.example.com"

    def parse(self, written: Scalar) -> str:
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


@dataclass(frozen=True, slots=True)
class EngineName(ScalarValidator[str]):
    """The name of an engine; that there is one is known once `engines` is read."""

    expected: str = "engine name"

    def parse(self, written: Scalar) -> str:
        """The name itself."""
        if not written.text.isprintable() or not 0 < len(written.text) <= NAME_CHARACTERS:
            raise RefusedError(f"{shown(written.text)} is no engine name: 1 to {NAME_CHARACTERS} characters")
        return written.text


@dataclass(frozen=True, slots=True)
class GpuList:
    """NVML indices and UUIDs, or the word all."""

    expected: str = "all, or list of indices and UUIDs"

    def read(self, node: Node, path: str, context: Context) -> Gpus:
        """As `Validator.read`."""
        if isinstance(node, Scalar) and node.text == "all":
            return ALL
        if not isinstance(node, Sequence):
            raise RefusedError(f"must be the word all or a list like [0, 1], not {describe(node)}")
        if not node.items:
            raise RefusedError("is an empty list; write the indices or UUIDs, or the word all")
        return ListOf(GpuName(), (unique("", lambda gpu: gpu, "keep one"),)).read(node, path, context)


@dataclass(frozen=True, slots=True)
class GpuName:
    """One GPU: its NVML index, or its UUID."""

    expected: str = "index or UUID"

    def read(self, node: Node, path: str, context: Context) -> int | str:
        """As `Validator.read`."""
        if isinstance(node, Scalar) and _UUID.fullmatch(node.text):
            return GpuUuid().parse(node) if is_gpu_uuid(node.text) else node.text
        if isinstance(node, Scalar) and node.plain and re.match(r"[\d+-]", node.text):
            return Whole("index", 0, MOST_GPUS - 1).read(node, path, context)
        raise RefusedError(f"must be an index like 0 or a UUID as NVML says (GPU-...), not {describe(node)}")


@dataclass(frozen=True, slots=True)
class UrlPath(ScalarValidator[str]):
    """A path on a server, with a query where it takes one; never a host."""

    expected: str = "path"

    @property
    def example(self) -> str:
        """The usual path of metrics."""
        return f"path like {METRICS_PATH}"

    def parse(self, written: Scalar) -> str:
        """The path itself."""
        text = written.text
        if not re.fullmatch(r"/(?!/)[!-~]*", text) or "#" in text or len(text) > URL_CHARACTERS:
            raise RefusedError(f"{shown(masked(text))} is no path; begin it with one /, as in /metrics")
        refuse_api(text.partition("?")[0], shown(masked(text)))
        return text


CA_FILE = Key(
    "ca_file", AbsolutePath(), "A file of certificates (PEM) to trust; https only.", record=ServerRule
)


FIRST_TOKEN_SECONDS = Key(
    "first_token_seconds",
    Number("seconds", FIRST_TOKEN_SECONDS_MAX, above_low=True),
    "Longest time from the arrival of a request to its first token.",
)
PER_TOKEN_SECONDS = Key(
    "per_token_seconds",
    Number("seconds", PER_TOKEN_SECONDS_MAX, above_low=True),
    "Longest time of each token after the first, as a mean of the request where the engine has that.",
)
TARGET_RATIO = Key(
    "target_ratio",
    Number("ratio", Decimal(1), above_low=True, excess=PERCENT),
    "Part of the requests that should meet each objective; the alerts compare with it.",
    default=TARGET,
)


def _has_an_objective(mapping: MappingNode) -> None:
    if FIRST_TOKEN_SECONDS not in mapping and PER_TOKEN_SECONDS not in mapping:
        mapping.refuse(None, "has no objective; give first_token_seconds, per_token_seconds or both")


def _service_level(mapping: MappingNode) -> ServiceLevel:
    first, each = mapping.get(FIRST_TOKEN_SECONDS), mapping.get(PER_TOKEN_SECONDS)
    return ServiceLevel(
        None if first is None else float(first),
        None if each is None else float(each),
        float(mapping[TARGET_RATIO]),
    )


SLO = Key(
    "slo",
    Table((FIRST_TOKEN_SECONDS, PER_TOKEN_SECONDS, TARGET_RATIO), _service_level, (_has_an_objective,)),
    "Service level of the server: the share of requests within it is exported. Only with this key are the "
    "engine's histograms of latency read.",
    record=ServerRule,
)


ANY_GPU: Final = "(any)"
"""Stands for the GPUs that no entry names, which servers on all GPUs share."""


def _match_has_keys(mapping: MappingNode) -> None:
    if not mapping.node.entries:
        mapping.refuse(
            None, "is empty and would match every server; give port, workload, unit, process or user"
        )


PORT = Key("port", Whole("port", 1, 65535), "The port that it listens on.", record=ServerMatch)
WORKLOAD = Key("workload", Pattern(), "Its workload as namespace/name, in Kubernetes.", record=ServerMatch)
UNIT = Key(
    "unit",
    Pattern(),
    "Its system unit, like vllm@chat.service; no unit of a user's own manager.",
    record=ServerMatch,
)
PROCESS = Key(
    "process",
    Pattern(),
    "The name of its program, as between `unmatched:` and `:user-UID`, or its engine.",
    record=ServerMatch,
)
USER = Key(
    "user",
    User(),
    "The user that it runs as on the host itself, by name or uid; pods are matched by workload.",
    record=ServerMatch,
)
CONTAINERS = Key(
    "containers",
    Truth(),
    "Whether the user matches containers outside Kubernetes too. Write the uid that the container runs as.",
    record=ServerMatch,
)


def _user_is_of_the_host(mapping: MappingNode) -> None:
    if CONTAINERS in mapping and USER not in mapping:
        mapping.refuse(CONTAINERS, "goes with user only; without a user containers are matched already")
    if USER in mapping and WORKLOAD in mapping:
        mapping.refuse(USER, "matches no pod, whose uid is its author's choice; keep workload alone")


def _match(mapping: MappingNode) -> ServerMatch:
    user = mapping.get(USER)
    return ServerMatch(uid=None if user is None else uid_of(user), **mapping.filled())


MATCH = Key(
    "match",
    Table((PORT, WORKLOAD, UNIT, PROCESS, USER, CONTAINERS), _match, (_match_has_keys, _user_is_of_the_host)),
    "Discovered servers of this entry, in place of a url. All keys given must match; the first "
    "matching entry decides.",
)
NAME = Key(
    "name",
    Label("server name", reserved=(UNALLOCATED, OTHER), reserved_beginning="unmatched:"),
    "The server's name. Entries with the same name are replicas, and their tokens add up.",
    record=ServerRule,
)
URL = Key(
    "url",
    Url(),
    "Where its metrics are scraped; /metrics for a URL without a path. Values of its query are masked "
    "wherever it is shown.",
    record=ConfiguredServer,
)
GPUS = Key(
    "gpus",
    GpuList(),
    "GPUs that it uses: a list of NVML indices or UUIDs like [0, 1], or the word all.",
)
ENGINE = Key(
    "engine",
    EngineName(),
    "Engine name, built in or of `engines` (default: recognized from its metrics page).",
    record=ServerRule,
)
NAMESPACE = Key(
    "namespace", Label("namespace"), "Namespace of the server; empty without it.", record=ServerRule
)
SHARE = Key(
    "gpu_share_ratio",
    Number("ratio", Decimal(1), above_low=True),
    "Share of each of its GPUs that it pays for, where several servers share them; at most 1 in total.",
    record=ServerRule,
)
SPANS_HOSTS = Key(
    "spans_hosts",
    Truth(),
    "Whether it runs on several hosts. The fleet rules then record its cost per token, not the host.",
    record=ServerRule,
)
ROLE = Key(
    "role",
    Choice(("both", "prefill", "decode")),
    "Its role in a pair with prefill on one server and decode on the other. With `both` its command line or "
    "a label of its pod says it, while its page agrees.",
    default="both",
)
ROLE_OF: Final[Mapping[str, Role]] = {"both": "", "prefill": "prefill", "decode": "decode"}
METRICS_SCHEME = Key(
    "scheme",
    Choice(("http", "https")),
    "Scheme of its metrics, with match only.",
    record=ServerRule,
    field="metrics_scheme",
)
METRICS_PORT = Key(
    "port",
    Whole("port", 1, 65535),
    "Port of its metrics, with match only.",
    record=ServerRule,
    field="metrics_port",
)
METRICS_PATH_KEY = Key(
    "path", UrlPath(), "Path of its metrics, with match only.", record=ServerRule, field="metrics_path"
)
METRICS_TOKEN_FILE = Key(
    "bearer_token_file",
    AbsolutePath(),
    "A file with the token to send: over https, to loopback, or to a pod of this node. With it, match needs "
    "a user, a unit, or a workload of one namespace.",
    record=ServerRule,
)
SERVER_NAME = Key(
    "server_name",
    ServerName(),
    "Host name to verify in the certificate, if it differs from the address; https only.",
    record=ServerRule,
)


METRICS = Key(
    "metrics",
    group((METRICS_SCHEME, METRICS_PORT, METRICS_PATH_KEY, METRICS_TOKEN_FILE, CA_FILE, SERVER_NAME)),
    "How its metrics are scraped.",
)


def _has_url_or_match(mapping: MappingNode) -> None:
    """An entry with a `url` is a configured server; one with `match` corrects discovered servers."""
    if MATCH in mapping and URL in mapping:
        mapping.refuse(MATCH, "cannot be combined with url; keep exactly one of url, match")
    elif MATCH in mapping:
        _corrects_something(mapping)
    else:
        _is_configured(mapping)


def _is_configured(mapping: MappingNode) -> None:
    needed: tuple[Key[object], ...] = (NAME, URL, GPUS)
    for key in needed:
        if key not in mapping:
            mapping.refuse(None, missing(key))
    where: tuple[Key[object], ...] = (METRICS_SCHEME, METRICS_PORT, METRICS_PATH_KEY)
    for key in where:
        if (metrics := mapping.get(METRICS)) is not None and key in metrics:
            metrics.refuse(key, f"goes with match only: the url has the {key.name}")


def _corrects_something(mapping: MappingNode) -> None:
    if LISTENING_USER in mapping:
        mapping.refuse(LISTENING_USER, "goes with url only; write it in match")
    elif GPUS in mapping:
        mapping.refuse(GPUS, "goes with url only; which GPUs a server that is found holds is found as well")
    elif len(mapping.node.entries) == 1:
        mapping.refuse(
            None, "says nothing of the servers that it matches; give name, gpu_share_ratio or others"
        )
    else:
        _token_has_a_safe_target(mapping)


def _token_has_a_safe_target(mapping: MappingNode) -> None:
    """Any program can choose its command line and port: a token goes to what only its owner can set."""
    match, metrics = mapping.get(MATCH), mapping.get(METRICS)
    if match is None or metrics is None or METRICS_TOKEN_FILE not in metrics or match.binds:
        return
    metrics.refuse(
        METRICS_TOKEN_FILE,
        "would be sent to whatever program matches; add to match `user`, `unit` or a `workload` of one "
        "namespace like ml/chat-*, or give the url in place of match",
    )


def _server(mapping: MappingNode) -> ConfiguredServer | ServerRule:
    fields = {**mapping.filled(), "role": ROLE_OF[mapping[ROLE]]}
    if (match := mapping.get(MATCH)) is not None:
        return ServerRule(match=match, source=mapping.path, **fields)
    return ConfiguredServer(gpus=mapping[GPUS] or None, uid=listening_uid(mapping), **fields)


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
                item.refuse(METRICS.name, f"{name} goes with {what} only; remove it or write https")


def _urls_are_unique(items: Entries) -> None:
    paths: dict[tuple[object, ...], str] = {}
    for item, server in _configured(items):
        parts = urlsplit(server.url)
        port = parts.port or SCHEMES[parts.scheme]
        endpoint = (parts.scheme, parts.hostname, port, parts.path, parts.query)
        if endpoint in paths:
            message = f"the same URL is already read by {paths[endpoint]}; its tokens would be counted twice"
            item.refuse(URL.name, message)
        paths.setdefault(endpoint, item.path)


def _shares_fit(items: Entries) -> None:
    """The configured shares of one GPU are at most 1 together; replicas have one share of it."""
    shares: dict[int | str, dict[tuple[str, str], Decimal]] = {ANY_GPU: {}}
    for item, server in _configured(items):
        if server.gpu_share_ratio is None:
            continue
        key = (server.namespace, server.name)
        for gpu in list(shares) if server.gpus is None else server.gpus:
            of_gpu = shares.setdefault(gpu, dict(shares[ANY_GPU]))
            if of_gpu.setdefault(key, server.gpu_share_ratio) != server.gpu_share_ratio:
                message = f"is {plain(of_gpu[key])} for another replica on GPU {gpu}; give both the same"
                item.refuse(SHARE.name, message)
            if (total := sum(of_gpu.values(), Decimal(0))) > 1:
                message = f"the shares of GPU {gpu} come to {plain(total)}; make them at most 1 together"
                item.refuse(SHARE.name, message)


def _levels_are_consistent(items: Entries) -> None:
    """Replicas have one service level: their histograms add up."""
    levels: dict[tuple[str, str], tuple[str, ServiceLevel | None]] = {}
    for item in items:
        entry = item.value
        if entry.name is None:
            continue
        path, level = levels.setdefault((entry.namespace or "", entry.name), (item.path, entry.slo))
        if level != entry.slo:
            message = f"differs from that of {path}, a replica of {entry.name}; give both the same"
            item.refuse(SLO.name, message)


SERVERS = Key(
    "servers",
    ListOf(
        Table(
            (
                *(MATCH, NAME, URL, LISTENING_USER, GPUS, ENGINE, NAMESPACE, SHARE, SPANS_HOSTS, ROLE),
                *(METRICS, DIVIDE, SLO),
            ),
            _server,
            (_has_url_or_match, user_goes_with_an_address(URL)),
            expected="server",
        ),
        (
            _metrics_files_go_with_https,
            _urls_are_unique,
            _shares_fit,
            gateways_are_consistent,
            _levels_are_consistent,
        ),
    ),
    "Inference servers: those not discovered (url and gpus), and corrections of discovered ones "
    "(match). A GPU named here belongs to no discovered server.",
)

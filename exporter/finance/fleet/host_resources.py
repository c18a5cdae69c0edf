"""Which resources of a bill are which hosts: by a list, by the provider's ids of nodes, or by name.

HostsFileError
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from exporter.config.problems import shown
from exporter.finance.fleet.folder import DEFAULT_NAME, LEDGER_SUFFIX
from exporter.finance.fleet.record import FleetError, HostMonth

ROWS_MAX: Final = 200_000
BYTES_MAX: Final = 64 * 1024 * 1024
CHARACTERS_MAX: Final = 1000
"""Of a resource's id."""

COLUMNS: Final = ("host", "resource")
LEDGER_CHARACTERS: Final = 8
"""Of a ledger's id, with which a list may name a host."""

NAMES_OF_ANY: Final = frozenset({"localhost", DEFAULT_NAME.removesuffix(LEDGER_SUFFIX)})
"""Names of every host: to an agent beside its exporter, and of a ledger that is alone in its folder."""

_LETTER: Final = re.compile(r"[a-z]")
_SEPARATORS: Final = re.compile(r"[/:]")
AZURE: Final = "azure"
"""The scheme of ids that end with a number in a scale set, which says nothing."""


class HostsFileError(FleetError):
    """A list of hosts and resources that cannot be used; the message says where and why."""


class NodeName(NamedTuple):
    """A node of a cluster, which is empty where monitoring has one cluster."""

    cluster: str
    node: str


ProviderIds = Mapping[NodeName, frozenset[str]]
"""Ids of nodes like aws:///us-east-1a/i-0abc, as `kube_node_info` has them."""


class ListedHost(NamedTuple):
    """A line of a list: a host, by any of its names, and a resource of the bill."""

    host: str
    resource: str


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """The ledger of a host, its name for people, and all its names."""

    ledger: str
    name: str
    names: frozenset[str]
    nodes: frozenset[NodeName]

    @classmethod
    def of(cls, host: HostMonth) -> "HostIdentity":
        """The identity of a host."""
        names = {host.short_name, host.short_name.rpartition("/")[2]}
        nodes = set()
        for each in host.names:
            names |= {each.node, each.instance.partition(":")[0]}
            nodes.add(NodeName(each.cluster, each.node or each.instance.partition(":")[0]))
        if not host.names:
            nodes = {NodeName("", name) for name in names}
        return cls(
            host.record.ledger,
            host.name,
            frozenset(name.casefold() for name in names if name),
            frozenset(node for node in nodes if node.node),
        )

    def known_as(self, other: "HostIdentity") -> "HostIdentity":
        """The same host with the names of another source, too."""
        return replace(self, names=self.names | other.names, nodes=self.nodes | other.nodes)


def read_hosts_file(path: Path) -> tuple[ListedHost, ...]:
    """A CSV of host,resource, with or without that header.

    Raises:
        HostsFileError: it cannot be read, or a line is none of a host and a resource.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise HostsFileError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > BYTES_MAX:
        raise HostsFileError(f"{path}: is larger than {BYTES_MAX} bytes")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise HostsFileError(f"{path}: is no UTF-8: save it as UTF-8") from None
    listed: list[ListedHost] = []
    rows = csv.reader(lines, strict=True)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells) or (not listed and tuple(map(str.lower, cells)) == COLUMNS):
                continue
            if len(cells) != len(COLUMNS) or not all(cells) or max(map(len, cells)) > CHARACTERS_MAX:
                raise HostsFileError(
                    f"{path}:{rows.line_num}: {shown(','.join(row))} is no host and resource: write "
                    "host,resource"
                )
            listed.append(ListedHost(*cells))
            if len(listed) > ROWS_MAX:
                raise HostsFileError(f"{path}: has more than {ROWS_MAX:,} lines")
    except csv.Error as error:
        raise HostsFileError(f"{path}:{rows.line_num}: is no CSV: {error}") from None
    if not listed:
        raise HostsFileError(f"{path}: has no host and resource")
    return tuple(listed)


class HostResources:
    """Hosts of a fleet by the resources that a bill charges for them.

    A host in the list is matched by it alone, any other by its provider's id and by its names. Hosts that
    one resource matches count as one machine, as when a ledger was replaced.
    """

    def __init__(
        self,
        hosts: Sequence[HostIdentity],
        listed: Sequence[ListedHost] = (),
        provider_ids: ProviderIds | None = None,
    ) -> None:
        self._parents = list(range(len(hosts)))
        by_name: dict[str, list[int]] = {}
        for number, host in enumerate(hosts):
            for name in {*host.names, host.ledger, host.ledger[:LEDGER_CHARACTERS], host.name.casefold()}:
                by_name.setdefault(name, []).append(number)
        resources: dict[int, list[str]] = {}
        unknown = []
        for each in listed:
            numbers = by_name.get(each.host.casefold())
            if numbers is None:
                unknown.append(each.host)
            for number in numbers or ():
                resources.setdefault(number, []).append(each.resource)
        self.unknown = tuple(dict.fromkeys(unknown))
        self._hosts_by_key: dict[str, int] = {}
        clusters: dict[str, set[str]] = {}
        for host in hosts:
            for key in _name_keys(host.names):
                clusters.setdefault(key, set()).update(node.cluster for node in host.nodes if node.cluster)
        # Names that hosts of several clusters have tell nothing where a node has an id.
        repeated = {key for key, known in clusters.items() if len(known) > 1}
        by_id = _id_keys(hosts, provider_ids or {})
        for number, (host, ids) in enumerate(zip(hosts, by_id, strict=True)):
            names = [key for key in _name_keys(host.names) if not ids or key not in repeated]
            keys = resources.get(number) or [*ids, *names]
            for key in keys:
                first = self._hosts_by_key.setdefault(_normal(key), number)
                lower, higher = sorted((self.machine_of(first), self.machine_of(number)))
                self._parents[higher] = lower
        self._cached = lru_cache(maxsize=65_536)(self._matched)

    def machine(self, resource: str, name: str) -> int | None:
        """The number of the machine that a row is of; `None`: it is of no host."""
        return self._cached(resource, name)

    def machine_of(self, number: int) -> int:
        """The number of the machine of a host: the lowest number of its hosts."""
        while self._parents[number] != number:
            number = self._parents[number]
        return number

    def _matched(self, resource: str, name: str) -> int | None:
        identifier = _normal(resource)
        keys = [identifier] if identifier else []
        # What follows each of its separators may name a host too.
        keys += [identifier[separator.end() :] for separator in _SEPARATORS.finditer(identifier)]
        if name:
            keys.append(_normal(name))
        numbers = (self._hosts_by_key[key] for key in keys if key in self._hosts_by_key)
        number = next(numbers, None)
        return None if number is None else self.machine_of(number)


def _id_keys(hosts: Sequence[HostIdentity], provider_ids: ProviderIds) -> Iterator[list[str]]:
    """What a bill may call each host by ids of its nodes; a cluster counts where both sides name it."""
    named = any(node.cluster for node in provider_ids)
    by_node: dict[str, dict[str, frozenset[str]]] = {}
    for node, ids in provider_ids.items():
        clusters = by_node.setdefault(node.node.casefold(), {})
        clusters[node.cluster] = clusters.get(node.cluster, frozenset()) | ids
    for host in hosts:
        in_clusters = {node.node.casefold() for node in host.nodes if node.cluster}
        keys: list[str] = []
        for node in sorted(host.nodes):
            ids, name = provider_ids.get(node, frozenset()), node.node.casefold()
            if not ids and ((not node.cluster and name not in in_clusters) or not named):
                distinct = set(by_node.get(name, {}).values())
                ids = distinct.pop() if len(distinct) == 1 else ids  # clusters may have different nodes of it
            keys += [key for provider_id in sorted(ids) for key in provider_keys(provider_id)]
        yield keys


def provider_keys(provider_id: str) -> Iterator[str]:
    """What a bill may call the resource of a node: its path, or the last part of it."""
    scheme, _, path = provider_id.partition("://")
    path = path.strip("/")
    if path:
        yield path
        if scheme != AZURE:
            yield path.rpartition("/")[2]


def _name_keys(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        label = name.partition(".")[0]
        if label in NAMES_OF_ANY:
            continue
        for key in (name, label):
            if _LETTER.search(key):  # a number is the end of many ids, and an address the name of none
                yield key


def _normal(text: str) -> str:
    return text.strip().strip("/").casefold()

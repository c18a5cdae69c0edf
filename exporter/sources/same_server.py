"""One server by two addresses, by the sockets that the connections to it reached.

`127.0.0.1`, `localhost` and the name of the host may lead to one listening socket, since `0.0.0.0` listens on
all of them. A server that is read twice would be counted twice.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from exporter.readings import ServerReading
from exporter.sources.http_client import Peer
from exporter.sources.processes.proc import SOCKET_BYTES, ListeningSocket, Proc, listeners, past_listeners

TABLES: Final = ("net/tcp", "net/tcp6")


def own_listeners() -> tuple[ListeningSocket, ...]:
    """The sockets that listen in the network of this process; those of a table that cannot be read lack."""
    proc = Proc()
    contents = (proc.read("self", table, SOCKET_BYTES, past_listeners) for table in TABLES)
    return tuple(one for content in contents if content is not None for one in listeners(content))


@dataclass(frozen=True, slots=True)
class Answered:
    """A reading of an endpoint, and the address that it is from. `url` is the endpoint's name."""

    url: str
    reading: ServerReading
    peer: Peer


class SameServers:
    """Endpoints that read a server that an earlier endpoint reads.

    Two endpoints are of one server if one socket answers both with the same query, and their pages are of
    one process: by its identity, else, on this host, by the same path and the same series. A proxy may pass
    requests of one socket on to several servers by their names: elsewhere series tell nothing, and a proxy on
    this very host needs paths that tell its servers apart. Once found, such a pair lasts while
    both are read and answer by that socket, also in ticks in which the first one fails.
    """

    def __init__(self, sockets: Callable[[], Sequence[ListeningSocket]] = own_listeners) -> None:
        self._sockets = sockets
        self._first: dict[str, str] = {}

    def of(self, urls: Iterable[str], answers: Iterable[Answered]) -> dict[str, str]:
        """The endpoints that repeat another one, each with that one. `urls` are those that are configured or
        discovered now, `answers` those of them that answered, in order.
        """
        urls = set(urls)
        earlier = {url: first for url, first in self._first.items() if url in urls and first in urls}
        answers = tuple(answers)
        first = self._found(answers, earlier)
        answered = {answer.url for answer in answers}
        first |= {url: one for url, one in earlier.items() if url not in first and not {url, one} <= answered}
        self._first = first
        return first

    def _found(self, answers: Sequence[Answered], earlier: dict[str, str]) -> dict[str, str]:
        """Those of these answers that repeat an earlier one of them."""
        reached = sockets_reached((answer.peer for answer in answers), self._sockets)
        asked = [_asked(answer, reached) for answer in answers]
        counts = Counter(asked)
        first: dict[str, str] = {}
        shown: dict[Hashable, str] = {}
        for answer, question in zip(answers, asked, strict=True):
            if counts[question] == 1:  # the usual case
                continue
            page = _page(answer)
            sought = _sought(answer, question, (("url", earlier.get(answer.url)), *page))
            one = next((shown[name] for name in sought if name in shown), None)
            if one is not None:
                first[answer.url] = one
                continue
            for name in _shown(answer, question, (("url", answer.url), *page)):
                shown.setdefault(name, answer.url)
        return first


def _asked(answer: Answered, reached: dict[Peer, Hashable]) -> Hashable:
    """What two answers of one server have in common: the socket, the query and the engine."""
    # A name of an endpoint has a digest of its query, as its fragment.
    return reached[answer.peer], urlsplit(answer.url).fragment, answer.reading.engine


def _page(answer: Answered) -> tuple[Hashable, ...]:
    """What tells a page of this host from another one's where neither has an identity; nothing elsewhere."""
    if not answer.peer.local:
        return ()
    series = frozenset((counter.series, counter.quantity) for counter in answer.reading.counters)
    return (("page", urlsplit(answer.url).path, series),)


def _sought(answer: Answered, question: Hashable, hints: Iterable[Hashable]) -> Iterator[Hashable]:
    """The names by which to find the server of an answer: its identity, else hints.

    Of two that have an identity no hint counts.
    """
    if answer.reading.identity:
        yield question, answer.reading.identity
        yield from ((question, hint, "no identity") for hint in hints)
    else:
        yield from ((question, hint) for hint in hints)


def _shown(answer: Answered, question: Hashable, hints: Iterable[Hashable]) -> Iterator[Hashable]:
    """The names by which others find an answer."""
    if answer.reading.identity:
        yield question, answer.reading.identity
    for hint in hints:
        yield question, hint
        if not answer.reading.identity:
            yield question, hint, "no identity"


def sockets_reached(
    peers: Iterable[Peer], sockets: Callable[[], Sequence[ListeningSocket]]
) -> dict[Peer, Hashable]:
    """What stands for the listening socket that each connection reached; of another host only the address.

    `sockets` are only listed where a port is reached by several addresses of this host.
    """
    peers = set(peers)
    addresses = Counter(peer.port for peer in peers if peer.local)
    listening: dict[int, list[ListeningSocket]] = {port: [] for port, count in addresses.items() if count > 1}
    for socket in sockets() if listening else ():
        if socket.port in listening:
            listening[socket.port].append(socket)
    return {
        peer: (_accepting(peer, listening.get(peer.port, ())) if peer.local else None) or peer
        for peer in peers
    }


def _accepting(peer: Peer, listening: Sequence[ListeningSocket]) -> frozenset[int]:
    """The sockets that take connections to an address: those bound to it, else those bound to all."""
    exact = frozenset(socket.inode for socket in listening if _is(socket.host, peer.host))
    return exact or frozenset(socket.inode for socket in listening if not socket.host)


def _is(host: str, address: str) -> bool:
    return bool(host) and ipaddress.ip_address(host) == ipaddress.ip_address(address)

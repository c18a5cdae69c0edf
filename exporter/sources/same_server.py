"""One server by two addresses, by the sockets that the connections to it reached.

`127.0.0.1`, `localhost` and the name of the host may lead to one listening socket, since `0.0.0.0` listens on
all of them. A server that is read twice would be counted twice.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
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
    peer: Peer | None


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
        answers = [answer for answer in answers if answer.peer is not None]
        ports = [answer.peer.port for answer in answers if answer.peer is not None]
        if len(set(ports)) == len(ports):  # the usual case: no table is read
            self._first = earlier
            return earlier
        sockets = self._sockets()
        first: dict[str, str] = {}
        answered = {answer.url for answer in answers}
        for position, answer in enumerate(answers):
            for other in answers[:position]:
                if other.url not in first and self._same(other, answer, sockets, earlier):
                    first[answer.url] = other.url
                    break
        first.update({url: one for url, one in earlier.items() if one not in answered and url not in first})
        self._first = first
        return first

    def _same(
        self, one: Answered, other: Answered, sockets: Sequence[ListeningSocket], earlier: dict[str, str]
    ) -> bool:
        if one.peer is None or other.peer is None or not same_socket(one.peer, other.peer, sockets):
            return False
        first, second = urlsplit(one.url), urlsplit(other.url)
        reading, again = one.reading, other.reading
        # A name of an endpoint has a digest of its query, as its fragment.
        if first.fragment != second.fragment or reading.engine != again.engine:
            return False
        if reading.identity and again.identity:
            return reading.identity == again.identity
        if earlier.get(other.url) == one.url:
            return True
        local = one.peer.local and other.peer.local
        return local and first.path == second.path and _series(reading) == _series(again)


def _series(reading: ServerReading) -> frozenset[tuple[str, str]]:
    return frozenset((counter.series, counter.quantity) for counter in reading.counters)


def same_socket(one: Peer, other: Peer, sockets: Iterable[ListeningSocket]) -> bool:
    """Whether two connections reached one listening socket. Of another host only the address tells."""
    if (one.host, one.port) == (other.host, other.port):
        return True
    if one.port != other.port or not (one.local and other.local):
        return False
    listening = [socket for socket in sockets if socket.port == one.port]
    first, second = (_accepting(peer, listening) for peer in (one, other))
    return bool(first) and first == second


def _accepting(peer: Peer, listening: Iterable[ListeningSocket]) -> frozenset[int]:
    """The sockets that take connections to an address: those bound to it, else those bound to all."""
    listening = tuple(listening)
    exact = frozenset(socket.inode for socket in listening if _is(socket.host, peer.host))
    return exact or frozenset(socket.inode for socket in listening if not socket.host)


def _is(host: str, address: str) -> bool:
    return bool(host) and ipaddress.ip_address(host) == ipaddress.ip_address(address)

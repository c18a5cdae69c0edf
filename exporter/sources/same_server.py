"""One server by two addresses, by the sockets that the connections to it reached, or by its pages.

`127.0.0.1`, `localhost` and the name of the host may lead to one listening socket, since `0.0.0.0` listens on
all of them. A proxy passes a page on from another port. A server that is read twice would be counted twice.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from exporter.cost.counters import page_values
from exporter.cost.page_marks import PageMarks, Series
from exporter.cost.same_process import alike_pairs, is_one_process
from exporter.cost.state import EndpointState
from exporter.readings import Peer, ServerReading
from exporter.sources.processes.listener import takers
from exporter.sources.processes.proc import SOCKET_BYTES, ListeningSocket, Proc, listeners, past_listeners

TAKEN_OVER_AFTER: Final = 3
"""Ticks in which an endpoint is silent and another one of its server answers, until that one counts."""

NEVER: Final = -sys.maxsize
"""The tick in which an endpoint counted that never did."""

TABLES: Final = ("net/tcp", "net/tcp6")


def own_listeners() -> tuple[ListeningSocket, ...]:
    """The sockets that listen in the network of this process; those of a table that cannot be read lack."""
    proc = Proc()
    contents = (proc.read("self", table, SOCKET_BYTES, past_listeners) for table in TABLES)
    return tuple(one for content in contents if content is not None for one in listeners(content))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an endpoint answered now, or last. `url` is its name; the series are read where they matter."""

    url: str
    engine: str
    identity: str
    peer: Peer
    series: Callable[[], frozenset[int]]


class SameServers:
    """Endpoints that read a server that another endpoint counts.

    Two endpoints are of one server if one socket answers both with the same query, and their pages are of
    one process: by its identity, else, on this host, by the same path and the same series. A proxy may pass
    requests of one socket on to several servers by their names: elsewhere series tell nothing, and a proxy on
    this very host needs paths that tell its servers apart. Whatever the sockets, two are of one server while
    their pages are of one process (`is_one_process`).

    One that is silent stands by what it answered last, which the ledger remembers: two that never answer in
    one tick, or with a restart of the daemon between, are found as well.

    Once found, such a pair lasts while both are watched and where both answer they do so as one. The
    one that counted last goes on: its next good read has what it missed. If it is silent for
    `TAKEN_OVER_AFTER` ticks in which another one answers, that one counts.
    """

    def __init__(self, sockets: Callable[[], Sequence[ListeningSocket]] = own_listeners) -> None:
        self._sockets = sockets
        self._first: dict[str, str] = {}
        self._missed: dict[str, int] = {}
        self._ticks = 0
        self._counted: dict[str, int] = {}
        self._pages: dict[str, Mapping[Series, float]] = {}
        """The pages of the last tick that another one may repeat: marks of a pair are of one of them."""

    def of(
        self,
        urls: Iterable[str],
        readings: Iterable[ServerReading],
        remembered: Mapping[str, EndpointState] | None = None,
    ) -> dict[str, str]:
        """The endpoints that repeat another one, each with that one. `urls` are those that are configured or
        discovered now, `readings` of those of them that answered, in order, `remembered` of any by its URL.
        """
        urls, readings, remembered = tuple(urls), tuple(readings), remembered or {}
        if not self._ticks:
            pairs = {url: remembered[url].counted_at for url in urls if url in remembered}
            self._first = {url: one for url, one in pairs.items() if one in urls}
        alike = self._of_one_process(readings, remembered)
        answers = [answer for reading in readings if (answer := _answer(reading)) is not None]
        answered = {answer.url for answer in answers}
        watched = {url: remembered[url] for url in urls if url in remembered}
        silent = (_last_answer(url, state) for url, state in watched.items() if url not in answered)
        answers += [answer for answer in silent if answer is not None]
        if not self._ticks:  # of a new process: before whatever counts from now on
            latest = sorted(watched, key=lambda url: -watched[url].marks.answered)
            self._counted = {url: -age for age, url in enumerate(latest)}
        earlier = self._lasting(urls, answered)
        first = {url: one for url, one in earlier.items() if not {url, one} <= answered}

        def rank(answer: _Answer) -> tuple[bool, bool, int]:
            # One whose first is silent stands for it.
            repeats = answer.url in earlier and answer.url not in first
            # Of a process that one of them counted before, the marks of that one are the only ones.
            marked = answer.url in watched and watched[answer.url].marks.identity == answer.identity
            return repeats, not marked, -self._counted.get(first.get(answer.url, answer.url), NEVER)

        answers.sort(key=rank)
        self._join(answers, earlier, first)
        order = {answer.url: number for number, answer in enumerate(answers)}
        for pair in alike:
            counting, again = (_last(first, url) for url in sorted(pair, key=lambda url: order.get(url, -1)))
            if again != counting:
                first[again] = counting
        self._first = {url: _last(first, url) for url in urls if url in first}
        self._go_on(urls, answered - first.keys())
        return dict(self._first)

    def _of_one_process(
        self, readings: Iterable[ServerReading], remembered: Mapping[str, EndpointState]
    ) -> list[tuple[str, str]]:
        """The pairs of endpoints that answer, and whose pages are of one process."""
        pairs: list[tuple[str, str]] = []
        before = {url: state.marks.values.by_digest() for url, state in remembered.items()} | self._pages
        self._pages = {}
        for one, other in alike_pairs(readings):
            self._pages |= {one.url: page_values(one), other.url: page_values(other)}
            is_one = is_one_process(one, other, before)
            if is_one is None:  # it started anew, and nothing parts them yet
                is_one = self._first.get(other.url) == one.url or self._first.get(one.url) == other.url
            if is_one:
                pairs.append((one.url, other.url))
        return pairs

    def _go_on(self, urls: Sequence[str], counted: Iterable[str]) -> None:
        """To the next tick, after one in which these count."""
        self._ticks += 1
        self._counted = {url: self._counted[url] for url in urls if url in self._counted}
        self._counted |= dict.fromkeys(counted, self._ticks)

    def _lasting(self, urls: Sequence[str], answered: Collection[str]) -> dict[str, str]:
        """The pairs of the last tick, turned round where the one that counts is gone or silent too long."""
        watched = set(urls)
        others: dict[str, list[str]] = {}
        for url in urls:
            if url in self._first:
                others.setdefault(self._first[url], []).append(url)
        pairs: dict[str, str] = {}
        missed: dict[str, int] = {}
        for first, waiting in others.items():
            heir = next((url for url in waiting if url in answered), None)
            silent = 0 if first in answered else self._missed.get(first, 0) + (heir is not None)
            if first in watched and silent < TAKEN_OVER_AFTER:
                pairs |= dict.fromkeys(waiting, first)
                missed[first] = silent
                continue
            heir = heir or waiting[0]
            pairs |= {url: heir for url in (first, *waiting) if url != heir and url in watched}
            self._counted[heir] = self._counted.get(first, NEVER)
        self._missed = missed
        return pairs

    def _join(self, answers: Sequence[_Answer], earlier: dict[str, str], first: dict[str, str]) -> None:
        """Add to `first` those of these answers that repeat an earlier one of them."""
        reached = sockets_reached((answer.peer for answer in answers), self._sockets)
        requests = [_request(answer, reached) for answer in answers]
        counts = Counter(requests)
        shown: dict[Hashable, str] = {}
        for answer, request in zip(answers, requests, strict=True):
            if counts[request] == 1:  # the usual case
                continue
            page = _page(answer)
            sought = _sought(answer, request, (("url", earlier.get(answer.url)), *page))
            one = next((shown[name] for name in sought if name in shown), None)
            if one is None:
                for name in _shown(answer, request, (("url", answer.url), *page)):
                    shown.setdefault(name, answer.url)
                continue
            again, one = _last(first, answer.url), _last(first, one)
            if again != one:
                first[again] = one


def _last(first: dict[str, str], url: str) -> str:
    """The endpoint that counts for one: itself, or the one at the end of what it repeats."""
    while url in first:
        url = first[url]
    return url


def _answer(reading: ServerReading) -> _Answer | None:
    """What an endpoint answers now; `None` where its address is not known."""
    if reading.peer is None:
        return None
    return _Answer(
        reading.url,
        reading.engine,
        reading.identity or reading.listener,
        reading.peer,
        lambda: frozenset(page_values(reading)),
    )


def _last_answer(url: str, state: EndpointState) -> _Answer | None:
    """What an endpoint answered last, by its marks."""
    if state.peer is None:
        return None
    return _Answer(
        url,
        state.engine,
        state.marks.identity or state.marks.listener,
        state.peer,
        lambda: _series_of_marks(state.marks),
    )


def _series_of_marks(marks: PageMarks) -> frozenset[int]:
    """The series of the last good page."""
    return frozenset(marks.values.by_digest()) - frozenset(marks.gone.by_digest())


def _request(answer: _Answer, reached: dict[Peer, Hashable]) -> Hashable:
    """What two answers of one server have in common: the socket, the query and the engine."""
    # A name of an endpoint has a digest of its query, as its fragment.
    return reached[answer.peer], answer.url.partition("#")[2], answer.engine


def _page(answer: _Answer) -> tuple[Hashable, ...]:
    """What tells a page of this host from another one's where neither has an identity; nothing elsewhere."""
    if not answer.peer.local:
        return ()
    return (("page", urlsplit(answer.url).path, answer.series()),)


def _sought(answer: _Answer, request: Hashable, hints: Iterable[Hashable]) -> Iterator[Hashable]:
    """The names by which to find the server of an answer: its identity, else hints.

    Of two that have an identity no hint counts.
    """
    if answer.identity:
        yield request, answer.identity
        yield from ((request, hint, "no identity") for hint in hints)
    else:
        yield from ((request, hint) for hint in hints)


def _shown(answer: _Answer, request: Hashable, hints: Iterable[Hashable]) -> Iterator[Hashable]:
    """The names by which others find an answer."""
    if answer.identity:
        yield request, answer.identity
    for hint in hints:
        yield request, hint
        if not answer.identity:
            yield request, hint, "no identity"


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
        peer: (peer.local and takers(listening.get(peer.port, ()), peer.host, peer.port)) or peer
        for peer in peers
    }

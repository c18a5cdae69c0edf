"""One server by two addresses, by the sockets that the connections to it reached, or by its pages.

`127.0.0.1`, `localhost` and the name of the host may lead to one listening socket, since `0.0.0.0` listens on
all of them. A proxy passes a page on from another port. A server that is read twice would be counted twice.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from exporter.cost.counters import SAME_START, page_values
from exporter.cost.page_marks import PageMarks, Series, listen_apart
from exporter.cost.state import EndpointState
from exporter.readings import Peer, Quantity, ServerReading
from exporter.sources.processes import procfs
from exporter.sources.processes.listener import takers

TAKEN_OVER_AFTER: Final = 3
"""Ticks in which an endpoint is silent and another one of its server answers, until that one counts."""

NEVER: Final = -sys.maxsize
"""The tick in which an endpoint counted that never did."""

SECONDS: Final[frozenset[Quantity]] = frozenset(
    {"prefill_seconds", "decode_seconds", "decode_request_seconds"}
)
"""Sums of seconds, which two processes that served alike do not have in common."""


def own_listeners() -> tuple[procfs.ListeningSocket, ...]:
    """The sockets that listen in the network of this process."""
    return procfs.Proc().listeners("self")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an endpoint answered now, or last."""

    url: str
    """Its name."""
    engine: str
    identity: str
    peer: Peer
    series: Callable[[], Collection[Series]]
    """Reads the series of its page, where they matter."""


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

    def __init__(self, sockets: Callable[[], Sequence[procfs.ListeningSocket]] = own_listeners) -> None:
        self._sockets = sockets
        self._first: dict[str, str] = {}
        """The endpoints that repeat another one, each with it."""
        self._missed: dict[str, int] = {}
        """Ticks in which a first one was silent while another one of its server answered."""
        self._ticks = 0
        self._counted: dict[str, int] = {}
        """The tick in which each endpoint counted last."""
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
        urls = tuple(urls)
        readings = tuple(readings)
        remembered = remembered or {}
        watched = {url: remembered[url] for url in urls if url in remembered}
        if not self._ticks:  # of a new process: before whatever counts from now on
            pairs = {url: state.counted_at for url, state in watched.items()}
            self._first = {url: one for url, one in pairs.items() if one in urls}
            latest = sorted(watched, key=lambda url: -watched[url].marks.answered)
            self._counted = {url: -age for age, url in enumerate(latest)}
        alike = self._of_one_process(readings, remembered)
        answers = [
            _Answer(
                reading.url,
                reading.engine,
                reading.identity or reading.listener,
                reading.peer,
                partial(page_values, reading),
            )
            for reading in readings
            if reading.peer is not None
        ]
        answered = {answer.url for answer in answers}
        for url, state in watched.items():
            if url not in answered and state.peer is not None:
                marks = state.marks
                identity = marks.identity or marks.listener
                answers.append(_Answer(url, state.engine, identity, state.peer, partial(_last_series, marks)))
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
            earlier_url, later_url = sorted(pair, key=lambda url: order.get(url, -1))
            counting = _last(first, earlier_url)
            again = _last(first, later_url)
            if again != counting:
                first[again] = counting
        self._first = {url: _last(first, url) for url in urls if url in first}
        self._ticks += 1
        self._counted = {url: self._counted[url] for url in urls if url in self._counted}
        self._counted |= dict.fromkeys(answered - first.keys(), self._ticks)
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
        requests: dict[Hashable, list[_Answer]] = {}
        for answer in answers:
            # A name of an endpoint has a digest of its query, as its fragment.
            request = reached[answer.peer], answer.url.partition("#")[2], answer.engine
            requests.setdefault(request, []).append(answer)
        for group in requests.values():
            if len(group) == 1:  # the usual case
                continue
            pages = {
                answer.url: (urlsplit(answer.url).path, frozenset(answer.series()))
                for answer in group
                if answer.peer.local
            }
            shown: list[_Answer] = []
            for answer in group:
                # Of two that have an identity nothing else counts.
                same = [other for other in shown if other.identity and other.identity == answer.identity]
                if not same:
                    page = pages.get(answer.url)
                    same = [
                        other
                        for other in shown
                        if not (other.identity and answer.identity)
                        and (
                            other.url == earlier.get(answer.url)
                            or (page is not None and pages.get(other.url) == page)
                        )
                    ]
                if not same:
                    shown.append(answer)
                    continue
                again = _last(first, answer.url)
                counting = _last(first, same[0].url)
                if again != counting:
                    first[again] = counting


def _last(first: dict[str, str], url: str) -> str:
    """The endpoint that counts for one: itself, or the one at the end of what it repeats."""
    while url in first:
        url = first[url]
    return url


def _last_series(marks: PageMarks) -> Collection[Series]:
    """The series of the last good page."""
    return marks.values.by_digest().keys() - marks.gone.by_digest().keys()


def sockets_reached(
    peers: Iterable[Peer], sockets: Callable[[], Sequence[procfs.ListeningSocket]]
) -> dict[Peer, Hashable]:
    """What stands for the listening socket that each connection reached; of another host only the address.

    `sockets` are only listed where a port is reached by several addresses of this host.
    """
    peers = set(peers)
    addresses = Counter(peer.port for peer in peers if peer.local)
    listening: dict[int, list[procfs.ListeningSocket]] = {
        port: [] for port, count in addresses.items() if count > 1
    }
    for socket in sockets() if listening else ():
        if socket.port in listening:
            listening[socket.port].append(socket)
    return {
        peer: (peer.local and takers(listening.get(peer.port, ()), peer.host, peer.port)) or peer
        for peer in peers
    }


class _StartSlot(NamedTuple):
    """What pages of one process have in common, as a key to find other pages by."""

    engine: str
    identity: str
    """Identity of the process; empty where its start is known."""
    number: int
    """Start of the process in units of `SAME_START`; 0 where it is unknown."""


def alike_pairs(readings: Iterable[ServerReading]) -> Iterator[tuple[ServerReading, ServerReading]]:
    """The pairs of pages that may be of one process: their engine is one, and their starts or identities are.

    A pair is (earlier page, later page).
    """
    by_start: dict[_StartSlot, list[ServerReading]] = {}
    for reading in readings:
        started = reading.started
        identity = reading.identity if started is None else ""
        number = 0 if started is None else started // SAME_START
        # Two starts that are equal but for `SAME_START` have a slot in common.
        slots = [_StartSlot(reading.engine, identity, slot) for slot in (number - 1, number)]
        for other in {other.url: other for slot in slots for other in by_start.get(slot, ())}.values():
            yield other, reading
        for slot in slots:
            by_start.setdefault(slot, []).append(reading)


def is_one_process(
    one: ServerReading, other: ServerReading, before: Mapping[str, Mapping[Series, float]]
) -> bool | None:
    """Whether two pages of a tick are of one process; `None` while one of them counted nothing.

    Their starts are equal, and so are the names of their series. All counts agree: each count differs by no
    more than it moved on either page since the last tick. `before` has the values of that tick by URL. One
    sum of seconds that is not 0 is among them. Two processes that were found to hold GPUs are never one.
    """
    if one.started is None or other.started is None:
        started_together = one.started == other.started and one.identity == other.identity
    else:
        started_together = abs(one.started - other.started) <= SAME_START
    if one.engine != other.engine or listen_apart(one.listener, other.listener) or not started_together:
        return False
    values = page_values(one)
    others = page_values(other)
    if values.keys() != others.keys():
        return False
    if not any(values.values()) or not any(others.values()):
        return None
    moved = _moved(one, values, before)
    others_moved = _moved(other, others, before)
    agree = all(
        abs(value - others[name]) <= max(moved[name], others_moved[name]) for name, value in values.items()
    )
    seconds = [counter.value for counter in one.counters if counter.quantity in SECONDS]
    return agree and any(seconds)


def _moved(
    reading: ServerReading, values: Mapping[Series, float], before: Mapping[str, Mapping[Series, float]]
) -> dict[Series, float]:
    """How far each series of a page moved since the last tick; 0 where that is unknown."""
    marks = before.get(reading.url, {})
    return {name: max(0.0, value - marks.get(name, value)) for name, value in values.items()}

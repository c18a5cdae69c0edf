"""Basic authentication: passwords compared with bcrypt hashes once, and remembered as keyed hashes."""

import base64
import binascii
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from hashlib import blake2b
from hmac import compare_digest
from threading import Event, Lock
from typing import Final

from exporter.config.problems import ConfigError, Problem
from exporter.web.listener import network

MOST_WAITING: Final = 64
MOST_WAITING_FROM_ONE: Final = 4
"""Passwords that wait to be compared: in all, and from one address. Further ones are refused, so that any
number of wrong passwords takes neither all connections nor more than one core."""

LONGEST_WAIT_SECONDS: Final = 10.0
"""Longest wait of a password."""

MOST_FAILED: Final = 1024
"""Addresses that are remembered for a wrong password: the newest."""

BCRYPT_BYTES: Final = 72
"""Bcrypt compares no more of a password; so does Go's, the origin of the format."""

Check = Callable[[bytes, bytes], bool]
"""Whether a password matches a hash; slow on purpose."""


class Verdict(Enum):
    """Result of the check of an `Authorization` header."""

    GRANTED = "granted"
    WRONG = "wrong"
    BUSY = "busy"


def bcrypt_check(file: str) -> Check:
    """Bcrypt's comparison, imported only if a file has users.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from bcrypt import checkpw  # noqa: PLC0415 - half a MiB that few hosts need
    except ImportError:
        message = "needs the package bcrypt: /opt/inference-cost-exporter/bin/pip install '.[auth]'"
        raise ConfigError(file, (Problem(None, "basic_auth_users", message),)) from None
    return checkpw


class Passwords:
    """The users of one file, and the last right password of each.

    Passwords are remembered as hashes under a key of this process, so that its memory has none. An unknown
    user takes as long as the first one of the file. One password is compared at a time.
    """

    def __init__(self, users: Mapping[str, bytes], check: Check) -> None:
        self._users = {name.encode(): hashed for name, hashed in users.items()}
        self._stand_in = next(iter(users.values()))
        self._check = check
        self._key = secrets.token_bytes(blake2b.MAX_KEY_SIZE)
        self._right: dict[bytes, bytes] = {}
        self._queue = _PasswordQueue()

    def verdict(self, authorization: str, peer: str) -> Verdict:
        """Check an `Authorization` header; `peer` is the address of its client."""
        given = _credentials(authorization)
        if given is None:
            return Verdict.WRONG
        user, password = given
        mark = self._mark(user, password)
        if self._is_right(user, mark):
            return Verdict.GRANTED
        address = network(peer)
        with self._queue.turn(address) as admitted:
            if not admitted:
                return Verdict.BUSY
            if self._is_right(user, mark):  # an earlier one in the queue was the same
                return Verdict.GRANTED
            hashed = self._users.get(user)
            matches = self._matches(password, hashed or self._stand_in)
            if not matches or hashed is None:
                self._queue.failed(address)
                return Verdict.WRONG
            self._right[user] = mark
            return Verdict.GRANTED

    def _mark(self, user: bytes, password: bytes) -> bytes:
        # Unambiguous: a user's name has no colon.
        return blake2b(user + b":" + password, key=self._key).digest()

    def _is_right(self, user: bytes, mark: bytes) -> bool:
        return compare_digest(self._right.get(user, b""), mark)

    def _matches(self, password: bytes, hashed: bytes) -> bool:
        try:
            return self._check(password[:BCRYPT_BYTES], hashed)
        except ValueError:  # bytes that bcrypt does not accept
            return False


class _Waiter:
    """A password that waits for its turn. `called` is set at its turn, or when another took its place."""

    __slots__ = ("address", "called", "rank")

    def __init__(self, address: str, rank: tuple[bool, int]) -> None:
        self.address = address
        self.rank = rank
        self.called = Event()


class _PasswordQueue:
    """Passwords in the order in which they are compared, one at a time.

    Addresses that have failed come after those that have not, and the second password of an address after the
    first of every other. In a full queue a password takes the place of one that ranks behind it. So wrong
    passwords from many addresses delay a right one by at most one comparison per address.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiters: list[_Waiter] = []
        self._current: _Waiter | None = None
        self._failed: dict[str, None] = {}

    def failed(self, address: str) -> None:
        """Remember that a password from an address was wrong."""
        with self._lock:
            self._failed.pop(address, None)
            self._failed[address] = None
            if len(self._failed) > MOST_FAILED:
                del self._failed[next(iter(self._failed))]

    @contextmanager
    def turn(self, address: str) -> Iterator[bool]:
        """Wait for a turn and hold it; false if there is none in time."""
        with self._lock:
            waiter = self._enqueue(address)
            self._call_next()
        if waiter is None:
            yield False
            return
        try:
            waiter.called.wait(LONGEST_WAIT_SECONDS)
            yield self._current is waiter
        finally:
            with self._lock:
                if self._current is waiter:
                    self._current = None
                elif waiter in self._waiters:
                    self._waiters.remove(waiter)
                self._call_next()

    def _call_next(self) -> None:
        """Wake the next one only: with all awake, the lock would pass through each."""
        if self._current is None and self._waiters:
            self._current = min(self._waiters, key=lambda each: each.rank)
            self._waiters.remove(self._current)
            self._current.called.set()

    def _enqueue(self, address: str) -> _Waiter | None:
        ahead = Counter(each.address for each in self._waiters)[address]
        if ahead >= MOST_WAITING_FROM_ONE:
            return None
        waiter = _Waiter(address, (address in self._failed, ahead))
        if len(self._waiters) >= MOST_WAITING:
            last = max(self._waiters, key=lambda each: each.rank)
            if last.rank <= waiter.rank:
                return None
            self._waiters.remove(last)
            last.called.set()
        self._waiters.append(waiter)
        return waiter


def _credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of a header, `None` without them (RFC 7617)."""
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = plain.partition(b":")
    return (user, password) if colon else None

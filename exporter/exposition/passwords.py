"""Basic authentication: passwords against bcrypt hashes, looked at once and remembered as keyed hashes."""

import base64
import binascii
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from hashlib import blake2b
from threading import Lock
from typing import Final

from exporter.config.problems import ConfigError, Problem

MOST_WAITING: Final = 16
MOST_WAITING_FROM_ONE: Final = 4
"""Looks at a password that wait for their turn: in all, and from one address. Further ones are refused, so
that wrong passwords, however many, take neither all places nor more than one core."""

BCRYPT_BYTES: Final = 72
"""Bcrypt looks at no more of a password; so does Go's, which the format comes from."""

Check = Callable[[bytes, bytes], bool]
"""Whether a password is that of a hash; slow on purpose."""


class Verdict(Enum):
    """What is to be said to a client."""

    GRANTED = "granted"
    WRONG = "wrong"
    BUSY = "busy"


def bcrypt_check(file: str) -> Check:
    """Bcrypt's own comparison, imported where a file asks for it.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from bcrypt import checkpw  # noqa: PLC0415 - half a MiB that few need
    except ImportError:
        message = "needs the package bcrypt: /opt/inference-cost-exporter/bin/pip install '.[auth]'"
        raise ConfigError(file, (Problem(None, "basic_auth_users", message),)) from None
    return checkpw


class Passwords:
    """The users of one file, and which passwords were right: of each user the last one.

    What is remembered is a hash under a key of this process, so that memory tells no password. An unknown
    user takes as long as the first one of the file. One password is looked at at a time.
    """

    def __init__(self, users: Mapping[str, bytes], check: Check) -> None:
        self._users = {name.encode(): hashed for name, hashed in users.items()}
        self._stand_in = next(iter(users.values()))
        self._check = check
        self._key = secrets.token_bytes(blake2b.MAX_KEY_SIZE)
        self._right: dict[bytes, bytes] = {}
        self._waiting: Counter[str] = Counter()
        self._lock = Lock()
        self._turn = Lock()

    def verdict(self, authorization: str, peer: str) -> Verdict:
        """What an `Authorization` header is worth; `peer` is the address that it comes from."""
        given = _credentials(authorization)
        if given is None:
            return Verdict.WRONG
        user, password = given
        mark = self._mark(user, password)
        if self._is_right(user, mark):
            return Verdict.GRANTED
        with self._in_line(peer) as admitted:
            if not admitted:
                return Verdict.BUSY
            with self._turn:
                if self._is_right(user, mark):  # somebody before us in line had the same
                    return Verdict.GRANTED
                hashed = self._users.get(user)
                matches = self._matches(password, hashed or self._stand_in)
                if not matches or hashed is None:
                    return Verdict.WRONG
                self._right[user] = mark
                return Verdict.GRANTED

    def _mark(self, user: bytes, password: bytes) -> bytes:
        # One pair has one form: a user's name holds no colon.
        return blake2b(user + b":" + password, key=self._key).digest()

    def _is_right(self, user: bytes, mark: bytes) -> bool:
        return hmac.compare_digest(self._right.get(user, b""), mark)

    def _matches(self, password: bytes, hashed: bytes) -> bool:
        try:
            return self._check(password[:BCRYPT_BYTES], hashed)
        except ValueError:  # bytes that bcrypt takes for no password
            return False

    @contextmanager
    def _in_line(self, peer: str) -> Iterator[bool]:
        with self._lock:
            admitted = self._waiting.total() < MOST_WAITING and self._waiting[peer] < MOST_WAITING_FROM_ONE
            self._waiting[peer] += admitted
        try:
            yield admitted
        finally:
            with self._lock:
                self._waiting[peer] -= admitted
                if not self._waiting[peer]:
                    del self._waiting[peer]


def _credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of a header, `None` where it holds none (RFC 7617)."""
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = plain.partition(b":")
    return (user, password) if colon else None

"""Basic authentication: passwords compared with bcrypt hashes once, and remembered as keyed hashes."""

import base64
import binascii
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from hashlib import blake2b
from hmac import compare_digest
from threading import Lock
from typing import Final

from exporter.config.problems import ConfigError, Problem
from exporter.web.listener import network

MOST_WAITING: Final = 64
MOST_WAITING_FROM_ONE: Final = 4
"""Passwords that are compared or wait for it: in all, and from one address. Further ones are refused, so that
any number of wrong passwords takes neither all connections nor more than one core."""

LONGEST_WAIT_SECONDS: Final = 10.0
"""Longest wait of a password."""

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
        raise ConfigError(file, (Problem(message, path="basic_auth_users"),)) from None
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
        """The keyed hash of the last right password of each user."""
        self._comparing = Lock()
        self._counting = Lock()
        self._waiting: Counter[str] = Counter()
        """Passwords that are compared or wait for it, by the network of the client."""

    def verdict(self, authorization: str, peer: str) -> Verdict:
        """Check an `Authorization` header; `peer` is the address of its client."""
        given = _credentials(authorization)
        if given is None:
            return Verdict.WRONG
        user, password = given
        # Unambiguous: a user's name has no colon.
        mark = blake2b(user + b":" + password, key=self._key).digest()
        if self._is_right(user, mark):
            return Verdict.GRANTED
        address = network(peer)
        with self._counting:
            if self._waiting.total() >= MOST_WAITING or self._waiting[address] >= MOST_WAITING_FROM_ONE:
                return Verdict.BUSY
            self._waiting[address] += 1
        try:
            if not self._comparing.acquire(timeout=LONGEST_WAIT_SECONDS):
                return Verdict.BUSY
            try:
                if self._is_right(user, mark):  # the one compared before it was the same
                    return Verdict.GRANTED
                hashed = self._users.get(user)
                try:
                    matches = self._check(password[:BCRYPT_BYTES], hashed or self._stand_in)
                except ValueError:  # bytes that bcrypt does not accept
                    matches = False
                if not matches or hashed is None:
                    return Verdict.WRONG
                self._right[user] = mark
                return Verdict.GRANTED
            finally:
                self._comparing.release()
        finally:
            with self._counting:
                self._waiting -= Counter({address: 1})

    def _is_right(self, user: bytes, mark: bytes) -> bool:
        return compare_digest(self._right.get(user, b""), mark)


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

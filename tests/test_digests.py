"""Hashes that are stored: those that every other program computes."""

import hashlib
import hmac
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from exporter.digests import blake2b, keyed_sha256, sha256

JEFE = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        JEFE,
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
]
"""Key, message and HMAC-SHA-256 of its test cases 1, 2 and 6."""


@pytest.mark.parametrize(("key", "message", "digest"), RFC_4231)
def test_a_keyed_hash(key: bytes, message: bytes, digest: str) -> None:
    """A key that is longer than a block is hashed first."""
    assert keyed_sha256(key, message) == digest


@given(key=some.binary(max_size=130), message=some.binary(max_size=200))
def test_hashes_are_those_of_the_standard_library(key: bytes, message: bytes) -> None:
    """A ledger is read by other builds of Python, which may have OpenSSL's."""
    assert keyed_sha256(key, message) == hmac.new(key, message, "sha256").hexdigest()
    assert sha256(message).digest() == hashlib.sha256(message).digest()
    assert blake2b(message, digest_size=8).digest() == hashlib.blake2b(message, digest_size=8).digest()


def test_a_daemon_without_tls_loads_no_openssl() -> None:
    """It is 4 MiB of resident memory."""
    code = "import sys, exporter.cli.serve; print({'hashlib', '_hashlib', 'ssl', '_ssl'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_an_interpreter_without_its_own_sha256() -> None:
    """Such builds have that of OpenSSL."""
    code = (
        "import sys; sys.modules.update(_sha2=None, _sha256=None)\n"
        "from exporter.digests import keyed_sha256 as h; print(h(b'Jefe', b'what do ya want for nothing?'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == JEFE

"""Hashes without OpenSSL, which `hashlib` loads: 4 MiB that a daemon without TLS would keep.

They are the interpreter's own: `hashlib` takes its blake2b from there, too, and `random` its hash.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import blake2b, sha256
else:
    from _blake2 import blake2b

    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256  # before Python 3.12
        except ImportError:  # Python can be built without it
            from hashlib import sha256

__all__ = ["blake2b", "keyed_sha256", "sha256"]

_BLOCK_BYTES: Final = 64


def keyed_sha256(key: bytes, message: bytes) -> str:
    """HMAC-SHA-256 of a message (RFC 2104), in hexadecimal digits."""
    padded = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return sha256(bytes(byte ^ 0x5C for byte in padded) + inner).hexdigest()

"""The only importer of `hashlib` and `hmac`: hash functions by the interpreter's own code.

Both map OpenSSL, 4.2 MiB of a daemon that speaks no TLS, unless they find none.
"""

import sys
from importlib.util import find_spec
from typing import Final

BUILT_IN: Final = (
    *("_md5", "_sha1", "_sha3", "_blake2"),
    *(("_sha2",) if sys.version_info >= (3, 12) else ("_sha256", "_sha512")),
)
"""Modules with the functions that `hashlib` promises. Some builds of Python leave them to OpenSSL."""

_WITHOUT_OPENSSL: Final = "_hashlib" not in sys.modules and all(map(find_spec, BUILT_IN))

if _WITHOUT_OPENSSL:
    sys.modules["_hashlib"] = None  # type: ignore[assignment]  # makes its import fail, as if it were not there
try:
    from hashlib import blake2b, sha256
    from hmac import compare_digest, digest
finally:
    if _WITHOUT_OPENSSL:
        del sys.modules["_hashlib"]

__all__ = ["blake2b", "compare_digest", "digest", "sha256"]

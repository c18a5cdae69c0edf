"""Hash functions without OpenSSL, whose library would stay in the process."""

import subprocess
import sys

IMPORT = "from exporter.hashes import digest, sha256"
LOADED = "print('_hashlib' in sys.modules, 'libcrypto' in open('/proc/self/maps').read())"
VALUES = "print(sha256(b'abc').hexdigest()[:8], digest(b'key', b'abc', sha256).hex()[:8])"
EXPECTED = "ba7816bf 9c196e32"
"""By `printf abc | openssl dgst -sha256`, and the same with `-hmac key`."""


def ran(*lines: str) -> list[str]:
    """What a fresh interpreter prints."""
    code = "\n".join(("import importlib.util, sys", *lines))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_openssl_is_not_loaded() -> None:
    """By the functions, by `hmac` and by `secrets`; its import works afterwards, as TLS needs it."""
    printed = ran(IMPORT, VALUES, "import hmac, secrets", LOADED, "import _hashlib", LOADED)
    assert printed == [EXPECTED, "False False", "True True"]


def test_a_python_that_leaves_them_to_openssl() -> None:
    """Its `hashlib` is used as it is, and complains of nothing."""
    find = "lambda name, find=importlib.util.find_spec: None if name == '_md5' else find(name)"
    assert ran(f"importlib.util.find_spec = {find}", IMPORT, VALUES, LOADED) == [EXPECTED, "True True"]


def test_a_process_that_has_openssl_keeps_it() -> None:
    """As those do in which tests run."""
    assert ran("import _hashlib", IMPORT, VALUES, LOADED) == [EXPECTED, "True True"]

"""A bearer token kept in a file, which something else renews."""

from pathlib import Path
from typing import Final

from exporter.readings import ReadFailedError

TOKEN_BYTES_MAX: Final = 64 * 1024
"""Largest token file; the longest service account tokens have a few thousand bytes."""


class TokenFile:
    """Reads the token again when the file has changed. The token appears in no message."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, ...] = ()
        self._token = ""

    def token(self) -> str:
        """The token as the file holds it now.

        Raises:
            ReadFailedError: `token_file`, there is none that could be sent.
        """
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
            if version != self._version:
                with self._path.open("rb") as file:
                    self._token = self._checked(file.read(TOKEN_BYTES_MAX + 1))
                self._version = version
        except OSError as failure:
            self._version = ()
            raise ReadFailedError("token_file", f"{self._path}: {failure.strerror}") from failure
        return self._token

    def _checked(self, content: bytes) -> str:
        if len(content) > TOKEN_BYTES_MAX:
            raise ReadFailedError("token_file", f"{self._path}: larger than {TOKEN_BYTES_MAX} bytes")
        token = content.strip()
        if not token:
            raise ReadFailedError("token_file", f"{self._path}: empty")
        if any(not 0x21 <= byte <= 0x7E for byte in token):
            raise ReadFailedError("token_file", f"{self._path}: not one line of printable ASCII")
        return token.decode("ascii")

"""Gzip from a server that is not trusted: bounded in bytes, and in how far it may expand."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from exporter.readings import ReadFailedError

RATIO_MAX: Final = 100
"""How far a body may expand. Pages of engines expand 8 to 27 times, a bomb up to 1,032 times."""

RATIO_FREE: Final = 1 << 20
"""Bytes up to which a body may expand any number of times."""

PIECE_BYTES: Final = 1 << 16
"""Most that is expanded at a time."""


def expanded(received: Iterable[bytes], subject: str, limit: int) -> Iterator[bytes]:
    """The pieces of one gzip member, of which at most `limit` bytes are received.

    How many bytes come out is for the caller to bound: a piece is made once it is asked for.
    `subject` is how errors name who is asked.

    Raises:
        ReadFailedError: `encoding`, it is no gzip or not one whole member; `too_large`.
    """
    inflation = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    taken = made = 0
    for chunk in received:
        taken += len(chunk)
        if taken > limit:
            raise ReadFailedError("too_large", f"{subject}: larger than {limit} bytes of gzip")
        rest = chunk
        while rest:
            try:
                piece = inflation.decompress(rest, PIECE_BYTES)
            except zlib.error as failure:
                raise ReadFailedError("encoding", f"{subject}: not gzip: {failure}") from failure
            if inflation.unused_data:
                raise ReadFailedError("encoding", f"{subject}: more after the end of its gzip")
            made += len(piece)
            if made > RATIO_FREE and made > RATIO_MAX * taken:
                raise ReadFailedError(
                    "too_large", f"{subject}: gzip that expands to more than {RATIO_MAX} times its size"
                )
            rest = inflation.unconsumed_tail
            if piece:
                yield piece
    if not inflation.eof:
        raise ReadFailedError("encoding", f"{subject}: its gzip ends too early")

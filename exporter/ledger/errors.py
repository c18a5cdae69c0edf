"""Errors on opening a ledger, and problems of a running one.

LedgerError
    LedgerLockedError
    DamagedError      (never leaves this package when the daemon opens: the file is moved aside)
"""

from dataclasses import dataclass
from enum import Enum


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message has the remedy."""


class LedgerLockedError(LedgerError):
    """Another process has the ledger."""


class DamagedError(LedgerError):
    """The file is not a ledger of ours, or a broken one; the message has the reason."""


class ProblemKind(Enum):
    """Kinds of problems that a running ledger may have."""

    WRITE_FAILED = "write failed"
    MACHINE_UNKNOWN = "machine unknown"
    """It may be another machine's ledger: the GPUs cannot be read."""
    DISPLACED = "displaced"
    HISTORY_LOST = "history lost"
    NO_FILE = "no file"
    """It is in memory."""
    FILE_SET_ASIDE = "file set aside"
    """It started from zero."""


@dataclass(frozen=True, slots=True)
class LedgerProblem:
    """A problem of a running ledger, and its description with a remedy."""

    kind: ProblemKind
    text: str

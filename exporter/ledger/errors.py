"""Errors of a ledger.

LedgerError
    LedgerLockedError
    DamagedError      (never leaves this package when the daemon opens one: the file is moved aside)
        ForeignSchemaError
"""


def primary_code(error: BaseException) -> int:
    """SQLite's primary code of an error, its low byte; 0 where the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message has the remedy."""


class LedgerLockedError(LedgerError):
    """Another process has the ledger."""


class DamagedError(LedgerError):
    """The file is not a ledger of ours, or a broken one; the message has the reason."""

    aside = "corrupt"
    """Suffix of the name under which the file is moved aside."""


class ForeignSchemaError(DamagedError):
    """The file has a schema of before the first release."""

    aside = "foreign"

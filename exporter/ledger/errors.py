"""Errors of a ledger.

LedgerError
    LedgerLockedError
    DamagedError      (never leaves this package when the daemon opens one: the file is moved aside)
"""


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message has the remedy."""


class LedgerLockedError(LedgerError):
    """Another process has the ledger."""


class DamagedError(LedgerError):
    """The file is not a ledger of ours, or a broken one; the message has the reason."""

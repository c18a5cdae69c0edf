"""What keeps a ledger from opening.

LedgerError
    LedgerLockedError
    DamagedError      (never leaves this package when the daemon opens: the file is moved aside)
"""


class LedgerError(Exception):
    """The ledger cannot be used as it is; the message says what to do."""


class LedgerLockedError(LedgerError):
    """Another process has the ledger."""


class DamagedError(LedgerError):
    """The file is no ledger of ours, or a broken one; the message says in which way."""

"""What lies in a ledger's place, before anything opens it."""

import stat
from pathlib import Path
from typing import Final

from exporter.ledger.errors import LedgerError

BE_ITS_USER: Final = "run this as the user that the daemon runs as"


def see_a_file(path: Path) -> None:
    """See that a file with something in it lies where a ledger is looked for.

    Raises:
        LedgerError: there is nothing, or something else, or it is not for this user to see.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise LedgerError(f"{path}: there is no ledger here") from None
    except PermissionError as error:  # a folder of others
        raise LedgerError(f"{path} cannot be read ({error.strerror}): {BE_ITS_USER}") from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise LedgerError(f"{path} is {'a directory' if stat.S_ISDIR(found.st_mode) else 'no file'}")
    if found.st_size == 0:
        raise LedgerError(f"{path} is empty: no daemon has begun it")

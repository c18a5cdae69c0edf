"""Whose books these are: a machine and its GPUs. Pure."""

from collections.abc import Collection
from typing import Final

from exporter.ledger.contents import Contents

ADOPT: Final = "inference-cost-exporter ledger adopt"
"""The command that binds a ledger to whichever machine opens it next."""


def belongs(contents: Contents, machine: str, uuids: Collection[str]) -> bool:
    """Whether the books may be this machine's: only another machine without a GPU in common is told apart.

    Args:
        contents: what the file holds.
        machine: this machine's identity, `<kind>:<hash>`; empty when it is unknown.
        uuids: the GPUs that are here.
    """
    known = seen(contents)
    return not (_another(contents.machine, machine) and known) or not known.isdisjoint(uuids)


def seen(contents: Contents) -> frozenset[str]:
    """UUIDs of all GPUs that the books ever had."""
    totals = contents.totals
    gpus = {gpu for gpu, _component in totals.gpu_cost} | {gpu for gpu, _party in totals.unpriced}
    return frozenset(gpu.uuid for gpu in gpus.union(totals.energy)).union(contents.state.gpus)


def _another(stored: str, machine: str) -> bool:
    """Of two kinds (one daemon ran as root, the other could not ask the firmware) nothing is concluded."""
    if not stored or not machine:
        return False
    return stored != machine and stored.partition(":")[0] == machine.partition(":")[0]

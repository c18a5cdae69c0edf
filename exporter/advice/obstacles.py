"""Obstacles: why GPUs cannot be given back. Pure."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from exporter.advice.finding import Obstacle
from exporter.advice.hours import HostUsage, PricedGpu, ServerGpus
from exporter.readings import ServerKey


def obstacle(host: HostUsage, gpus: ServerGpus, freed: AbstractSet[str]) -> Obstacle:
    """Why the GPUs of a server cannot be given back, with those that are freed anyway; empty if they can."""
    if not gpus.exclusive:
        return "shared"
    return unit_obstacle(host, gpus.gpus, freed)


def stopping_obstacle(
    host: HostUsage, server: ServerKey, freed: AbstractSet[str], stopped: AbstractSet[ServerKey]
) -> Obstacle:
    """As `obstacle`, for a server that stops beside others that stop."""
    gpus = tuple(gpu for gpu in host.gpus if server in gpu.holders)
    if not all(gpu.holders <= stopped | {server} for gpu in gpus):
        return "shared"
    return unit_obstacle(host, gpus, freed)


def unit_obstacle(host: HostUsage, gpus: Sequence[PricedGpu], freed: AbstractSet[str]) -> Obstacle:
    """Why GPUs that nobody needs cannot be given back."""
    whole = {gpu.gpu.uuid for gpu in host.gpus} <= freed | {gpu.gpu.uuid for gpu in gpus}
    for gpu in gpus:
        if gpu.release == "host" and not whole:
            return "host"
        if gpu.release != "gpu" and gpu.release != "host":  # noqa: PLR1714 - narrows the type
            return gpu.release
    return ""

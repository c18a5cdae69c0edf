"""GPUs of the configuration compared with the readings: holders, missing and returned GPUs. Pure."""

from collections.abc import Iterable

from exporter.config.settings import ConfiguredServer
from exporter.readings import Gpu, GpuReading, Holder, ServerKey
from exporter.tariff.terms import Retirement
from exporter.units import Instant


def holders(servers: Iterable[ConfiguredServer], gpus: Iterable[GpuReading]) -> tuple[Holder, ...]:
    """Holders by configuration. A GPU is named by its NVML index or its UUID; `None` is every GPU."""
    gpus = tuple(gpus)
    by_gpu: dict[tuple[ServerKey, str], Holder] = {}
    for server in servers:
        key = ServerKey(server.namespace, server.name)
        share = None if server.gpu_share_ratio is None else float(server.gpu_share_ratio)
        for gpu in gpus:
            if server.gpus is None or gpu.index in server.gpus or gpu.gpu.uuid in server.gpus:
                # Replicas of one server on one GPU are one holder; a share configured for one is the
                # server's.
                before = by_gpu.get((key, gpu.gpu.uuid))
                ratio = share if share is not None else (before.share_ratio if before else None)
                by_gpu[key, gpu.gpu.uuid] = Holder(key, gpu.gpu.uuid, ratio)
    return tuple(by_gpu.values())


def missing_gpus(
    servers: Iterable[ConfiguredServer], gpus: Iterable[GpuReading]
) -> dict[str, list[int | str]]:
    """Configured GPUs that this host does not have, by server name."""
    gpus = tuple(gpus)
    here: set[int | str] = {gpu.index for gpu in gpus} | {gpu.gpu.uuid for gpu in gpus}
    missing: dict[str, dict[int | str, None]] = {}
    for server in servers:  # replicas have one name
        absent = [gpu for gpu in server.gpus or () if gpu not in here]
        if absent:
            missing.setdefault(server.name, {}).update(dict.fromkeys(absent))
    return {name: list(absent) for name, absent in missing.items()}


def returned_gpus(retired: Iterable[Retirement], now: Instant, gpus: Iterable[Gpu]) -> tuple[Retirement, ...]:
    """GPUs that are marked retired and present."""
    here = {gpu.uuid for gpu in gpus}
    return tuple(gone for gone in retired if gone.since <= now and gone.uuid in here)

"""Configured servers hold the GPUs that the configuration names."""

from decimal import Decimal

from exporter.config.settings import ConfiguredServer
from exporter.readings import Gpu, GpuReading, Holder, ServerKey
from exporter.sources.configured import holders, missing_gpus

GPUS = tuple(GpuReading(Gpu(f"GPU-{index}", "H100"), index) for index in range(4))


def server(name: str, gpus: tuple[int | str, ...] | None, share: str | None = None) -> ConfiguredServer:
    ratio = None if share is None else Decimal(share)
    return ConfiguredServer(name, f"http://127.0.0.1/{name}", gpus, gpu_share_ratio=ratio)


def test_gpus_are_named_by_index_or_uuid() -> None:
    """Both name the same GPU; the holder speaks of its UUID, which outlives a reboot."""
    assert (
        Holder(ServerKey("", "a"), "GPU-1"),
        Holder(ServerKey("", "a"), "GPU-3"),
    ) == holders([server("a", (1, "GPU-3"))], GPUS)


def test_all_is_every_gpu_that_is_here() -> None:
    """`gpus: all` follows the host."""
    assert [holder.uuid for holder in holders([server("a", None)], GPUS)] == [
        "GPU-0",
        "GPU-1",
        "GPU-2",
        "GPU-3",
    ]


def test_replicas_hold_a_gpu_once() -> None:
    """Two endpoints of one server on one GPU are one holder, and its share is not doubled."""
    assert (Holder(ServerKey("", "a"), "GPU-0", 0.5),) == holders(
        [server("a", (0,), "0.5"), server("a", (0,), "0.5")], GPUS
    )


def test_a_gpu_that_is_not_here_is_told() -> None:
    """A configured index beyond the host is a finding, not a holder."""
    servers = [server("a", (3, 4)), server("b", (0,))]

    assert missing_gpus(servers, GPUS) == {"a": [4]}
    assert missing_gpus([server("a", (3, 4)), server("a", (1, 4, 9)), server("a", (0,))], GPUS) == {
        "a": [4, 9]
    }
    assert [holder.uuid for holder in holders(servers, GPUS)] == ["GPU-3", "GPU-0"]

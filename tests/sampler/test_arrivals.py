"""Who holds which GPU is in the log, once per change."""

import pytest

from exporter.readings import Frame, Gpu, GpuReading, Holder, ServerKey
from exporter.sampler.change_log import MOST_TOLD, HolderChanges

GPUS = tuple(GpuReading(Gpu(f"GPU-{number}", "H100"), number) for number in range(3))
CHAT, BATCH = ServerKey("ml", "chat"), ServerKey("", "batch")


def frame(
    *holders: Holder, unknown_gpus: frozenset[str] = frozenset(), gpus: tuple[GpuReading, ...] | None = GPUS
) -> Frame:
    """A tick in which these hold what they hold."""
    return Frame(0, 0, gpus, holders=holders, unknown_gpus=unknown_gpus)


def told(log: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """What was said since the last call: message, server, GPUs."""
    said = [
        (record.getMessage(), getattr(record, "server", ""), getattr(record, "gpus", ""))
        for record in log.records
    ]
    log.clear()
    return said


@pytest.fixture
def arrivals(caplog: pytest.LogCaptureFixture) -> HolderChanges:
    caplog.set_level("INFO", logger="exporter.sampler.change_log")
    return HolderChanges()


def test_a_change_is_told_once(arrivals: HolderChanges, caplog: pytest.LogCaptureFixture) -> None:
    """Who comes, who holds other GPUs, who goes; nothing while nothing changes."""
    both = (Holder(CHAT, "GPU-1"), Holder(CHAT, "GPU-0"), Holder(BATCH, "GPU-1"))
    arrivals.note(frame(*both))
    assert told(caplog) == [("server holds GPUs", "ml/chat", "0,1"), ("server holds GPUs", "batch", "1")]
    arrivals.note(frame(*both))
    assert told(caplog) == []
    arrivals.note(frame(Holder(CHAT, "GPU-0")))
    assert told(caplog) == [
        ("server holds GPUs", "ml/chat", "0"),
        ("server holds no GPU any more", "batch", ""),
    ]


def test_what_nobody_can_tell_is_no_change(arrivals: HolderChanges, caplog: pytest.LogCaptureFixture) -> None:
    """NVML is silent, or nobody knows who holds a GPU: nobody is said to have gone."""
    arrivals.note(frame(Holder(CHAT, "GPU-0")))
    told(caplog)
    arrivals.note(frame(gpus=None))
    arrivals.note(frame(unknown_gpus=frozenset({"GPU-0"})))
    arrivals.note(frame(Holder(CHAT, "GPU-0")))
    assert told(caplog) == []


def test_very_many_at_once_are_a_number(arrivals: HolderChanges, caplog: pytest.LogCaptureFixture) -> None:
    """A cluster that is drained fills no log."""
    arrivals.note(frame(*(Holder(ServerKey("", f"s{number}"), "GPU-0") for number in range(MOST_TOLD + 5))))
    said = told(caplog)
    assert len(said) == MOST_TOLD + 1
    assert said[-1][0] == "more servers changed what they hold"

"""Holders of GPUs are in the log, once per change."""

import pytest

from exporter.readings import Frame, Gpu, GpuReading, Holder, ServerKey
from exporter.sampler.change_log import SERVERS_LOGGED_MAX, ChangeLog

GPUS = tuple(GpuReading(Gpu(f"GPU-{number}", "H100"), number) for number in range(3))
CHAT, BATCH = ServerKey("ml", "chat"), ServerKey("", "batch")


def frame(
    *holders: Holder, unknown_gpus: frozenset[str] = frozenset(), gpus: tuple[GpuReading, ...] | None = GPUS
) -> Frame:
    """A tick in which these hold what they hold."""
    return Frame(0, 0, gpus, holders=holders, unknown_gpus=unknown_gpus)


def logged(log: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Lines since the last call: message, server, GPUs."""
    lines = [
        (record.getMessage(), getattr(record, "server", ""), getattr(record, "gpus", ""))
        for record in log.records
    ]
    log.clear()
    return lines


@pytest.fixture
def changes(caplog: pytest.LogCaptureFixture) -> ChangeLog:
    caplog.set_level("INFO", logger="exporter.sampler.change_log")
    return ChangeLog()


def test_a_change_is_logged_once(changes: ChangeLog, caplog: pytest.LogCaptureFixture) -> None:
    """Who comes, who holds other GPUs, who goes; nothing while nothing changes."""
    both = (Holder(CHAT, "GPU-1"), Holder(CHAT, "GPU-0"), Holder(BATCH, "GPU-1"))
    changes.note_holders(frame(*both))
    assert logged(caplog) == [
        ("server gpus changed", "ml/chat", "0,1"),
        ("server gpus changed", "batch", "1"),
    ]
    changes.note_holders(frame(*both))
    assert logged(caplog) == []
    changes.note_holders(frame(Holder(CHAT, "GPU-0")))
    assert logged(caplog) == [
        ("server gpus changed", "ml/chat", "0"),
        ("server released its gpus", "batch", ""),
    ]


def test_a_tick_without_an_answer_is_no_change(changes: ChangeLog, caplog: pytest.LogCaptureFixture) -> None:
    """NVML is silent, or nobody knows who holds a GPU: nobody is said to have gone."""
    changes.note_holders(frame(Holder(CHAT, "GPU-0")))
    logged(caplog)
    changes.note_holders(frame(gpus=None))
    changes.note_holders(frame(unknown_gpus=frozenset({"GPU-0"})))
    changes.note_holders(frame(Holder(CHAT, "GPU-0")))
    assert logged(caplog) == []


def test_very_many_at_once_are_a_number(changes: ChangeLog, caplog: pytest.LogCaptureFixture) -> None:
    """A cluster that is drained fills no log."""
    changes.note_holders(
        frame(*(Holder(ServerKey("", f"s{number}"), "GPU-0") for number in range(SERVERS_LOGGED_MAX + 5)))
    )
    lines = logged(caplog)
    assert len(lines) == SERVERS_LOGGED_MAX + 1
    assert lines[-1][0] == "more server gpus changed"

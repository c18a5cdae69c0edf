"""The driver of `tools/captures`: one engine that cannot run ends no other, and is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.recordings import record
from tests.recordings.engines import RUNNABLE, Runnable


def test_an_engine_that_fails_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All are run, in their order; the exit status is 1, and what failed stands in the last lines."""
    captured: list[str] = []

    def capture(runnable: Runnable, folder: Path) -> None:
        captured.append(folder.name)
        if runnable.engine == "vllm":
            raise record.CaptureError("cannot be installed: no space left")
        if runnable.engine == "ray":
            raise ConnectionRefusedError("refused")

    monkeypatch.setattr(record, "capture", capture)
    with pytest.raises(SystemExit) as ended:
        record.main(str(tmp_path))

    assert captured == [f"{runnable.engine}-{runnable.version}" for runnable in RUNNABLE]
    releases = {name.partition("-")[0]: name for name in captured}
    assert ended.value.code == (
        f"not recorded:\n  {releases['vllm']}: cannot be installed: no space left\n"
        f"  {releases['ray']}: refused"
    )
    output = capsys.readouterr()
    assert f"{releases['vllm']}: not recorded: cannot be installed: no space left\n" in output.err
    assert output.out.count(": recorded in ") == len(RUNNABLE) - 2


def test_some_engines_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a name that is none says which there are."""
    captured: list[str] = []
    monkeypatch.setattr(record, "capture", lambda runnable, _: captured.append(runnable.engine))
    record.main(str(tmp_path), "max", "kserve")
    assert captured == ["max", "kserve"]
    with pytest.raises(SystemExit, match="ollama: no such engine; there are max, xinference, "):
        record.main(str(tmp_path), "ollama")


def test_a_recording_in_which_nothing_was_counted_is_none(tmp_path: Path) -> None:
    """An agent may report later than the last page was read."""
    pages: list[dict[str, Any]] = [
        {"file": f"000{number}.prom", "counted": {"m": {"prompt": 4.0}}} for number in (1, 2)
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"pages": pages}), encoding="utf-8")
    with pytest.raises(record.CaptureError, match="nothing was counted while it was asked"):
        record.thin(tmp_path)


def test_the_last_error_of_a_program_is_shown() -> None:
    """On one line, of a bounded length."""
    assert record.last_error("ERROR: no such version\nWARNING: a newer pip\n") == "ERROR: no such version"
    assert record.last_error("collecting\n\nkilled\n") == "killed"
    assert record.last_error("") == "it says nothing"
    assert len(record.last_error("error " * 1000)) == record.KEPT_CHARACTERS

"""tools/python chooses a Python, or says which one is missing."""

import os
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "python"
OLD, NEW = "exit 1", "exit 0"
"""What a Python answers to the question whether it is new enough."""


def chosen(
    folder: Path, pythons: dict[str, str], *arguments: str, python: str | None = None
) -> tuple[int, str, str]:
    """Exit status, output and errors of the tool on a machine that has these and nothing else."""
    for name, answer in pythons.items():
        (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder)} | ({} if python is None else {"PYTHON": python})
    done = subprocess.run(
        ["/bin/bash", str(TOOL), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.replace(f"{folder}{os.sep}", "").strip(), done.stderr.strip()


@pytest.mark.parametrize("arguments", [(), ("3.12",)])
def test_the_systems_choice_comes_first(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Then the newest that is there."""
    assert chosen(tmp_path, {"python3": NEW, "python3.13": NEW}, *arguments) == (0, "python3", "")
    assert chosen(tmp_path, {"python3": OLD, "python3.13": NEW}, *arguments) == (0, "python3.13", "")


def test_a_choice_by_hand_is_followed(tmp_path: Path) -> None:
    """And is an error where it is too old, unless a later version is asked for than the exporter needs."""
    pythons = {"python3": NEW, "python3.13": NEW, "python3.11": OLD}
    assert chosen(tmp_path, pythons, python="python3.13") == (0, "python3.13", "")
    assert chosen(tmp_path, pythons, python="python3.11")[0] == 1
    assert chosen(tmp_path, pythons, "3.12", python="python3.11") == (0, "python3", "")


@pytest.mark.parametrize(("arguments", "version"), [((), "3.11"), (("3.12",), "3.12")])
def test_what_is_missing_is_said(arguments: tuple[str, ...], version: str, tmp_path: Path) -> None:
    """In one line, with what to do."""
    said = f"missing: Python {version} or later; on Debian 13: apt-get install --no-install-recommends"
    told = 1, "", f"{said} python3 python3-venv"
    assert chosen(tmp_path, {"python3": OLD}, *arguments) == told

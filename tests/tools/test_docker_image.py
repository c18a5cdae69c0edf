"""tools/docker-image: the image has the version that git gives the checkout, and the tag of the manifests."""

import os
import subprocess
from pathlib import Path

import pytest

from exporter.version import REVISION, VERSION
from tests import next_release
from tests.docs.markdown import sections

ROOT = Path(__file__).parents[2]
NAMED = f"inference-cost-exporter:{next_release.VERSION}"
MINE = "registry.example:5000/metering/inference-cost-exporter"
BUILD = ["build", "--file", "deploy/docker/Dockerfile", f"--tag={NAMED}"]
ARGUMENTS = ["--build-arg", f"VERSION={VERSION}", "--build-arg", f"REVISION={REVISION}"]


def image(folder: Path, *words: str, status: int = 0) -> tuple[int, list[list[str]], str]:
    """As `called`, of the tool itself."""
    return called(folder, str(ROOT / "tools" / "docker-image"), *words, status=status)


def called(folder: Path, *command: str, status: int = 0) -> tuple[int, list[list[str]], str]:
    """Exit status, what `docker` was called with, and the messages; this `docker` notes its words."""
    docker = folder / "docker"
    docker.write_text(f'#!/bin/bash\n(printf "%s\\t" "$@"; echo) >>{folder}/calls\nexit {status}\n')
    docker.chmod(0o755)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    calls = folder / "calls"
    noted = calls.read_text().splitlines() if calls.exists() else []
    return done.returncode, [line.split("\t")[:-1] for line in noted], (done.stdout + done.stderr).strip()


def test_a_build_has_the_version_of_the_checkout(tmp_path: Path) -> None:
    """The one that `--version` prints there; nothing is pushed."""
    assert VERSION != "0+unknown"
    assert image(tmp_path) == (0, [[*BUILD, *ARGUMENTS, "."]], f"{NAMED} is version {VERSION}")


def test_a_name_is_pushed_to(tmp_path: Path) -> None:
    """With the tag of the chart, so that its default finds the image; options are those of the build."""
    status, calls, _ = image(tmp_path, MINE, "--platform", "linux/arm64")

    pushed = f"{MINE}:{next_release.VERSION}"
    options = ["--platform", "linux/arm64"]
    assert status == 0
    assert calls == [[*BUILD, f"--tag={pushed}", *ARGUMENTS, *options, "."], ["push", pushed]]


def test_the_commands_of_the_page_push_where_the_chart_looks(tmp_path: Path) -> None:
    """By the variable that the commands of each platform name."""
    code_block, _ = sections(ROOT / "docs" / "install.md")["Kubernetes"]
    status, calls, _ = called(tmp_path, "bash", "-euc", code_block.text)

    assert (status, calls[-1]) == (0, ["push", f"registry.example/{NAMED}"])


def test_options_need_no_name(tmp_path: Path) -> None:
    """As those of a mirror."""
    _, calls, _ = image(tmp_path, "--build-arg", "PIP_NO_INDEX=1")

    assert calls == [[*BUILD, *ARGUMENTS, "--build-arg", "PIP_NO_INDEX=1", "."]]


def test_what_is_not_built_is_not_pushed(tmp_path: Path) -> None:
    """The status is that of the build."""
    status, calls, message = image(tmp_path, MINE, status=7)

    assert (status, len(calls), message) == (7, 1, "")


@pytest.mark.parametrize("end", [":1.0.0", "@sha256:0"])
def test_a_tag_of_ones_own_is_refused(end: str, tmp_path: Path) -> None:
    """The chart would not find it."""
    message = f"{MINE}{end}: leave out the tag; it is {next_release.VERSION}, that of the manifests"
    assert image(tmp_path, f"{MINE}{end}") == (2, [], message)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """With the way to name another."""
    done = subprocess.run(
        [ROOT / "tools" / "docker-image"],
        env={"PATH": os.environ["PATH"], "DOCKER": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    message = f"missing: {tmp_path}/none; DOCKER=podman builds by another program\n"
    assert (done.returncode, done.stderr) == (1, message)

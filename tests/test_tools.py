"""tools/python chooses a Python, or says which one is missing."""

import os
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "python"
ENVIRONMENT = TOOL.with_name("environment")
IN_MEMORY = TOOL.with_name("in_memory")
OLD, NEW = "exit 1", "exit 0"
"""What a Python answers to the question whether it is new enough."""


def chosen(
    folder: Path, pythons: dict[str, str], *arguments: str, python: str | None = None
) -> tuple[int, str, str]:
    """Exit status, output and errors of the tool on a machine that has these and nothing else."""
    for name, answer in pythons.items():
        (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "OS_RELEASE": str(folder / "os-release")}
    environment |= {} if python is None else {"PYTHON": python}
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
    missing = f"missing: Python {version} or later; on Debian 13: apt-get install --no-install-recommends"
    image = "" if arguments else "; or run it in a container: docs/operations.md#docker-image"
    expected = 1, "", f"{missing} python3 python3-venv{image}"
    assert chosen(tmp_path, {"python3": OLD}, *arguments) == expected


TEN = "case $2 in *print*) echo 3.10 ;; *) exit 1 ;; esac"
"""Python 3.10, as Ubuntu 22.04 has it."""


@pytest.mark.parametrize(
    ("release", "way"),
    [
        (
            'ID=ubuntu\nVERSION_ID="22.04"\n',
            "on Ubuntu 22.04: apt-get install --no-install-recommends python3.11 python3.11-venv",
        ),
        ('ID="rhel"\nVERSION_ID="9.4"\n', "on RHEL: dnf install python3.11"),
        ("ID=debian\n", "on Debian 13: apt-get install --no-install-recommends python3 python3-venv"),
    ],
)
def test_each_system_has_a_way_out(release: str, way: str, tmp_path: Path) -> None:
    """The line says which Python was found, and what this system has that is new enough."""
    (tmp_path / "os-release").write_text(release)
    expected = f"missing: Python 3.11 or later, found 3.10; {way}; or run it in a container: "
    assert chosen(tmp_path, {"python3": TEN}) == (1, "", f"{expected}docs/operations.md#docker-image")
    assert chosen(tmp_path, {"python3": TEN, "python3.11": NEW}) == (0, "python3.11", "")


def test_a_choice_by_hand_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Another Python would not do, and the line must not ask for it."""
    expected = 1, "", "missing: python3.14, which PYTHON names"
    assert chosen(tmp_path, {"python3": NEW}, python="python3.14") == expected


STUB = """#!/bin/sh
case "$*" in
  "-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && echo "#!$4/bin/python" >"$4/bin/pip" ;;
  "-m pip install "*) echo "${*##*--no-input }" >>"$LOG" && [ ! -e "$LOG.full" ] ;;
esac
"""
"""A Python that makes an environment of two files, and writes down what pip is to install."""


class Environment:
    """tools/environment with a Python that only pretends; `installed` is what pip was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._log = folder, folder / "log"
        python = folder / "python"
        python.write_text(STUB)
        python.chmod(0o755)
        self._environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), "LOG": str(self._log)}

    def make(self, name: str, *packages: str) -> int:
        command = [ENVIRONMENT, str(self.folder / name), "--packages", *packages]
        return subprocess.run(command, env=self._environment, check=False, capture_output=True).returncode

    def disk_is_full(self, *, full: bool) -> None:
        mark = self._log.with_suffix(".full")
        mark.touch() if full else mark.unlink()

    @property
    def installed(self) -> list[str]:
        return self._log.read_text().splitlines()


def test_an_environment_is_made_once_for_its_packages(tmp_path: Path) -> None:
    """In the steps that are asked for; other packages make it anew."""
    environment = Environment(tmp_path)
    assert [environment.make("here", "a", "b", ",", "--no-deps", "c") for _ in range(2)] == [0, 0]
    assert environment.installed == ["a b", "--no-deps c"]
    assert environment.make("here", "a") == 0
    assert environment.installed == ["a b", "--no-deps c", "a"]


def test_an_environment_that_pip_did_not_finish_is_not_complete(tmp_path: Path) -> None:
    """The next run makes it."""
    environment = Environment(tmp_path)
    environment.disk_is_full(full=True)
    assert environment.make("here", "a", ",", "b") != 0
    environment.disk_is_full(full=False)
    assert environment.make("here", "a", ",", "b") == 0
    assert environment.installed == ["a", "a", "b"]


def test_programs_of_an_environment_run_where_it_is(tmp_path: Path) -> None:
    """They name their folder: it is made anew where it was moved, and never names a link that led to it."""
    environment = Environment(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert environment.make("link/here", "a") == 0
    (tmp_path / "link").unlink()
    assert environment.make("real/here", "a") == 0
    assert environment.installed == ["a"]
    (tmp_path / "real").rename(tmp_path / "moved")
    assert environment.make("moved/here", "a") == 0
    assert environment.installed == ["a", "a"]
    assert (tmp_path / "moved/here/bin/pip").read_text() == f"#!{tmp_path}/moved/here/bin/python\n"


def test_an_old_python_is_told_before_pip_runs(tmp_path: Path) -> None:
    """An environment is not begun with it; pip's error would name a hash, and not Python."""
    old = tmp_path / "python3.10"
    old.write_text(f"#!/bin/sh\n{TEN}\n")
    old.chmod(0o755)
    done = subprocess.run(
        [ENVIRONMENT, str(tmp_path / "environment"), "requirements/runtime.lock"],
        env={"PATH": os.environ["PATH"], "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("missing: Python 3.11 or later, found 3.10; on ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "environment").exists()


@pytest.mark.parametrize(("free", "in_memory"), [("3000000", True), ("65536", False), (None, False)])
def test_temporary_files_are_in_memory_where_there_is_room(
    free: str | None, tmp_path: Path, *, in_memory: bool
) -> None:
    """A container has 64 MB there, and another system no such place; the command's status is the tool's."""
    df = tmp_path / "df"
    df.write_text("#!/bin/sh\nexit 1\n" if free is None else f"#!/bin/sh\necho Avail\necho {free}\n")
    df.chmod(0o755)
    script = 'echo "$TMPDIR"; [ ! -d "$TMPDIR" ] || touch "$TMPDIR/a"; exit 3'
    done = subprocess.run(
        [IN_MEMORY, "sh", "-c", script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    folder = Path(done.stdout.strip())

    assert (done.returncode, done.stderr) == (3, "")
    assert (folder.parent == Path("/dev/shm")) is in_memory  # noqa: S108 - where memory is
    assert folder.exists() is not in_memory

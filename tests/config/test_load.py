"""Files that are missing, foreign, hostile or huge."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config import Config, ConfigError, load
from tests.nightly import daily

Refused = Callable[[bytes], list[str]]


def error_of(path: Path) -> str:
    """What loading a path is refused with."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def test_no_file_is_all_defaults() -> None:
    """Nothing configured is a supported install."""
    assert load(None) == Config()


def test_a_file_is_read(tmp_path: Path) -> None:
    """A file's values are taken, also through a link, as Kubernetes mounts them."""
    (tmp_path / "data").write_text("interval: 5s\n")
    path = tmp_path / "ice.yaml"
    path.symlink_to("data")
    assert load(path).interval == 5_000_000_000


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    """A missing file, a directory, a pipe without a writer and a loop of links are told apart at once."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert error_of(tmp_path / "gone") == f"{tmp_path}/gone: cannot be read: No such file or directory"
    assert error_of(tmp_path) == f"{tmp_path}: cannot be read: it is a directory; name the file in it"
    assert error_of(tmp_path / "pipe") == f"{tmp_path}/pipe: cannot be read: it is no regular file"
    assert "cannot be read: Too many levels of symbolic links" in error_of(tmp_path / "loop")
    problem = error_of(Path("a\0b"))  # Python 3.13 words the rest in its own way
    assert problem.startswith("a\0b: cannot be read: ")
    assert "embedded null" in problem


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions are told in the system's words (tests may run as root, so the system is played)."""

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert error_of(tmp_path / "x") == f"{tmp_path}/x: cannot be read: Permission denied"


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    """More than 1 MiB is refused, however much more it is."""
    path = tmp_path / "ice.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert error_of(path) == f"{path}: is larger than 1048576 bytes; no configuration is"


def test_other_encodings_are_refused_with_their_place(refused: Refused) -> None:
    """Latin-1 and UTF-16 are not guessed."""
    assert refused(b"interval: 10s\nx: caf\xe9\n") == ["ice.yaml:2:7: is not UTF-8; save the file as UTF-8"]
    assert refused("interval: 10s".encode("utf-16")) == ["ice.yaml:1:1: is not UTF-8; save the file as UTF-8"]


def test_a_nul_is_refused(refused: Refused) -> None:
    """A NUL byte is a control character like another."""
    assert refused(b"a\0: 1\n") == ["ice.yaml:1:2: has the control character U+0000; remove it"]


def test_an_unnamed_configuration_has_a_name_in_errors() -> None:
    """Bytes without a file are called configuration."""
    from exporter.config import parse

    with pytest.raises(ConfigError, match=r"^configuration:1:1: x: unknown key"):
        parse(b"x: 1\n")


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nesting": lambda: b"hardware: " + b"[" * 500_000,
    "nested mappings": lambda: b"{a: " * 200_000,
    "unknown keys": lambda: b"".join(b"k%d: 1\n" % n for n in range(90_000)),
    "one long key": lambda: b"k" * 1_000_000 + b": 1\n",
    "long keys": lambda: b"".join(b"%d%s: 1\n" % (n, b"x" * 5000) for n in range(200)),
    "many items": lambda: b"servers: [" + b"1," * 400_000 + b"]\n",
    "duplicates": lambda: b"interval: 10s\n" * 60_000,
    "digits": lambda: b"hours_per_month: " + b"9" * 1_000_000,
    "laughs": lambda: (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"a%d: &a%d [*a,*a,*a,*a,*a,*a,*a]\n" % (n, n) for n in range(9))
    ),
    "spaces": lambda: b"interval:" + b" " * 1_000_000,
    "patterns": lambda: b"hardware: [{match: {host: '" + b"*a" * 400_000 + b"'}}]",
}
"""Files of up to a megabyte, made by their tests alone."""


@pytest.mark.parametrize("kind", daily(HOSTILE, HOSTILE.keys() - {"many items", "duplicates"}))
def test_hostile_files_are_refused_fast_and_briefly(kind: str, refused: Refused) -> None:
    """A file of up to a megabyte costs at most a few seconds and a screen of errors, whatever it holds."""
    data = HOSTILE[kind]()
    began = time.process_time()
    lines = refused(data)

    assert time.process_time() - began < 10
    assert len(lines) == 1
    assert len(lines[0]) < 400


def test_an_engine_is_one_of_the_catalogue(refused: Refused) -> None:
    """A misspelled engine is told with the engines that there are."""
    (line,) = refused(b"servers: [{name: a, url: 'http://h', gpus: all, engine: vlm}]\n")
    assert line.startswith('ice.yaml:1:57: servers[0].engine: "vlm" is not one of ')
    assert "vllm" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limits: {model: 0}\n", "ice.yaml:1:10: limits.model: unknown key; did you mean models?"),
        ("itrvl: 99s\n", "ice.yaml:1:1: itrvl: unknown key; did you mean interval?"),
        (
            "limits: {models: 0, modells: 0}\n",
            'ice.yaml:1:18: limits.models: "0" is out of range: models, 1 to 1000',
        ),
    ],
)
def test_the_first_problem_of_the_file_is_said(refused: Refused, text: str, expected: str) -> None:
    """One problem at a time, in the order of the file."""
    assert refused(text.encode()) == [expected]


def test_a_secret_under_a_key_that_is_refused_is_not_repeated(refused: Refused) -> None:
    """`bearer_token` is no slip of the pen for the file that holds it."""
    server = "servers: [{name: a, url: 'http://127.0.0.1:1', gpus: all, metrics: {bearer_token: hunter2}}]\n"

    assert not any("hunter2" in line for line in refused(server.encode()))

"""Each file of tests/configs is taken, or refused with the words that it begins with."""

from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from exporter.config import ConfigError, document, parse

CONFIGS = Path(__file__).parents[1] / "configs"
BAD = sorted(CONFIGS.glob("bad-*.yaml"))
GOOD = sorted(CONFIGS.glob("good-*.yaml"))


def expected_error(path: Path) -> str:
    """The comment lines that a bad file begins with."""
    head = takewhile(lambda line: line.startswith("# "), path.read_text(encoding="utf-8").split("\n"))
    return "\n".join(line.removeprefix("# ") for line in head)


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_every_problem_told(
    path: Path, loader: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line for each problem: file, line, column, path, and what to do."""
    monkeypatch.setattr(document, "_LOADER", loader)
    with pytest.raises(ConfigError) as caught:
        parse(path.read_bytes(), Path(path.name))

    assert expected_error(path) == str(caught.value)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_file_is_taken(path: Path) -> None:
    """A good file parses, and the configuration remembers which file it was."""
    assert parse(path.read_bytes(), path).path == path


def test_there_are_files() -> None:
    """The folder was found: without files the tests above would pass by saying nothing."""
    assert len(BAD) > 100
    assert len(GOOD) > 2

"""Each row of `mistakes.yaml`: a mistaken configuration, the error that it gives, and its correction."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import ConfigError, document, parse
from exporter.config.load import corrected
from exporter.engines import ENGINES

FILE = Path("ice.yaml")
TABLE = Path(__file__).parents[1] / "configs" / "mistakes.yaml"
MISTAKES: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
"""Read by PyYAML itself: the values are those that the rows have between their keys."""


@pytest.fixture(params=[yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_LOADER", request.param)


@pytest.mark.parametrize("row", MISTAKES, ids=[row["name"] for row in MISTAKES])
def test_a_mistake_is_named_with_the_value_to_write(row: dict[str, Any]) -> None:
    """The error says file, line, column and key, and the value that was meant where one is certain."""
    with pytest.raises(ConfigError) as caught:
        parse(row["written"].encode(), FILE)

    assert row["error"].replace("{engines}", ", ".join(sorted(ENGINES))) == f"{caught.value}\n"


@pytest.mark.parametrize("row", MISTAKES, ids=[row["name"] for row in MISTAKES])
def test_a_mistake_is_corrected_where_its_value_is_certain(row: dict[str, Any]) -> None:
    """Nothing else of the text changes; a text whose value is not certain stays as it is."""
    after, _ = corrected(row["written"].encode(), FILE)

    assert row.get("corrected", row["written"]) == after.decode()


OF_THE_TEXT = (
    *(
        "is not YAML: ",
        "is indented by ",
        "is in typographic quotes",
        "is an alias",
        "has an anchor",
        "has a tag",
    ),
    *("must be a mapping of keys to values", "key "),
)
"""Beginnings of errors without a key: of a text that is no YAML, of the whole file, or on a key itself."""


def test_each_error_has_its_place_and_its_key() -> None:
    """File, line and column of every one; its key, where the text can be read so far."""
    lines = [line for row in MISTAKES for line in row["error"].splitlines()]
    matched = [re.fullmatch(r"ice\.yaml:[1-9]\d*:[1-9]\d*: (.+)", line) for line in lines]

    assert [line for line, match in zip(lines, matched, strict=True) if match is None] == []
    rest = [match[1] for match in matched if match is not None and not match[1].startswith(OF_THE_TEXT)]
    assert [text for text in rest if not re.match(r"[a-z][\w.\[\]]*(?:[:=]\*\*\*)?: ", text)] == []


def test_there_are_mistakes() -> None:
    """The table has fifty rows and more, of one name each."""
    assert len({row["name"] for row in MISTAKES}) == len(MISTAKES) >= 50


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "bom"])
def test_all_else_stays(newline: str, mark: str) -> None:
    """Comments, layout, line ends and a byte order mark stay; several corrections of a line fit together."""
    before = f"{mark}# ours{newline}hardware:   # é{newline}  - rented: {{dollar_per_gpu_hour:  $2.50 }} # x"
    after = f"{mark}# ours{newline}hardware:   # é{newline}  - rented: {{dollars_per_gpu_hour:  2.50 }} # x"

    assert corrected(before.encode(), FILE) == (after.encode(), ())


def test_what_syntax_hid_is_corrected_too() -> None:
    """A text that is not YAML shows one mistake; the next are seen once it is mended."""
    before = b"interval:10s\nbudgets:\n  - {name: a, dollars_per_month: 27k}\nlimits:\n\tmodels: 5\n"

    after = (
        b"timezone: UTC\ninterval: 10s\nbudgets:\n  - {name: a, dollars_per_month: 27000}\n"
        b"limits:\n  models: 5\n"
    )
    assert corrected(b"timezone: UTC\n" + before, FILE) == (after, ())


@pytest.mark.parametrize("style", ["|", "|-", ">", ">2"])
def test_a_block_stays(style: str) -> None:
    """A text in lines of its own ends where the next begins: a correction would take that away."""
    value = f"budgets:\n  - name: a\n    dollars_per_month: {style}\n      27k\n# ours\ninterval: 10s\n"
    key = f"? {style}\n    timezon\n: UTC\n# ours\n"

    for text in (value, key):
        after, problems = corrected(text.encode(), FILE)
        assert (after.decode(), len(problems)) == (text, 1)


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n", "\x85", "\u2028", "\u2029"])
def test_lines_end_as_yaml_ends_them(newline: str) -> None:
    """A correction is put into the line of which its error is."""
    before = f"# ours{newline}limits:\n\tmodels: 5\ninterval: 10{newline}"

    with pytest.raises(ConfigError, match=r"^ice.yaml:3:1: is indented by a tab"):
        parse(before.encode(), FILE)
    assert corrected(before.encode(), FILE) == (
        f"# ours{newline}limits:\n  models: 5\ninterval: 10s{newline}".encode(),
        (),
    )


def test_a_tab_is_found_behind_every_line_end() -> None:
    """Of a file whose lines end as on old Macs, too."""
    assert corrected(b"limits:\r\tmodels: 5\r", FILE) == (b"limits:\r  models: 5\r", ())


def test_a_correction_that_is_wrong_too_is_left_out() -> None:
    """The second GPU would be given twice: it stays as it is, and what follows is corrected after it."""
    uuid = "-7{}000000-0000-4000-8000-000000000007, from: 2026-11-20}}"
    gpus = f"retired:\n  - {{uuid: GPU{uuid.format('e')}\n  - {{uuid: GPU{uuid.format('E')}\n"

    after, problems = corrected(f"{gpus}interval: 10\n".encode(), FILE)

    assert after.decode() == f"{gpus}interval: 10\n"
    assert [problem.path for problem in problems] == ["retired[1].uuid"]


def test_corrections_end_at_the_first_problem_without_one() -> None:
    """The first line is no time zone in quotes either, which shows once the second line is YAML."""
    after, problems = corrected(b"timezone: @UTC\ninterval:10\n", FILE)

    assert after == b'timezone: "@UTC"\ninterval: 10\n'
    assert [problem.path for problem in problems] == ["timezone"]
    assert corrected(b"timezone: UTC\ninterval:10\n", FILE) == (b"timezone: UTC\ninterval: 10s\n", ())


def test_no_correction_repeats_a_secret() -> None:
    """A URL whose query may hold one is neither repeated nor changed."""
    text = b'servers: [{name: a, url: "http://h:8000/health?key=abc123", gpus: [0]}]\n'
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)

    assert "abc123" not in str(caught.value)
    assert corrected(text, FILE)[0] == text

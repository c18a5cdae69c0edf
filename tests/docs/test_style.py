"""Pages and the program's own texts are written in short sentences, in the field's words."""

import argparse
import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from exporter.config.keys import DOCUMENT
from exporter.config.schema import Key, ListOf, Table
from exporter.finance.options.scenario import SCENARIO
from exporter.metrics.table import METRICS
from tests.docs import known_names
from tests.docs.markdown import FENCE, ROOT, named, pages
from tests.docs.prose import (
    hand_written,
    hand_written_text,
    length,
    mean_length,
    never_words,
    rare_words,
    sentences,
    word_count,
)

MOST_WORDS: Final = 28_000
MOST_WORDS_OF_A_VERSION: Final = 700
MOST_WORDS_OF_A_TITLE: Final = 6
LONGEST_SENTENCE: Final = 40
LONG_SENTENCE: Final = 30
LONG_SHARE: Final = 0.03
MEAN_OF_ALL: Final = 16.0
MEAN_OF_A_PAGE: Final = 20.0
MEAN_OF_TEXTS: Final = 15.0
SENTENCES_FOR_A_MEAN: Final = 10
RARE_PER_WORD: Final = 1 / 1_000
RARE_PER_WORD_OF_ALL: Final = 0.5 / 1_000
MOST_WORDS_OF_AN_EVENT: Final = 8
EVENT_BEFORE_VALUES: Final = 5

TITLE: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
VAGUE_TITLE: Final = re.compile(r"(?:What is|Who|Where the)\b")

EXCEPTIONS: Final[dict[tuple[str, str], str]] = {}
"""Reasons for a word of the old style, by page and word; at most five."""


def page_rare(name: str, text: str) -> list[str]:
    """Words of the old style beyond one in a thousand."""
    words = [word for word in rare_words(text) if (name, word) not in EXCEPTIONS]
    return words if len(words) > RARE_PER_WORD * word_count(text) else []


def page_mean(name: str, text: str) -> list[str]:
    """The mean length of a page's sentences, where it is too great."""
    del name
    listed = list(sentences(text))
    mean = mean_length(listed)
    return [f"mean {mean:.1f}"] if len(listed) >= SENTENCES_FOR_A_MEAN and mean > MEAN_OF_A_PAGE else []


def page_longest(name: str, text: str) -> list[str]:
    """Sentences that nobody reads to the end."""
    del name
    return [sentence for sentence in sentences(text) if length(sentence) > LONGEST_SENTENCE]


def page_long(name: str, text: str) -> list[str]:
    """Long sentences, where a page has more than one and more than three in a hundred."""
    del name
    listed = list(sentences(text))
    long = [sentence for sentence in listed if length(sentence) > LONG_SENTENCE]
    return long if len(long) > max(1.0, LONG_SHARE * len(listed)) else []


def page_never(name: str, text: str) -> list[str]:
    """Words that no page may have."""
    del name
    return never_words(text)


def page_titles(name: str, text: str) -> list[str]:
    """Titles that are too long, or that nobody would search for. A decision's number is no word."""
    del name
    titles = [re.sub(r"^\d+\. ", "", title) for title in TITLE.findall(text)]
    return [
        title for title in titles if len(title.split()) > MOST_WORDS_OF_A_TITLE or VAGUE_TITLE.match(title)
    ]


PAGE_CHECKS: Final[tuple[Callable[[str, str], list[str]], ...]] = (
    page_rare,
    page_mean,
    page_longest,
    page_long,
    page_never,
    page_titles,
)


@pytest.mark.parametrize("page", pages(), ids=named)
def test_a_page_is_plain(page: Path) -> None:
    """By every check; a generated page is checked through the texts that it is made of."""
    text = hand_written(page)

    assert {check.__name__: wrong for check in PAGE_CHECKS if (wrong := check(named(page), text))} == {}


def test_all_pages_together() -> None:
    """Few words, short sentences, hardly a word of the old style."""
    texts = {named(page): hand_written(page) for page in pages()}
    words = {name: word_count(text) for name, text in texts.items()}
    every = [sentence for text in texts.values() for sentence in sentences(text)]
    rare = [word for text in texts.values() for word in rare_words(text)]
    largest = sorted(words.items(), key=lambda item: -item[1])[:10]

    assert sum(words.values()) <= MOST_WORDS, largest
    assert mean_length(every) <= MEAN_OF_ALL
    assert len(rare) <= RARE_PER_WORD_OF_ALL * sum(words.values())


def test_a_version_of_the_changelog_is_short() -> None:
    """What a reader does before an upgrade takes three minutes."""
    versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]

    assert versions
    long = [text.splitlines()[0] for text in versions if word_count(text) > MOST_WORDS_OF_A_VERSION]
    assert long == []


def test_exceptions_are_few() -> None:
    """Each has a reason and stands on its page."""
    assert len(EXCEPTIONS) <= 5
    for (name, word), reason in EXCEPTIONS.items():
        assert reason
        assert word in (ROOT / name).read_text(encoding="utf-8")


def metric_texts() -> Iterator[tuple[str, str]]:
    """The help of each metric."""
    for metric in METRICS:
        yield metric.name, metric.help


def verb_texts() -> Iterator[tuple[str, str]]:
    """The description of each verb, and the help of its flags."""
    for words, parser in known_names.parsers():
        verb = " ".join(words) or "(program)"
        yield verb, parser.description or ""
        for action in parser._actions:
            if action.help and action.help != argparse.SUPPRESS:
                yield f"{verb} {action.dest}", action.help


def _key_texts(table: Table, prefix: str = "") -> Iterator[tuple[str, str]]:
    key: Key[object]
    for key in table.keys:
        yield f"{prefix}{key.name}", key.help
        inner: object = key.validator
        if isinstance(inner, ListOf):
            inner = inner.validator
        if isinstance(inner, Table):
            yield from _key_texts(inner, f"{prefix}{key.name}.")


def configuration_texts() -> Iterator[tuple[str, str]]:
    """The help of each key of the configuration."""
    return _key_texts(DOCUMENT)


def scenario_texts() -> Iterator[tuple[str, str]]:
    """The help of each key of a scenario."""
    return _key_texts(SCENARIO)


def unread_texts() -> Iterator[tuple[str, str]]:
    """The page of reasons, with their remedies, as sentences."""
    text = (ROOT / "docs" / "unread.md").read_text(encoding="utf-8").replace("<!-- Generated by", "<!--")
    prose = hand_written_text(text)
    yield "page", prose
    for row in re.findall(r"^\| (.+) \|$", prose, re.MULTILINE):
        for cell in row.split(" | "):
            yield row.partition(" ")[0], cell


def alert_texts() -> Iterator[tuple[str, str]]:
    """The summary and description of each alert, a template as one word."""
    document = yaml.safe_load((ROOT / "deploy/prometheus/fleet-rules.yml").read_text(encoding="utf-8"))
    for group in document["groups"]:
        for rule in group["rules"]:
            for name in ("summary", "description", "waiting"):
                text = rule.get("annotations", {}).get(name, "")
                yield f"{rule.get('alert')} {name}", re.sub(r"\{\{.*?\}\}", " `value` ", text)


def dashboard_texts() -> Iterator[tuple[str, str]]:
    """Titles and descriptions of dashboards and their panels."""
    for file in sorted((ROOT / "dashboards").glob("*.json")):
        board = json.loads(file.read_text(encoding="utf-8"))
        for panel in (board, *board["panels"]):
            for part in ("title", "description"):
                yield f"{file.stem}: {panel.get('title', '')}", panel.get(part, "")


def page_element_texts() -> Iterator[tuple[str, str]]:
    """Texts of the web page's templates that are sentences, figures in them as one word."""
    for file in sorted((ROOT / "exporter" / "web" / "page" / "templates").glob("*.html")):
        template = re.sub(r"\{#.*?#\}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        for line in re.sub(r"\{\{.*?\}\}", "1", template, flags=re.DOTALL).splitlines():
            for text in re.sub(r"<[^>]*>|&\w+;|\{%.*?%\}", "\n", line).splitlines():
                if len(text.split()) >= 3:
                    yield file.stem, text.strip()


TEXTS: Final[tuple[Callable[[], Iterator[tuple[str, str]]], ...]] = (
    metric_texts,
    verb_texts,
    configuration_texts,
    scenario_texts,
    unread_texts,
    alert_texts,
    dashboard_texts,
    page_element_texts,
)
"""Texts of the program, each with its place."""

WITHOUT_OLD_WORDS: Final = {page_element_texts}
"""Texts that are read at a glance, and have no word of the old style at all."""


def wrong_texts(texts: list[tuple[str, str]], rare_allowed: int) -> list[str]:
    """Long sentences and words of the old style, with their places."""
    wrong = [
        f"{location}: {sentence}"
        for location, text in texts
        for sentence in sentences(text)
        if length(sentence) > LONG_SENTENCE
    ]
    wrong += [f"{location}: {word}" for location, text in texts for word in never_words(text)]
    rare = [f"{location}: {word}" for location, text in texts for word in rare_words(text)]
    return wrong + (rare if len(rare) > rare_allowed else [])


@pytest.mark.parametrize("source", TEXTS, ids=lambda source: source.__name__)
def test_the_programs_own_texts_are_plain(source: Callable[[], Iterator[tuple[str, str]]]) -> None:
    """Help, annotations, panels and the page: no long sentence, and a mean below that of pages."""
    texts = list(source())
    words = sum(len(text.split()) for _, text in texts)
    allowed = 0 if source in WITHOUT_OLD_WORDS else int(RARE_PER_WORD * words)

    assert words > 100
    assert wrong_texts(texts, allowed) == []
    assert mean_length([one for _, text in texts for one in sentences(text)]) <= MEAN_OF_TEXTS


LOG_CALLS: Final = {"debug", "info", "warning", "error", "critical", "exception", "log"}


def events(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and message of each log call with a message of its own."""
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LOG_CALLS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id.lower().strip("_") in {"log", "logger"}
        ):
            continue
        texts = node.args[1:2] if node.func.attr == "log" else node.args[:1]
        for text in texts:
            for branch in (text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,):
                if isinstance(branch, ast.Constant) and isinstance(branch.value, str):
                    yield node.lineno, branch.value


def event_is_wrong(message: str) -> bool:
    """Whether a log message is not an event that one greps for: short, lower case, its values in keys."""
    words = message.split()
    values = [position for position, word in enumerate(words) if "%" in word]
    return (
        message[:1].isupper()
        or message.endswith(".")
        or len(words) > MOST_WORDS_OF_AN_EVENT
        or any(position < EVENT_BEFORE_VALUES for position in values)
        or bool(rare_words(message))
    )


def test_log_messages_are_events() -> None:
    """Their details stand in keys."""
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {message}"
        for file in sorted((ROOT / "exporter").rglob("*.py"))
        for line, message in events(ast.parse(file.read_text(encoding="utf-8")))
        if event_is_wrong(message)
    ]

    assert wrong == []


LONG: Final = " ".join(["word"] * 41) + "."


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (page_rare, "One that nobody reads."),
        (page_mean, f"{' '.join(['word'] * 21)}.\n" * 10),
        (page_longest, LONG),
        (page_long, f"{' '.join(['word'] * 31)}.\n" * 2),
        (page_never, "The ledger begins anew."),
        (page_titles, "# What is asked of whom"),
        (page_titles, "## One two three four five six seven"),
    ],
)
def test_a_page_that_is_not_plain_is_found(check: Callable[[str, str], list[str]], text: str) -> None:
    """Each check can fail, and is silent for a plain page."""
    assert check("page.md", text)
    assert check("page.md", "# Ledger\n\nThe ledger is one SQLite file. It has the totals.\n") == []


def test_what_a_program_writes_is_not_counted() -> None:
    """Regions, blocks, comments and generated pages; a table of a hand-written page counts."""
    region = "<!-- generated: a -->\nx y\n<!-- end of a -->\n"

    assert hand_written_text(f"one\n{region}```sh\nls\n```\n<!-- two -->\n| three |\n").split() == [
        "one",
        "|",
        "three",
        "|",
    ]
    assert hand_written_text("# T\n\n<!-- Generated by docs/generate.py. -->\n\ntext\n") == ""
    assert FENCE.search("```sh\nls\n```\n")


def test_sentences_are_cut_at_their_ends() -> None:
    """Not at colons, in code, or in the middle of numbers; headings and tables have none."""
    text = "# A title of this\n- One is `a. B c` here. The [other](x.md) has 1.5: more of it.\n| a | b c |\n"

    assert list(sentences(text)) == ["One is code here.", "The other has 1.5: more of it."]


@pytest.mark.parametrize(
    "message",
    [
        "Ledger commit failed",
        "ledger commit failed.",
        "%s could not be read",
        "no tick can be taken: the report stands, the next tick charges it",
        "source is well",
    ],
)
def test_a_log_message_that_is_no_event_is_found(message: str) -> None:
    """Each rule can fail."""
    assert event_is_wrong(message)
    assert not event_is_wrong("ledger commit failed")


def test_a_long_text_is_found() -> None:
    """With its place, as are words of the old style beyond those allowed."""
    assert wrong_texts([("here", LONG)], 0) == [f"here: {LONG}"]
    assert wrong_texts([("here", "It tells the rest.")], 1) == []
    assert wrong_texts([("here", "It tells the rest.")], 0) == ["here: tells"]

"""What a page names exists: verbs with their flags, words of code, files, targets and scripts."""

import argparse
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from exporter.cli.arguments import program
from exporter.cli.verb import PROGRAM
from tests.docs.markdown import ROOT, blocks, files, named, pages, read, spans

OTHERS = re.compile(
    r"(kubernetes|karpenter|eks|cloud|nebius|node|topology|app|beta|failure)[./].*|kube_.*|ruler_.*|out_of_order_time_window|rule_query_offset|remote_write|partial_response_.*|xdist_group|test_.*|compactor_.*"
    r"|max_global_series_per_user|exported_.*|CAP_.*|NV\d\w+|PIPX?_.*|SOURCE_DATE_EPOCH|inference_(pool|model|objective|extension)_.*"
    r"|--(no-build-isolation|no-deps|set|user|network|pid|build-arg|output|query\..*|tsdb\..*|web\.enable-remote.*)"
)
"""Names and flags of other projects."""

WORD = re.compile(r"--[\w.-]+|[\w:]+")

PAST = "CHANGELOG.md"
"""Names what was."""

CALL = re.compile(
    rf"(?:^\s*|ExecStart=|\s--\s+)(?:sudo\s+)?(?:\S*/)?(?:{PROGRAM}|python3? -m exporter)(?=\s|$)(.*)"
)
"""A call of the program: by itself, by its path, as root, in a unit, within a pod."""


@cache
def verbs() -> dict[tuple[str, ...], frozenset[str]]:
    """The flags of each verb by its words; `serve` may be left out."""

    def below_verb(
        parser: argparse.ArgumentParser, words: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
        yield words, frozenset(option for action in parser._actions for option in action.option_strings)
        for action in parser._actions:
            for name, inner in (
                action.choices.items() if isinstance(action, argparse._SubParsersAction) else ()
            ):
                yield from below_verb(inner, (*words, name))

    commands = dict(below_verb(program(), ()))
    commands[()] |= commands["serve",]
    return commands


@cache
def vocabulary() -> str:
    """Every word and flag of what is no page: code, rules, manifests."""
    endings = (
        ".py",
        ".yml",
        ".yaml",
        ".json",
        ".toml",
        ".service",
        ".prom",
        ".csv",
        ".sh",
        "Makefile",
        "run",
    )
    texts = (
        (ROOT / name).read_text(encoding="utf-8", errors="replace")
        for name in files()
        if name.endswith(endings) and not name.startswith(("tests/", "docs/"))
    )
    return " ".join(sorted({word for text in texts for word in re.findall(WORD, text)}))


def wrong_commands(page: Path) -> Iterator[str]:
    """Verbs and flags of calls, in blocks and in spans; a placeholder in capitals ends a call."""
    shown = [span for span in spans(page) if span.startswith(PROGRAM)]
    for code_block in blocks(page):
        if code_block.language != "diff":
            lines = re.sub(r"\\\n\s*", " ", code_block.text).splitlines()
            lines = [line for line in lines if code_block.language != "console" or line.startswith("$ ")]
            shown += [
                part.removeprefix("$ ")
                for line in lines
                for part in re.split(r"\|\||&&|[|;]", line.partition("  #")[0])
            ]
    for call in filter(None, map(CALL.search, shown)):
        verb: tuple[str, ...] = ()
        for word in re.sub(r" [0-9]?>.*", "", call[1]).split():
            if re.fullmatch(r"[A-Z.]+|\[.*\]|\.\.\.|[$|&;>].*", word):
                break
            if word.startswith("-") and word.partition("=")[0] not in verbs()[verb]:
                yield " ".join((PROGRAM, *verb, word.partition("=")[0]))
            elif (*verb, word) in verbs():
                verb = (*verb, word)
            elif word[0] != "-" and any(one[: len(verb)] == verb != one for one in verbs()):
                yield " ".join((PROGRAM, *verb, word))
                break


def wrong_words(page: Path) -> Iterator[str]:
    """Metrics, records and alerts anywhere; in spans flags, variables and keys. `*` begins several."""
    own = " ".join(
        code_block.text for code_block in blocks(page) if code_block.file or code_block.language == "diff"
    )
    words = re.findall(
        r"(?<![\w:/.-])(?:inference[_:][a-z0-9_:]*\w\*?|Inference[A-Z][a-z]\w+)(?![\w:-])", read(page)
    )
    for span in spans(page):
        words += re.findall(r"^(--[\w.-]+)(?:=.*)?$", span) + re.findall(r"^[A-Za-z]\w*_\w+$", span)
        words += re.findall(r"^[a-z_]+(?=: )", span)
        words += [
            part for key in re.findall(r"^[a-z_]+(?:\.[a-z_]*_[a-z_]+)+$", span) for part in key.split(".")
        ]
    known = f" {vocabulary()} {' '.join(re.findall(WORD, own))} "
    for word in words if named(page) != PAST else ():
        if (
            not OTHERS.fullmatch(word)
            and f" {word.rstrip('*:')}{'' if word[-1] in '*:' else ' '}" not in known
        ):
            yield word


def wrong_files(page: Path) -> Iterator[str]:
    """Paths in spans below a folder of the repository, names of its kinds of files, targets, scripts."""
    folders = {name.partition("/")[0] for name in files() if "/" in name}
    names = {name.rpartition("/")[2] for name in files()}
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for span in spans(page) if named(page) != PAST else ():
        path = span.rstrip("/")
        below = re.fullmatch(r"\.?[\w-]+(/[\w.-]+)+", path) and path.partition("/")[0] in folders
        file = re.fullmatch(r"[a-zA-Z][\w-]*\.(py|yml|toml|csv|lock)", path)
        if (below and path not in files()) or (file and path not in names):
            yield span
    for text in [*spans(page), *(code_block.text for code_block in blocks(page))]:
        for target, script in re.findall(
            r"^(?:\$ )?(?:make ([a-z][a-z0-9-]*)|((?:tools|tests)/[\w./-]+)(?= |$))", text, re.MULTILINE
        ):
            if target not in ("", *targets) or script.rstrip("/") not in {"", *files()}:
                yield target or script


CHECKS = (wrong_commands, wrong_words, wrong_files)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_pages_name_only_what_exists(check: Callable[[Path], Iterator[str]]) -> None:
    """On every page."""
    assert [f"{named(page)}: {wrong}" for page in pages() for wrong in check(page)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"```sh\n{PROGRAM} explian --window=7d\n```\n", f"{PROGRAM} explian"),
        (f"```console\n$ {PROGRAM} report month --no\n```\n", f"{PROGRAM} report month --no"),
        (f"```sh\nsudo /opt/bin/{PROGRAM} \\\n  --config=x\n```\n", f"{PROGRAM} --config"),
        (f"`{PROGRAM} ledger adapt`", f"{PROGRAM} ledger adapt"),
        ("`--web.listen-adress=:1`", "--web.listen-adress"),
        ("inference_costs_dollars_total", "inference_costs_dollars_total"),
        ("`inference_costs_*`", "inference_costs_*"),
        ("`inference:no_such:1h`", "inference:no_such:1h"),
        ("InferenceGpuUnprized", "InferenceGpuUnprized"),
        ("`gap.max_hourz`", "max_hourz"),
        ("`no_such_key: 1`", "no_such_key"),
        ("`NO_SUCH_VARIABLE`", "NO_SUCH_VARIABLE"),
        ("`exporter/cost/splitting.py`", "exporter/cost/splitting.py"),
        ("`no-such-rules.yml`", "no-such-rules.yml"),
        ("`make nothing`", "nothing"),
        ("```sh\ntools/nothing --now\n```\n", "tools/nothing"),
        (
            f"`{PROGRAM} report month --month=10` `{PROGRAM} VERB --help` `inference_gpu_*` `gap.max_days`",
            "",
        ),
    ],
)
def test_a_wrong_name_is_found(text: str, wrong: str, tmp_path: Path) -> None:
    """And what exists may be named: flags of a verb of two words, placeholders, several at once."""
    (page := tmp_path / "page.md").write_text(text)

    assert [name for check in CHECKS for name in check(page)] == [wrong] * bool(wrong)

"""What a page names exists: verbs, flags, metrics, records, alerts, keys, files, make verbs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.cli.verb import PROGRAM
from exporter.engines import ENGINES
from exporter.engines.catalogue import COMMANDS
from tests.docs import known_names
from tests.docs.markdown import ROOT, CodeBlock, blocks, named, pages, read, spans

PAGES = pages()

OTHERS_FLAGS = {
    "--no-build-isolation",
    "--no-deps",
    "--set",
    "--user",
    "--network",
    "--pid",
    "--build-arg",
    "--query.replica-label",
    "--tsdb.out-of-order.time-window",
    "--web.enable-remote-write-receiver",
} | {"--output"}
"""Flags of other programs that stand in prose without their program."""

OTHERS_WORDS = re.compile(
    r"(kubernetes|karpenter|eks|cloud|nebius|node|topology|app|beta|failure)[./].*|kube_.*|ruler_.*|max_global_series_per_user|compactor_.*|exported_.*|CAP_.*|PIPX?_.*|SOURCE_DATE_EPOCH"
)
"""Names of other projects."""

CALL = re.compile(
    rf"(?:^\s*|ExecStart=|\s--\s+)(?:sudo\s+)?(?:\S*/)?(?:{PROGRAM}|python3? -m exporter)(?=\s|$)(.*)"
)
"""A call of the program: by itself, by its path, as root, in a unit, within a pod."""

GENERATED = re.compile(r"docs/engines(\.md|/.+)")
"""Made from descriptions, whose tests hold names put together of several parts."""

PAST = {"CHANGELOG.md"}
"""Names what was."""


def commands(code_block: CodeBlock) -> Iterator[str]:
    """The calls of our program in a block, one a line, without what is piped on."""
    text = re.sub(r"\\\n\s*", " ", code_block.text)
    for line in text.splitlines():
        if code_block.language == "console" and not line.startswith("$ "):
            continue
        for part in re.split(r"\|\||&&|[|;]", line.partition("  #")[0]):
            match = CALL.search(part.removeprefix("$ "))
            if match:
                yield f"{PROGRAM}{re.sub(r' [0-9]?>.*', '', match[1])}"


def wrong_commands(page: Path) -> list[str]:
    """In blocks and in spans."""
    shown = [
        line for code_block in blocks(page) if code_block.language != "diff" for line in commands(code_block)
    ]
    shown += [span for span in spans(page) if span == PROGRAM or span.startswith(f"{PROGRAM} ")]
    return [wrong for line in shown for wrong in known_names.wrong_words(line)]


def wrong_flags(page: Path) -> list[str]:
    """Spans that begin with a flag: ours, a benchmark's, or one of an engine's."""
    if GENERATED.fullmatch(named(page)):
        return []
    engines = {word for engine in ENGINES.values() for word in re.findall(r"--?[\w-]+", engine.manual.switch)}
    for _, row in COMMANDS:
        engines.update(row.metrics_on_flags, row.metrics_off_flags)
        engines.update(row.port_flags, row.host_flags, row.model_flags)
    ours = known_names.flags() | known_names.benchmark_flags()
    accepted = ours | {flag.partition("=")[0] for flag in engines} | OTHERS_FLAGS
    mentioned = [re.match(r"--[\w.-]+", span) for span in spans(page)]
    return [match[0] for match in mentioned if match and match[0] not in accepted]


def wrong_metrics(page: Path) -> list[str]:
    """Anywhere on the page, but for what its own blocks add. One that ends in `*` begins several."""
    added = "".join(
        code_block.text for code_block in blocks(page) if code_block.file or code_block.language == "diff"
    )
    accepted = known_names.metrics() | set(re.findall(r'"(inference_\w+)"', added))
    mentioned = re.findall(r"(?<![\w:/.-])inference_[a-z0-9_]*\w(?![\w:-])\*?", read(page))
    ours = [name for name in mentioned if not name.startswith(known_names.METRICS_OF_THE_GATEWAY_API)]
    return [name for name in ours if name not in accepted and not _begins(name, accepted)]


def wrong_records(page: Path) -> list[str]:
    """Anywhere on the page."""
    if named(page) in PAST:
        return []
    recorded, _ = known_names.rules()
    mentioned = re.findall(r"(?<![\w:])inference:[a-z0-9_:]+", read(page))
    return [name for name in mentioned if name.rstrip(":") not in recorded and not _begins(name, recorded)]


def _begins(name: str, accepted: frozenset[str]) -> bool:
    return name.endswith("*") and any(one.startswith(name.rstrip("*")) for one in accepted)


def wrong_alerts(page: Path) -> list[str]:
    """Anywhere on the page."""
    _, alerts = known_names.rules()
    mentioned = re.findall(r"(?<![\w/.])Inference[A-Z][a-z]\w+", read(page))
    return [name for name in mentioned if name not in alerts | known_names.KINDS_OF_KUBERNETES]


def wrong_keys(page: Path) -> list[str]:
    """Dotted keys in spans, and mappings such as `gap: {max_days: 7}` by their first key."""
    accepted = known_names.keys() | known_names.scenario_keys()
    tops = {key.partition(".")[0] for key in accepted}
    mentioned = [span.replace("[]", "") for span in spans(page)]
    dotted = [name for name in mentioned if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", name)]
    ours = [name for name in dotted if name.partition(".")[0] in tops and not name.endswith((".db", ".lock"))]
    mapped = [re.match(r"([a-z]+_[a-z_]+): ", span) for span in mentioned]
    leaves = {key.rpartition(".")[2] for key in accepted}
    wrong = [name for name in ours if name not in accepted and name not in TABLES]
    return wrong + [match[1] for match in mapped if match and match[1] not in leaves | known_names.words()]


TABLES = {"meta.machine", "meta.reader"}
"""Columns and rows of the ledger that are spelled like keys."""


def wrong_words(page: Path) -> list[str]:
    """Words with underscores in spans, which stand for something in code, a rule, a manifest or a page."""
    if GENERATED.fullmatch(named(page)):
        return []
    pattern = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
    mentioned = [span for span in spans(page) if re.fullmatch(pattern, span)]
    accepted = known_names.words() | known_names.tables()
    return [word for word in mentioned if word not in accepted and not OTHERS_WORDS.fullmatch(word)]


def wrong_files(page: Path) -> list[str]:
    """Paths in spans that begin with a folder of the repository, and names of its kinds of files."""
    if named(page) in PAST:
        return []
    accepted = known_names.files()
    tops = {name.partition("/")[0] for name in accepted if "/" in name}
    names = {name.rpartition("/")[2] for name in accepted}
    wrong = []
    for span in spans(page):
        path = span.rstrip("/")
        if re.fullmatch(r"\.?[\w-]+(/[\w.-]+)+", path) and path.partition("/")[0] in tops:
            wrong += [] if path in accepted else [span]
        elif re.fullmatch(r"[a-zA-Z][\w-]*\.(py|yml|toml|csv|lock)", path) and path not in names:
            wrong.append(span)
    return wrong


def wrong_make(page: Path) -> list[str]:
    """Targets of `make` and scripts in code."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    code = spans(page) + [code_block.text for code_block in blocks(page)]
    named = [
        name for text in code for name in re.findall(r"^(?:\$ )?make ([a-z][a-z0-9-]*)", text, re.MULTILINE)
    ]
    scripts = [
        path
        for text in code
        for path in re.findall(r"^(?:\$ )?((?:tools|tests)/[\w./-]+)(?= |$)", text, re.MULTILINE)
    ]
    return [f"make {name}" for name in named if name not in targets] + [
        path for path in scripts if path.rstrip("/") not in known_names.files()
    ]


CHECKS: tuple[Callable[[Path], list[str]], ...] = (
    wrong_commands,
    wrong_flags,
    wrong_metrics,
    wrong_records,
    wrong_alerts,
    wrong_keys,
    wrong_words,
    wrong_files,
    wrong_make,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_pages_name_only_what_exists(check: Callable[[Path], list[str]]) -> None:
    """On every page."""
    assert [f"{named(page)}: {wrong}" for page in PAGES for wrong in check(page)] == []


@pytest.mark.parametrize(
    ("check", "text", "wrong"),
    [
        (wrong_commands, f"```sh\n{PROGRAM} explian --window=7d\n```\n", f"{PROGRAM} explian"),
        (wrong_commands, f"```console\n$ {PROGRAM} report month --no\n```\n", f"{PROGRAM} report month --no"),
        (wrong_commands, f"```sh\nsudo /opt/bin/{PROGRAM} \\\n  --config=x\n```\n", f"{PROGRAM} --config"),
        (wrong_commands, f"`{PROGRAM} ledger adapt`", f"{PROGRAM} ledger adapt"),
        (wrong_flags, "`--web.listen-adress=:1`", "--web.listen-adress"),
        (wrong_metrics, "`inference_costs_dollars_total`", "inference_costs_dollars_total"),
        (wrong_records, "`inference:no_such:1h`", "inference:no_such:1h"),
        (wrong_alerts, "`InferenceGpuUnprized`", "InferenceGpuUnprized"),
        (wrong_keys, "`gap.max_hours`", "gap.max_hours"),
        (wrong_keys, "`no_such_key: 1`", "no_such_key"),
        (wrong_words, "`no_such_word_at_all`", "no_such_word_at_all"),
        (wrong_words, "`NO_SUCH_VARIABLE`", "NO_SUCH_VARIABLE"),
        (wrong_files, "`exporter/cost/splitting.py`", "exporter/cost/splitting.py"),
        (wrong_files, "`no-such-rules.yml`", "no-such-rules.yml"),
        (wrong_make, "`make nothing`", "make nothing"),
        (wrong_make, "```sh\ntools/nothing --now\n```\n", "tools/nothing"),
    ],
)
def test_each_check_can_fail(
    check: Callable[[Path], list[str]], text: str, wrong: str, tmp_path: Path
) -> None:
    """One that finds nothing in a wrong name would guard nothing."""
    page = tmp_path / "page.md"
    page.write_text(text)

    assert check(page) == [wrong]


def test_what_exists_may_be_named(tmp_path: Path) -> None:
    """Flags after a verb of two words, placeholders, names that begin several, and other programs' flags."""
    page = tmp_path / "page.md"
    page.write_text(
        f"`{PROGRAM} report month --month=2026-10` `{PROGRAM} VERB --help` `{PROGRAM} tco my.yaml --json`\n"
        "`inference_gpu_*` `--enable-metrics` `gap.max_days` `ledger.db` `exporter/cost` `make test`\n"
    )

    assert [wrong for check in CHECKS for wrong in check(page)] == []

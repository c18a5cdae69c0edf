"""What may be named: verbs and flags, metrics, rules, alerts, keys, files. Each from where it is defined."""

import argparse
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from functools import cache

import yaml

from exporter.cli.arguments import program
from exporter.cli.verb import PROGRAM
from exporter.config.keys import DOCUMENT
from exporter.config.schema import ListOf, Table
from exporter.finance.options.scenario import SCENARIO
from exporter.ledger.schema import DDL
from exporter.metrics.table import METRICS
from tests.docs.markdown import ROOT

KINDS_OF_KUBERNETES = {"InferenceService", "InferencePool", "InferenceObjective", "InferenceModel"}
"""Not ours, and named like alerts."""

METRICS_OF_THE_GATEWAY_API = (
    "inference_pool_",
    "inference_model_",
    "inference_objective_",
    "inference_extension_",
)
"""Not ours either; none of ours begins like this."""


def parsers(
    parser: argparse.ArgumentParser | None = None, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Each verb as its words, with its parser; the empty verb is the program."""
    parser = parser or program()
    yield before, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from parsers(inner, (*before, name))


@cache
def verbs() -> dict[tuple[str, ...], frozenset[str]]:
    """The flags of each verb. The daemon's are those of the program as well: its verb may be left out."""
    commands = {
        words: frozenset(option for action in parser._actions for option in action.option_strings)
        for words, parser in parsers()
    }
    commands[()] |= commands["serve",]
    return commands


def wrong_words(command: str) -> list[str]:
    """Verbs and flags of a call of the program that do not exist; a placeholder in capitals ends it."""
    words = command.split()
    verb: tuple[str, ...] = ()
    wrong = []
    for word in words[1:]:
        if re.fullmatch(r"[A-Z.]+|\[.*\]|\.\.\.|[$|&;>].*", word):
            return wrong
        if word.startswith("-"):
            flag = word.partition("=")[0]
            wrong += [] if flag in verbs()[verb] else [f"{' '.join((PROGRAM, *verb))} {flag}"]
        elif (*verb, word) in verbs():
            verb = (*verb, word)
        elif not verb or any(one[: len(verb)] == verb and one != verb for one in verbs()):
            return [*wrong, f"{' '.join((PROGRAM, *verb))} {word}"]
    return wrong


@cache
def flags() -> frozenset[str]:
    """The flags of all verbs."""
    return frozenset().union(*verbs().values())


@cache
def benchmark_flags() -> frozenset[str]:
    """What the programs below `benchmarks` take."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")]
    return frozenset(flag for text in sources for flag in re.findall(r'"(--[a-z-]+)"', text))


@cache
def tables() -> frozenset[str]:
    """The tables of a ledger."""
    connection = sqlite3.connect(":memory:")
    for statement in DDL:
        connection.execute(statement)
    names = frozenset(name for (name,) in connection.execute("SELECT name FROM sqlite_schema"))
    connection.close()
    return names


@cache
def metrics() -> frozenset[str]:
    """Every name of the table."""
    return frozenset(metric.name for metric in METRICS)


@cache
def rules() -> tuple[frozenset[str], frozenset[str]]:
    """What the rule files record, and the alerts that they have."""
    files = sorted((ROOT / "deploy" / "prometheus").glob("*-rules.yml"))
    documents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    every = [rule for document in documents for group in document["groups"] for rule in group["rules"]]
    recorded = frozenset(rule["record"] for rule in every if "record" in rule)
    return recorded, frozenset(rule["alert"] for rule in every if "alert" in rule)


def _keys(table: Table, before: str = "") -> Iterator[str]:
    for key in table.keys:
        yield f"{before}{key.name}"
        validator: object = key.validator
        if isinstance(validator, ListOf):
            validator = validator.validator
        if isinstance(validator, Table):
            yield from _keys(validator, f"{before}{key.name}.")


@cache
def keys() -> frozenset[str]:
    """The keys of the configuration by their way from the top, without the brackets of lists."""
    return frozenset(_keys(DOCUMENT))


@cache
def scenario_keys() -> frozenset[str]:
    """The keys of a scenario of `tco`."""
    return frozenset(_keys(SCENARIO))


@cache
def files() -> frozenset[str]:
    """Every file of the repository and every folder that one lies in, from the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = {name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()}
    folders = {"/".join(name.split("/")[:depth]) for name in paths for depth in range(1, name.count("/") + 1)}
    return frozenset(paths | folders)


@cache
def words() -> frozenset[str]:
    """Every word that stands in what is no page: code, rules, manifests, data of other tests."""
    endings = (".py", ".yml", ".yaml", ".json", ".toml", ".service", ".prom", ".proto", ".csv", "Makefile")
    vocabulary: set[str] = set()
    for name in files():
        if name.endswith(endings) and not name.startswith("tests/docs/"):
            vocabulary.update(re.findall(r"\w+", (ROOT / name).read_text(encoding="utf-8", errors="replace")))
    return frozenset(vocabulary)

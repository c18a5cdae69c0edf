"""What the doctor finds of rules that match nothing on this host. Pure.

One file may speak for many hosts, so that most such rules are of others: they are notes. One that misses by
its case, or by not covering a whole name, was meant for what is here: it is a warning.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from exporter.config.settings import Config, ServerMatch
from exporter.cost.policy import matches
from exporter.readings import Gpu, ServerKey
from exporter.reports.diagnosis import Finding
from exporter.sources.discovery import Found
from exporter.tariff.missed import missed
from exporter.tariff.tariff import Tariff

MOST_RULES: Final = 8
"""Rules that a note names; a file for a fleet may have hundreds."""


def unmet_hardware(tariff: Tariff, gpus: Iterable[Gpu]) -> Iterator[Finding]:
    """Rules of `hardware` that match no GPU here, and why not."""
    found = tuple(missed(tariff, gpus))
    for rule in found:
        if rule.slip:
            yield Finding(
                "warning",
                f"{rule.rule} matches no GPU here: {rule.why}. "
                "A pattern covers the whole text, and case counts.",
            )
    others = [f"{rule.rule}: {rule.why}" for rule in found if not rule.slip]
    if others:
        yield Finding("note", f"rules that match no GPU here: {_some(others)}.")


def unmet_servers(config: Config, found: Found, servers: Iterable[ServerKey]) -> Iterator[Finding]:
    """Entries of `servers` that match nothing that was found here, and rules of `ownership` likewise.

    Nothing is said where not everything was looked at.
    """
    if found.blind or found.unsure or found.problems:
        return
    met = {sight.rule for sight in found.sights}
    idle = (rule for rule in config.server_rules if rule.source not in met)
    entries = [f"{rule.source} ({_words(rule.match)})" for rule in idle]
    if entries:
        yield Finding("note", f"entries of `servers` that match nothing found here: {_some(entries)}.")
    keys = {*servers, *(sight.key for sight in found.sights)}
    owners = [
        f"ownership.rules[{index}]"
        for index, rule in enumerate(config.ownership)
        if not any(
            matches(rule.namespace, key.namespace) and matches(rule.server, key.server) for key in keys
        )
    ]
    if owners and keys:
        yield Finding("note", f"rules that match no server here: {_some(owners)}.")


def _some(told: list[str]) -> str:
    rest = len(told) - MOST_RULES
    return "; ".join(told[:MOST_RULES]) + (f"; and {rest} more" if rest > 0 else "")


def _words(match: ServerMatch) -> str:
    fields = (
        ("port", match.port),
        ("workload", match.workload),
        ("unit", match.unit),
        ("process", match.process),
        ("user", match.user and (match.user if match.uid is not None else f"{match.user}, not known here")),
    )
    return ", ".join(f"{name} {value}" for name, value in fields if value is not None)

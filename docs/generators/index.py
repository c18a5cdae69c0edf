"""The lists of docs/README.md and docs/decisions/README.md: titles from the pages."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from generators.tables import table

DOCS: Final = Path(__file__).parents[1]
DECISIONS: Final = DOCS / "decisions"

OPERATE: Final = {
    "demo.md": "a simulated host, without a GPU",
    "install.md": "by platform, in three commands",
    "alerts.md": "first alert, rule files, paging policy, alerts and their runbooks",
    "quickstart.md": "one box, one vLLM, five minutes",
    "operations.md": "virtual environment, systemd, Docker, upgrades, sizing, removal",
    "kubernetes.md": "values of the Helm chart, permissions, monitoring",
    "release.md": "checksums, signatures, versions",
    "daemon.md": "environment, listen address, reload, logs, shutdown",
    "configuration.md": "every key and its default",
    "cli.md": "every verb, flag and exit code",
    "web.md": "TLS, passwords, client certificates, limits",
    "outbound-requests.md": "requests to clouds, clusters, NVML and servers",
    "discovery.md": "servers, their GPUs, names and owners",
    "troubleshooting.md": "symptoms, causes, commands, questions",
    "unread.md": "each reason and its remedy",
    "prices.md": "origins of a price, price files, the bundled catalogue",
    "page.md": "the page of a host and `/cost.json`",
    "records.md": "every record, its labels and its meaning",
    "dashboards.md": "six dashboards for Grafana",
    "projection.md": "method and accuracy of the projection",
    "fleet.md": "1, 20 and 200 clusters",
    "finance.md": "a month's calendar, sample reports, bills, backups, removed hosts",
    "history.md": "past months, before the daemon",
    "reconcile.md": "a month compared with a provider's bill",
    "focus.md": "a month in the FinOps Foundation's format",
    "tco.md": "owned, rented, hosted and hybrid serving over years",
    "scenario-keys.md": "every key of a TCO scenario",
    "../SECURITY.md": "reports of vulnerabilities, threat model",
    "../CHANGELOG.md": "changes of each release",
}
UNDERSTAND: Final = {
    "glossary.md": "terms of the project",
    "cost-model.md": "each formula, its assumptions, worked examples",
    "split.md": "methods for the busy cost, and their accuracy",
    "metrics.md": "every metric, its labels, and when it is absent",
    "engines.md": "metrics of each engine, and its limits",
    "ledger.md": "tables, corrections, moves, troubleshooting",
    "architecture.md": "data flow, packages, threads, state",
    "decisions/README.md": "choices, reasons and costs",
    "benchmarks.md": "footprint, latency and scaling",
}
EXTEND: Final = {
    "../CONTRIBUTING.md": "setup, rules and tests",
    "contributing-tutorial.md": "three changes, step by step",
    "adding-a-cloud.md": "names, metadata and prices",
    "adding-a-source.md": "from a file to a metric",
}
"""The subject of each page, by its path from `docs`."""


def title(page: Path) -> str:
    """The heading of a page."""
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def entries(subjects: Mapping[str, str]) -> str:
    """A line for each page that exists."""
    return "\n".join(
        f"- [{title(DOCS / name)}]({name}): {subject}."
        for name, subject in subjects.items()
        if (DOCS / name).is_file()
    )


def decisions() -> str:
    """A row for each record."""
    titles = [(page.name, *title(page).split(". ", 1)) for page in sorted(DECISIONS.glob("0*.md"))]
    return table(["", "decision"], [[number, f"[{text}]({name})"] for name, number, text in titles])


REGIONS: Final[dict[tuple[str, str], Callable[[], str]]] = {
    ("README.md", "operate"): partial(entries, OPERATE),
    ("README.md", "understand"): partial(entries, UNDERSTAND),
    ("README.md", "extend"): partial(entries, EXTEND),
    ("decisions/README.md", "decisions"): decisions,
}

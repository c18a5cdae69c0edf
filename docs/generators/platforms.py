"""The regions of docs/install.md: commands of each platform, and what is known of its nodes by which file.

tests/e2e/charts/test_platforms.py holds each row against what the chart renders from its values.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from generators.tables import table

FILE: Final = Path(__file__).with_suffix(".csv")
CHART: Final = "deploy/helm/inference-cost-exporter"
LABEL: Final = "kubectl label namespace inference-cost --overwrite"


def rows() -> tuple[dict[str, str], ...]:
    """Each platform, by the columns of the file."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines))


def commands() -> str:
    """Three commands for each platform that meters GPUs."""
    parts = []
    for row in rows():
        labels = f"pod-security.kubernetes.io/enforce={row['pod_security']} {row['namespace']}".strip()
        parts.append(
            f"### {row['name']}\n\n```sh\nkubectl create namespace inference-cost\n{LABEL} {labels}\n"
            f"helm upgrade --install inference-cost-exporter {CHART} --namespace inference-cost \\\n"
            f"  --values {CHART}/ci/{row['values']}-values.yaml --set image.repository=$IMAGE\n```\n"
        )
    return "\n".join(parts).rstrip()


def source(cell: str) -> str:
    """Links to the files and pages of a cell: `owner/repository@revision:path`, or an address."""
    links = []
    for word in cell.split():
        repository, at, rest = word.partition("@")
        if not at:
            links.append(f"[{word.split('/')[2]}]({word})")
            continue
        revision, _, path = rest.partition(":")
        name = f"{repository} {revision[:12]}: {path.rpartition('/')[2]}"
        links.append(f"[{name}](https://github.com/{repository}/blob/{revision}/{path})")
    return ", ".join(links) or "-"


def known() -> str:
    """What is known of each platform."""
    heading = (
        "platform",
        "node label",
        "RuntimeClass",
        "GPUs by",
        "driver's library",
        "taint",
        "Pod Security",
        "source",
    )
    return table(
        heading,
        [
            (
                row["name"],
                *(
                    f"`{row[key]}`" if row[key] not in {"", "none"} else "-"
                    for key in ("nodes", "runtime_class")
                ),
                row["gpus"] if " " in row["gpus"] or row["gpus"] == "none" else f"`{row['gpus']}`",
                row["library"] if not row["library"].startswith("/") else f"`{row['library']}`",
                f"`{row['taint']}`" if row["taint"] else "-",
                row["pod_security"],
                source(row["source"]),
            )
            for row in rows()
        ],
    )


REGIONS: Final[Mapping[tuple[str, str], Callable[[], str]]] = {
    ("install.md", "commands"): commands,
    ("install.md", "platforms"): known,
}

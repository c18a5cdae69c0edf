"""Write the generated pages; `--check` writes nothing and reports stale pages."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from generators import (
    alerts,
    cli,
    configuration,
    daemon,
    engines,
    glossary,
    index,
    ledger,
    metrics,
    outbound,
    prices,
    scenario_keys,
    unread,
    web,
)
from generators.tables import with_region

PAGES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("cli.md", cli.documentation),
    ("configuration.md", configuration.documentation),
    ("engines.md", engines.documentation),
    ("glossary.md", glossary.page),
    ("metrics.md", metrics.documentation),
    ("scenario-keys.md", scenario_keys.documentation),
    ("unread.md", unread.documentation),
)
"""Each page of this folder, and the function that returns its text."""

REGIONS: dict[tuple[str, str], Callable[[], str]] = {
    **alerts.REGIONS,
    **daemon.REGIONS,
    **index.REGIONS,
    **ledger.REGIONS,
    **outbound.REGIONS,
    **prices.REGIONS,
    **web.REGIONS,
}
"""The function for each generated region of a hand-written page, by page and name of the region."""


def pages() -> Iterator[tuple[str, str]]:
    """The name and text of each page that is generated, in whole or in part."""
    for name, page in PAGES:
        yield name, page()
    for name in dict.fromkeys(page for page, _ in REGIONS):
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        for (page, region), generator in REGIONS.items():
            if page == name:
                text = with_region(text, region, generator())
        yield name, text


def main() -> int:
    """Exit status: 0, or 1 where `--check` found a stale page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    check = parser.parse_args().check
    stale = 0
    for name, text in pages():
        path = Path(__file__).parent / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            print(f"{name} is stale: run python docs/generate.py")
            stale = 1
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{name} written")
    return stale


if __name__ == "__main__":
    sys.exit(main())

"""Write the generated pages, or with `--check` report those that are out of date."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from generators import (
    alerts,
    cli,
    configuration,
    configuration_schema,
    daemon,
    engines,
    glossary,
    index,
    ledger,
    metrics,
    outbound,
    platforms,
    prices,
    scenario_keys,
    security,
    unread,
    web,
)
from generators.tables import with_region

from tools.generated import flags, update

PAGES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("cli.md", cli.documentation),
    ("configuration.md", configuration.documentation),
    ("configuration.schema.json", configuration_schema.documentation),
    ("engines.md", engines.documentation),
    ("glossary.md", glossary.documentation),
    ("metrics.md", metrics.documentation),
    ("scenario-keys.md", scenario_keys.documentation),
    ("unread.md", unread.documentation),
)
"""Each page in this folder, and the function that returns its text."""

REGIONS: dict[tuple[str, str], Callable[[], str]] = {
    **alerts.REGIONS,
    **daemon.REGIONS,
    **index.REGIONS,
    **ledger.REGIONS,
    **outbound.REGIONS,
    **platforms.REGIONS,
    **prices.REGIONS,
    **scenario_keys.REGIONS,
    **security.REGIONS,
    **web.REGIONS,
}
"""The function for each generated region of a hand-written page, by page and name of the region."""


def pages() -> Iterator[tuple[str, str]]:
    """The name and text of each page that is generated, in whole or in part."""
    for name, page in PAGES:
        yield name, page()
    for name, page in engines.pages().items():
        yield f"engines/{name}", page
    for name in dict.fromkeys(page for page, _ in REGIONS):
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        for (page, region), generator in REGIONS.items():
            if page == name:
                text = with_region(text, region, generator())
        yield name, text


def main() -> int:
    """Return 0 when every page is written or up to date, 1 when `--check` finds one that is not."""
    check = flags(__doc__).parse_args().check
    folder = Path(__file__).parent
    wanted = {folder / name: text for name, text in pages()}
    return update(wanted, Path(__file__), folder.parent, check=check)


if __name__ == "__main__":
    sys.exit(main())

"""By whose names a page is read, and whose page is not read though it is known. Pure."""

from collections.abc import Collection, Iterable
from typing import Final

from exporter.engines import ENGINES, Engine, Gateway
from exporter.readings import ReadFailedError

UNKNOWN_PAGE: Final = "a page of no known engine"


def repeated(engines: Iterable[str | None]) -> frozenset[str]:
    """The engines whose tokens some of these count again, by name; `None` is one that is not named."""
    return frozenset(name for engine in engines if engine for name in ENGINES[engine].repeats)


def reader(
    row: Engine | Gateway | None,
    configured: Engine | None,
    told_elsewhere: Collection[str],
    url: str,
) -> Engine:
    """The engine by whose names to read a page that looks like `row`'s.

    The configured engine has the last word but in three cases: a gateway's page is nobody's, an engine that
    repeats others is read only where it is configured itself, and one that shows another's page as its own
    is that other one. `told_elsewhere` are engines whose tokens a configured endpoint counts already.

    Raises:
        ReadFailedError: `gateway`, `counted_twice`, `not_recognized`.
    """
    if isinstance(row, Gateway):
        raise ReadFailedError(
            "gateway", f"{url}: answers with the page of {row.title}, {row.what}: {row.remedy}"
        )
    if row is not None and row.repeats and row is not configured:
        counted = f"which counts what {' and '.join(row.repeats)} counts"
        raise ReadFailedError(
            "gateway", f"{url}: answers with the page of {row.manual.title}, {counted}: {row.instead}"
        )
    engine = configured
    if row is not None and (configured is None or row.name in configured.disguises):
        engine = row
    if engine is None:
        raise ReadFailedError("not_recognized", f"{url}: answers with {UNKNOWN_PAGE}")
    for one in (engine, row):
        if one is not None and one.name in told_elsewhere:
            counted = "whose tokens the configuration has counted at another endpoint: remove one of the two"
            raise ReadFailedError(
                "counted_twice", f"{url}: answers with the page of {one.manual.title or one.name}, {counted}"
            )
    return engine

"""Recognition: which engine a metrics page is of."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from exporter.engines import (
    ENGINES,
    Described,
    Engine,
    GatewaySpec,
    Page,
    described,
    everything,
    match,
    read,
    wanted,
)
from exporter.readings import FailureReason, ReadFailedError

UNKNOWN_PAGE: Final = "a page of no known engine"


@dataclass(frozen=True, slots=True)
class KnownEngines:
    """Engines that matter for an endpoint beside its own."""

    described: Described = ()
    """Those that the configuration describes."""
    counted_elsewhere: Collection[str] = ()
    """Names of those whose tokens another endpoint counts already."""


NO_OTHERS: Final = KnownEngines()


def repeated(engines: Iterable[str | None]) -> frozenset[str]:
    """Names of the engines whose tokens any of these counts again, which only built-in ones do."""
    return frozenset(name for engine in engines if engine in ENGINES for name in ENGINES[engine].repeats)


class Recognizer:
    """Recognizes the pages of one endpoint. `name` is that of its configured engine, `None` without one.

    Raises:
        ValueError: no engine has this name.
    """

    def __init__(self, name: str | None, known: KnownEngines, subject: str) -> None:
        self._known = known
        self._subject = subject
        self.configured = None if name is None else described(name, known.described)
        if name is not None and self.configured is None:
            names = sorted((*ENGINES, *(engine.name for engine in known.described)))
            raise ValueError(f"engine {name!r} is none of {', '.join(names)}")

    def recognize(self, body: bytes, last: Engine | None) -> tuple[Engine, Page]:
        """The engine of a page, and the page as that engine's. `last` is the engine of the page before.

        Raises:
            ReadFailedError: `gateway`, `counted_twice`, `not_recognized`, `too_large`.
        """
        # A page that may be in disguise, or is counted elsewhere, is recognized anew each time.
        if last is not None and not last.disguises and last.name not in self._known.counted_elsewhere:
            page = self._page(body, last)
            if last.fingerprint.matches(page):
                return last, page
        page = self._page(body, None)
        return self._engine(match(page, self._known.described)), page

    def _page(self, body: bytes, engine: Engine | None) -> Page:
        page = read(body, everything(self._known.described) if engine is None else wanted(engine))
        if page.cut:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"{self._subject}: more series than an engine has")
        return page

    def _engine(self, row: Engine | GatewaySpec | None) -> Engine:
        """The engine by which to read a page that matches `row`.

        It is the configured one but in three cases: a gateway's page is none, an engine that repeats others
        is read only if it is configured itself, and one that shows another's page as its own is that other
        one.
        """
        answers = f"{self._subject}: answers with"
        if isinstance(row, GatewaySpec):
            raise ReadFailedError(
                FailureReason.GATEWAY, f"{answers} the page of {row.title}, {row.what}: {row.remedy}"
            )
        engine = self.configured
        if row is not None and row.repeats and row is not engine:
            counted = f"which counts what {' and '.join(row.repeats)} counts"
            raise ReadFailedError(
                FailureReason.GATEWAY, f"{answers} the page of {row.manual.title}, {counted}: {row.instead}"
            )
        if row is not None and (engine is None or row.name in engine.disguises):
            engine = row
        if engine is None:
            raise ReadFailedError(FailureReason.NOT_RECOGNIZED, f"{answers} {UNKNOWN_PAGE}")
        for repeated_engine in (engine, row):
            if repeated_engine is not None and repeated_engine.name in self._known.counted_elsewhere:
                title = repeated_engine.manual.title or repeated_engine.name
                problem = (
                    f"{answers} the page of {title}, whose tokens the configuration has counted at another "
                    "endpoint: remove one of the two"
                )
                raise ReadFailedError(FailureReason.COUNTED_TWICE, problem)
        return engine

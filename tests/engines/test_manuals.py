"""What the description of every engine says to its operator; it agrees with how engines are started."""

from pathlib import Path

import pytest

from exporter.engines import ENGINES, EVERYTHING, Engine, GatewaySpec, match, read
from exporter.engines.gateways import GATEWAYS

NAMES = sorted(ENGINES)
TESTS = Path(__file__).parents[1]
REAL = [*TESTS.glob("engines/captures/real-*.prom"), *TESTS.glob("recordings/*/*.prom")]
"""Pages that running servers wrote. The name of each, or of its folder, tells the version."""


def _of(page: Path) -> tuple[str, str]:
    """Whose page it is, and the name that tells its version."""
    row = match(read(page.read_bytes(), EVERYTHING))
    name = page.stem if page.parent.name == "captures" else page.parent.name
    return (row.title if isinstance(row, GatewaySpec) else row.name if row else ""), name


def test_what_is_said_to_be_captured_is_among_the_tests() -> None:
    """No version is told that no page is of, and no page is there of which nothing is told."""
    claimed = {(name, version) for name in NAMES for version in ENGINES[name].manual.captured}
    claimed |= {(row.title, version) for row in GATEWAYS for version in row.captured}
    written = {_of(page) for page in REAL}

    for who, version in claimed:
        assert [name for other, name in written if other == who and version in name], (who, version)
    assert {who for who, _ in claimed} == {who for who, _ in written} - {""} - {"inference-cost-exporter"}


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_is_described(name: str) -> None:
    """Its title, the versions that were read, what a read does to it and what it cannot tell."""
    manual = ENGINES[name].manual
    assert manual.title
    assert manual.versions
    assert manual.reading.endswith(".")
    assert manual.cannot_tell
    for sentence in (*manual.deployment, *manual.cannot_tell):
        assert sentence[0].isupper() or sentence[0] == "`"
        assert sentence.endswith(".")
    for path, why in manual.never_read:
        assert path.startswith("/")
        assert why


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_never_read_is_read(name: str) -> None:
    """Neither as metrics nor as a metadata query, which is for what metrics lack."""
    engine = ENGINES[name]
    never = {path for path, _ in engine.manual.never_read}
    requested = {"/" + query.path for query in engine.metadata_queries}
    assert not never & {engine.default_path, *requested}
    assert all(query.model or query.version for query in engine.metadata_queries)
    assert not engine.model_labels or engine.nameless or not any(q.model for q in engine.metadata_queries)


def _started(engine: Engine) -> list[tuple[int | None, str]]:
    return [
        (row.metrics_port or row.port, row.metrics_path)
        for row in engine.commands
        if not row.part and row.port is not None
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("dynamo", "ray")])
def test_an_engine_is_where_its_command_says(name: str) -> None:
    """Its port and path, unless a flag says otherwise. Dynamo's and Ray's are of another process."""
    engine = ENGINES[name]
    for port, path in _started(engine):
        assert (engine.default_port, engine.default_path) == (port, path)


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_that_must_be_switched_on_says_how(name: str) -> None:
    """As its command's row knows it."""
    for row in ENGINES[name].commands:
        if row.metrics == "off":
            assert any(flag in ENGINES[name].manual.switch for flag in row.metrics_on_flags)

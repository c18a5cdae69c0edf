"""Ledger files with other bytes than were written: they open as they are, are moved aside, or say why."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from exporter.ledger.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from tests.depth import examples
from tests.kit.clock import clock_at
from tests.kit.units import NOVEMBER
from tests.ledger.ticks import accrued, numbered

TICKS = 5
MONTHS = ("2026-11",)

damages = st.lists(
    st.one_of(
        st.tuples(st.just("byte"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=1)),
        st.tuples(st.just("page"), st.floats(0, 1, exclude_max=True), st.binary(min_size=16, max_size=4096)),
        st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(b"")),
        st.tuples(st.just("longer"), st.just(1.0), st.binary(min_size=1, max_size=9000)),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of a few ticks, all of it in its one file."""
    path = tmp_path_factory.mktemp("whole") / "ledger.db"
    ledger = Ledger.open(path, clock_at())
    for number in range(1, TICKS + 1):
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
    ledger.close()
    assert not path.with_name("ledger.db-wal").exists()
    return path


def damaged(whole: Path, damages: list[tuple[str, float, bytes]]) -> bytes:
    made = bytearray(whole.read_bytes())
    for kind, position, data in damages:
        at = int(position * len(made))
        match kind:
            case "byte" | "page":
                made[at : at + len(data)] = data[: len(made) - at]
            case "cut":
                del made[at:]
            case "longer":
                made += data
    return bytes(made)


@examples(60, suppress_health_check=[HealthCheck.too_slow])
@given(damages)
def test_no_bytes_keep_the_daemon_from_metering(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, damages_made: list[tuple[str, float, bytes]]
) -> None:
    """It opens, or says what to do; what it opens serves, takes the next tick, and opens again with it."""
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "ledger.db"
    path.write_bytes(damaged(whole, damages_made))
    try:
        ledger = Ledger.open(path, clock_at())
    except LedgerError as error:
        assert str(path) in str(error)  # noqa: PT017 - a version of a later release is among what bytes can say
        return
    try:
        before = ledger.totals(NOVEMBER, MONTHS)
        number = TICKS + 1
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))
        after = ledger.totals(NOVEMBER, MONTHS)
    finally:
        ledger.close()
    posted = sum(segment.accrued for segment in numbered(number).segments)
    if after.writable:
        assert sum(after.cost.values()) - sum(before.cost.values()) == posted
    else:
        assert after.cost == before.cost
        assert ledger.problem
    if ledger.moved_aside is not None:
        assert ledger.moved_aside.exists()
        assert sum(before.cost.values()) == 0
    shutil.rmtree(folder)


@examples(60, suppress_health_check=[HealthCheck.too_slow])
@given(damages)
def test_no_bytes_break_a_reader_of_a_running_ledger(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, damages_made: list[tuple[str, float, bytes]]
) -> None:
    """It answers, or fails with a message that names the file."""
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "ledger.db"
    path.write_bytes(damaged(whole, damages_made))
    try:
        with LedgerReader.open(path) as reader:
            reader.state()
            reader.totals(NOVEMBER, MONTHS)
            reader.hours(0, 10**9)
            reader.days(0, 99_999_999)
            reader.month("2026-11")
    except LedgerError as error:
        assert str(path) in str(error)  # noqa: PT017 - most files can be read
    shutil.rmtree(folder)


def test_the_file_is_one_that_opens_when_nothing_was_done_to_it(tmp_path: Path, whole: Path) -> None:
    """Else the tests above would prove nothing."""
    path = tmp_path / "ledger.db"
    path.write_bytes(whole.read_bytes())
    with LedgerReader.open(path) as reader:
        assert sum(reader.totals(NOVEMBER, MONTHS).cost.values()) > 0
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)

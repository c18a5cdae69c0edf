"""The review of the daemon's own ledger: hourly, beside the ticks, and from the file alone."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from exporter.config import Config, parse
from exporter.config.settings import cost_policy
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import Holder
from exporter.report import HostSavings, Report, TickBasis
from exporter.sampler.savings_review import QUIET_START, SavingsReview
from tests.cli.test_advise import ARCHIVE, CONFIG, metered
from tests.kit.clock import ManualClock, clock_at
from tests.kit.units import DOLLAR, HOUR, MINUTE, SECOND
from tests.web.conftest import report

FIVE = parse(CONFIG.encode())
"""Five dollars a GPU-hour."""
MUTED = parse(
    f"{CONFIG}advise: {{ignore: [{{kind: deserted, reason: standby, until: 2027-01-01}}]}}\n".encode()
)


@dataclass
class Threads:
    """Keeps work until it is run; `full`: no thread is left."""

    waiting: list[Callable[[], None]] = field(default_factory=list)
    started: int = 0
    full: bool = False

    def start(self, work: Callable[[], None], name: str) -> None:
        assert name == "savings"
        if self.full:
            raise RuntimeError("can't start new thread")
        self.started += 1
        self.waiting.append(work)

    def run(self) -> None:
        work, self.waiting = self.waiting, []
        for each in work:
            each()


@dataclass
class ReviewedHost:
    """A ledger of `hours` of a free GPU and one of a silent server, and its review."""

    path: Path | None
    now: int
    clock: ManualClock = field(default_factory=lambda: clock_at(MINUTE))
    threads: Threads = field(default_factory=Threads)
    trimmed: int = 0
    review: SavingsReview = field(init=False)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.review = self.started()
        assert self.path is not None
        with LedgerReader.open(self.path) as ledger:
            self.state = ledger.state()

    def started(self) -> SavingsReview:
        """What a daemon has after a start, when it is no longer quiet."""
        return SavingsReview(self.clock, lambda: self.path, self.threads.start, quiet_start=0, trim=self.trim)

    def trim(self) -> None:
        """As malloc_trim, which may take its time: a tick amid it begins no other review."""
        self.trimmed += 1
        self.look(now=self.now + HOUR)

    def look(self, config: Config = FIVE, now: int | None = None) -> None:
        """As after a tick."""
        self.review.look(self.report(config, self.now if now is None else now), config)

    def report(self, config: Config, now: int) -> Report:
        basis = TickBasis(cost_policy(config, "host"), replace(self.state, wall=now))
        return replace(report(), wall=now, basis=basis)

    def findings(self) -> list[tuple[str, int]] | None:
        """Kinds with dollars a month."""
        savings = self.review.savings()
        return None if savings is None else [(one.kind, one.per_month // DOLLAR) for one in savings.findings]


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A ledger of 48 hours, and its end."""
    path = tmp_path_factory.mktemp("node") / "ledger.db"
    return path, metered(path, 48)


@pytest.fixture
def reviewed(two_days: tuple[Path, int], tmp_path: Path) -> ReviewedHost:
    """A host with a copy of it."""
    path, now = two_days
    return ReviewedHost(Path(shutil.copy(path, tmp_path)), now)


BOTH = [("unallocated", 3650), ("deserted", 3650)]
"""Two GPUs at 5 dollars for 730 hours."""


def test_savings_are_those_of_the_ledger_at_present_prices(reviewed: ReviewedHost) -> None:
    """48 hours of two GPUs that do nothing, as `advise` would list them."""
    reviewed.look()
    reviewed.threads.run()

    assert reviewed.findings() == BOTH
    savings = reviewed.review.savings()
    assert savings is not None
    assert (savings.hours, savings.end) == (48, reviewed.now)


def test_freed_memory_goes_back_once_a_review(reviewed: ReviewedHost) -> None:
    """Once after each, with the findings there and before another may begin; after one that failed, too."""
    reviewed.look()
    assert reviewed.trimmed == 0
    reviewed.threads.run()

    assert (reviewed.trimmed, reviewed.threads.started) == (1, 1)
    reviewed.path = Path("gone.db")
    reviewed.look(now=reviewed.now + HOUR)
    reviewed.threads.run()
    assert (reviewed.trimmed, reviewed.threads.started) == (2, 2)


@pytest.mark.parametrize(("hours", "known"), [(23, False), (24, True)])
def test_nothing_is_known_before_a_day(tmp_path: Path, hours: int, *, known: bool) -> None:
    """An empty list would say that nothing can be saved."""
    path = tmp_path / "ledger.db"
    reviewed = ReviewedHost(path, metered(path, hours))

    reviewed.look()
    reviewed.threads.run()

    assert (reviewed.review.savings() is not None) is known


def test_a_tick_never_waits(reviewed: ReviewedHost) -> None:
    """The review is handed to a thread, and a second one is not begun beside it."""
    reviewed.look()
    reviewed.look(now=reviewed.now + HOUR)

    assert (reviewed.threads.started, reviewed.review.savings()) == (1, None)
    reviewed.threads.run()
    reviewed.look(now=reviewed.now + HOUR)
    assert reviewed.threads.started == 2


def test_once_an_hour(reviewed: ReviewedHost) -> None:
    """All ticks of an hour have one review; the first one of the next hour begins another."""
    for second in (0, 10, 3599, 3600, 3610):
        reviewed.look(now=reviewed.now + second * SECOND)
        reviewed.threads.run()

    assert reviewed.threads.started == 2


def test_a_new_configuration_is_reviewed_at_once(reviewed: ReviewedHost) -> None:
    """A finding that it mutes is gone with the next report, and is back without the entry."""
    findings = []

    for config in (FIVE, MUTED, FIVE):
        reviewed.look(config)
        reviewed.threads.run()
        findings.append(reviewed.findings())

    assert findings == [BOTH, BOTH[:1], BOTH]


def test_a_finding_that_is_gone_disappears(reviewed: ReviewedHost) -> None:
    """A server took the free GPU."""
    reviewed.look()
    reviewed.threads.run()

    free = next(gpu for gpu in reviewed.state.gpus.values() if not gpu.holders)
    taken = replace(free, holders=(Holder(ARCHIVE.key._replace(server="new"), free.gpu.uuid),))
    reviewed.state = replace(reviewed.state, gpus={**reviewed.state.gpus, free.gpu.uuid: taken})
    reviewed.look(now=reviewed.now + HOUR - 1)
    reviewed.threads.run()
    assert reviewed.findings() == BOTH  # the hour is not over
    reviewed.look(now=reviewed.now + HOUR)
    reviewed.threads.run()

    assert "unallocated" not in [kind for kind, _ in reviewed.findings() or ()]


def test_a_restart_finds_the_same(reviewed: ReviewedHost) -> None:
    """Nothing is kept but the ledger: a start is quiet for twenty seconds, then reviews."""
    reviewed.review = SavingsReview(reviewed.clock, lambda: reviewed.path, reviewed.threads.start)

    reviewed.clock.now += QUIET_START - 1
    reviewed.look()
    assert reviewed.threads.started == 0
    reviewed.clock.now += 1
    reviewed.look()
    reviewed.threads.run()

    assert reviewed.findings() == BOTH


def test_a_ledger_in_memory_has_no_review(reviewed: ReviewedHost) -> None:
    """There is no file to read, nor before the ledger is open, nor while its totals are withheld."""
    withheld = replace(reviewed.report(FIVE, reviewed.now), totals=None)

    reviewed.review.look(withheld, FIVE)
    reviewed.review.look(replace(withheld, totals=report().totals, basis=None), FIVE)
    reviewed.path = None
    reviewed.look()

    assert reviewed.threads.started == 0


def test_a_ledger_that_cannot_be_read(
    reviewed: ReviewedHost, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, old findings are not served, and the next hour tries again."""
    reviewed.look()
    reviewed.threads.run()
    there = reviewed.path
    reviewed.path = tmp_path / "gone.db"

    for hour in (1, 2):
        reviewed.look(now=reviewed.now + hour * HOUR)
        reviewed.threads.run()
        assert reviewed.review.savings() is None
    (record,) = caplog.records
    assert record.getMessage() == "savings unavailable"
    assert vars(record)["problem"] == f"{tmp_path}/gone.db: there is no ledger here"

    reviewed.path = there
    reviewed.look(now=reviewed.now)
    reviewed.threads.run()
    assert reviewed.findings() == BOTH


def test_no_thread_is_left(reviewed: ReviewedHost, caplog: pytest.LogCaptureFixture) -> None:
    """The tick goes on, and the next hour tries again."""
    reviewed.threads.full = True
    reviewed.look()
    reviewed.threads.full = False
    reviewed.look(now=reviewed.now + HOUR)

    assert [vars(record)["problem"] for record in caplog.records] == ["can't start new thread"]
    assert reviewed.threads.started == 1


def test_a_bug_in_a_review_stops_no_later_one(
    reviewed: ReviewedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it raises is for the log of threads; the findings of before are not served."""
    reviewed.look()
    reviewed.threads.run()

    def broken(*_: object) -> HostSavings:
        raise ValueError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr("exporter.sampler.savings_review.advice", broken)
        reviewed.look(now=reviewed.now + HOUR)
        with pytest.raises(ValueError, match="a bug"):
            reviewed.threads.run()
    assert reviewed.review.savings() is None
    reviewed.look(now=reviewed.now)
    reviewed.threads.run()

    assert reviewed.findings() == BOTH


def test_a_ledger_that_is_written_meanwhile(reviewed: ReviewedHost) -> None:
    """The daemon has its own file open: the review reads what the last commit left, and the lock stays."""
    assert reviewed.path is not None
    running = Ledger.open(reviewed.path, clock_at(reviewed.now))
    try:
        reviewed.look()
        reviewed.threads.run()
    finally:
        running.close()

    assert reviewed.findings() == BOTH

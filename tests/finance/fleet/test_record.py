"""The month of a fleet: worked by hand, and identities of `combine`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.finance.fleet.record import (
    ConflictingCopiesError,
    FleetMonth,
    HostMonth,
    HostName,
    MixedZonesError,
    combine,
)
from exporter.finance.statements import MONTH_BYS, UnknownMonthError, month_statement
from tests.finance.fleet.host_months import CHAT_CELL, EMBED_CELL, LENGTH, host_month, with_adjustment
from tests.kit.units import DOLLAR, HOUR, NOVEMBER, OCTOBER, SECOND

LATER = NOVEMBER + 10 * HOUR


def findings(fleet: FleetMonth) -> list[tuple[str, str, int, int]]:
    return [(each.kind, each.ledger, each.duration, each.amount) for each in fleet.findings]


def test_two_whole_hosts_add_up_and_miss_nothing() -> None:
    """3 and 4 dollars of chat, 5 of search: 12 dollars by each grouping, 1,488 host-hours."""
    fleet = combine([host_month("a", 3 * DOLLAR, 5 * DOLLAR), host_month("b", 4 * DOLLAR)], LATER)

    assert fleet.total == 12 * DOLLAR
    assert dict(fleet.record.cells) == {CHAT_CELL: 7 * DOLLAR, EMBED_CELL: 5 * DOLLAR}
    assert [host.total for host in fleet.hosts] == [8 * DOLLAR, 4 * DOLLAR]
    assert fleet.record.sums is not None
    assert fleet.record.sums.covered == {(): 2 * LENGTH}
    assert fleet.findings == ()
    for by in MONTH_BYS:
        statement = month_statement(fleet.record, by, current_month="2026-11", zone=fleet.zone)
        assert sum(line.money for line in statement.lines) == 12 * DOLLAR


def test_a_copy_of_a_ledger_counts_once() -> None:
    """The copy of the 20th has 3 dollars, the later one 8: the month is 8, and the copy is named."""
    old = host_month("a", 3 * DOLLAR, location="backup/a.db", last=NOVEMBER - 100 * HOUR)
    fleet = combine([old, host_month("a", 8 * DOLLAR)], LATER)

    assert fleet.total == 8 * DOLLAR
    (finding,) = fleet.findings
    assert (finding.kind, finding.location, finding.amount) == ("copy", "backup/a.db", 3 * DOLLAR)
    assert finding.instant == NOVEMBER - 100 * HOUR


def test_the_same_file_twice_is_a_copy() -> None:
    """Equal commits and equal totals: one counts."""
    fleet = combine([host_month("a", DOLLAR), host_month("a", DOLLAR, location="b.db")], LATER)

    assert fleet.total == DOLLAR
    assert [each.kind for each in fleet.findings] == ["copy"]


def test_copies_of_one_commit_with_different_totals_are_refused() -> None:
    """Which of them is edited cannot be known."""
    with pytest.raises(
        ConflictingCopiesError,
        match=r"^a/ledger\.db and b\.db are ledger a at one commit \(2026-11-01T01:00:00Z\), "
        r"with 1\.00 and 2\.00 dollars of 2026-10: remove the wrong one$",
    ):
        combine([host_month("a", DOLLAR), host_month("a", 2 * DOLLAR, location="b.db")], LATER)


def test_a_ledger_counts_before_a_statement_and_that_before_prometheus() -> None:
    """8 dollars by the ledger; the statement's 7 and the 9 of Prometheus are told as differences."""
    ledger = host_month("a", 8 * DOLLAR, last=NOVEMBER)
    statement = replace(host_month("a", 7 * DOLLAR, location="2026-10.json"), origin="statement")
    scraped = replace(host_month("a", 9 * DOLLAR, location="http://prom:9090"), origin="prometheus")
    fleet = combine([scraped, statement, ledger], LATER)

    assert fleet.total == 8 * DOLLAR
    assert fleet.hosts[0].host.origin == "ledger"
    assert findings(fleet) == [("difference", "a", 0, -DOLLAR), ("difference", "a", 0, DOLLAR)]

    fleet = combine([scraped, statement], LATER)

    assert fleet.total == 7 * DOLLAR
    assert findings(fleet) == [("difference", "a", 0, 2 * DOLLAR)]


def test_sources_that_agree_have_no_difference() -> None:
    """Prometheus is rounded to a float: less than a cent is no difference."""
    scraped = replace(host_month("a", 8 * DOLLAR + DOLLAR // 1000), origin="prometheus")

    assert combine([scraped, host_month("a", 8 * DOLLAR)], LATER).findings == ()


def test_what_is_missing_of_a_host() -> None:
    """Dead for the last 100 of 744 hours, 4 of the 644 before without ticks, 6 GPU-hours unpriced."""
    host = host_month("a", DOLLAR, last=NOVEMBER - 100 * HOUR, covered=640 * HOUR)
    assert host.record.sums is not None
    (gpu,) = host.record.sums.gpu_held
    host.record.sums.unpriced = {
        (gpu, owner): 6 * HOUR for owner in [next(iter(host.record.sums.held)).owner]
    }
    host = with_adjustment(host, 1, 5 * DOLLAR, posted=False)
    fleet = combine([host], LATER)

    assert findings(fleet) == [
        ("silent", "a", 100 * HOUR, 0),
        ("unmetered", "a", 4 * HOUR, 0),
        ("unpriced", "a", 6 * HOUR, 0),
        ("waiting", "a", 0, 5 * DOLLAR),
    ]
    assert fleet.total == DOLLAR


def test_a_month_that_goes_on_has_silent_hosts_after_an_hour() -> None:
    """On the 20th at noon: a host of an hour ago reports, one of two hours ago is silent."""
    now = OCTOBER + 468 * HOUR
    hosts = [
        host_month("a", DOLLAR, last=now - HOUR, covered=467 * HOUR),
        host_month("b", DOLLAR, last=now - 2 * HOUR, covered=466 * HOUR),
    ]

    assert findings(combine(hosts, now)) == [("silent", "b", 2 * HOUR, 0)]


def test_a_spot_node_of_three_hours_misses_nothing_but_its_end() -> None:
    """It lived and was metered for 3 hours."""
    begun = OCTOBER + 100 * HOUR
    node = replace(host_month("a", DOLLAR, last=begun + 3 * HOUR, covered=3 * HOUR), first=begun)

    assert findings(combine([node], LATER)) == [("silent", "a", 641 * HOUR, 0)]


def test_zones_that_differ_are_refused_with_the_list() -> None:
    """A month of Berlin is another month."""
    berlin = replace(host_month("b", DOLLAR), zone="Europe/Berlin")
    with pytest.raises(MixedZonesError) as raised:
        combine([host_month("a", DOLLAR), host_month("c", DOLLAR), berlin], LATER)

    assert str(raised.value) == (
        "the months of these hosts are of different time zones: UTC (2: a, c), Europe/Berlin (1: b); "
        "--mixed-zones adds them all the same"
    )
    fleet = combine([host_month("a", DOLLAR), host_month("c", DOLLAR), berlin], LATER, mixed_zones=True)
    assert fleet.total == 3 * DOLLAR
    assert fleet.zone.key == "UTC"
    assert [(each.kind, each.ledger, each.text) for each in fleet.findings] == [
        ("zone", "b", "Europe/Berlin")
    ]


def test_a_replaced_ledger_and_one_that_overlaps() -> None:
    """The GPU of a is in b from the 11th on; c has it at the same time as b for 48 hours."""
    tenth = OCTOBER + 240 * HOUR
    first = host_month("a", DOLLAR, gpu="GPU-1", last=tenth, covered=240 * HOUR)
    second = host_month("b", DOLLAR, gpu="GPU-1", first=tenth, covered=504 * HOUR)
    third = host_month("c", DOLLAR, gpu="GPU-1", first=NOVEMBER - 48 * HOUR, covered=48 * HOUR)

    assert findings(combine([second, first], LATER)) == [
        ("silent", "a", 504 * HOUR, 0),
        ("replaced", "a", 0, 0),
    ]
    assert [each for each in findings(combine([second, third], LATER)) if each[0] != "silent"] == [
        ("overlap", "b", 48 * HOUR, 0)
    ]


def test_a_gpu_that_moved_to_another_host() -> None:
    """Both hosts go on, and the GPU is in one until the 20th and in the other since: not counted twice."""
    one = replace(host_month("a", DOLLAR), gpus={"GPU-1": (20261001, 20261020)})
    other = replace(host_month("b", DOLLAR), gpus={"GPU-1": (20261020, 20261031)})

    assert findings(combine([one, other], LATER)) == [("replaced", "a", 0, 0)]


def test_two_ledgers_of_one_day() -> None:
    """Of two spot nodes with one GPU, the second began an hour before the first ended."""
    one = host_month("a", DOLLAR, gpu="GPU-1", last=OCTOBER + 3 * HOUR, covered=3 * HOUR)
    other = host_month(
        "b", DOLLAR, gpu="GPU-1", first=OCTOBER + 2 * HOUR, last=OCTOBER + 5 * HOUR, covered=3 * HOUR
    )

    assert [each for each in findings(combine([one, other], LATER)) if each[0] != "silent"] == [
        ("overlap", "a", HOUR, 0)
    ]


def test_a_host_with_a_new_ledger_each_day_has_a_line_for_each() -> None:
    """31 ledgers of one GPU: 30 were replaced, not 465 pairs of them."""
    hosts = [
        host_month(f"d{day:02d}", DOLLAR, gpu="GPU-1", first=begun, last=begun + 24 * HOUR, covered=24 * HOUR)
        for day, begun in enumerate(range(OCTOBER, NOVEMBER, 24 * HOUR))
    ]
    replaced = [each for each in combine(hosts, LATER).findings if each.kind == "replaced"]

    assert [(each.ledger, each.text) for each in replaced] == [
        (f"d{day:02d}", f"d{day + 1:02d}") for day in range(30)
    ]


def test_a_relabeled_host_is_named() -> None:
    """Its last name is its name."""
    host = replace(
        host_month("a", DOLLAR),
        names=(HostName("east", "10.0.0.1", "n1"), HostName("west", "10.0.0.1", "n1")),
    )
    (finding,) = combine([host], LATER).findings

    assert (finding.kind, finding.text) == ("relabeled", "east/10.0.0.1/n1, west/10.0.0.1/n1")
    assert host.name == "n1"


def test_ledgers_without_the_month_are_counted_and_no_more() -> None:
    """A spot node of September is in the folder, of another time zone."""
    september = host_month("b")
    september = replace(
        september,
        zone="Europe/Berlin",
        record=replace(september.record, months=("2026-09",), cells={}, sums=None),
    )
    fleet = combine([host_month("a", DOLLAR), september], LATER)

    assert (fleet.total, fleet.without, [host.ledger for host in fleet.hosts]) == (DOLLAR, 1, ["a"])
    assert fleet.record.months == ("2026-09", "2026-10")


def test_a_month_that_no_host_has_is_refused_by_reports() -> None:
    """The merged record knows the months that there are."""
    empty = host_month("b")
    empty = replace(empty, record=replace(empty.record, months=("2026-09",), cells={}, sums=None))
    fleet = combine([empty], LATER)

    assert fleet.hosts == ()
    with pytest.raises(UnknownMonthError, match=r"^the ledgers have nothing of 2026-10: they have 2026-09$"):
        month_statement(fleet.record, "product", current_month="2026-11", zone=fleet.zone)


def test_adjustments_say_whose_they_are() -> None:
    """Numbers are of a ledger: two hosts have an adjustment 1."""
    fleet = combine(
        [
            with_adjustment(host_month("b", DOLLAR), 1, 2 * DOLLAR, posted=True),
            with_adjustment(host_month("a", DOLLAR), 1, 3 * DOLLAR, posted=True),
        ],
        LATER,
    )

    assert [(each.ledger, each.number, each.amount) for each in fleet.record.adjustments] == [
        ("a", 1, 3 * DOLLAR),
        ("b", 1, 2 * DOLLAR),
    ]
    assert fleet.record.adjusted == 5 * DOLLAR


def test_a_month_is_loaded_once_it_is_chosen() -> None:
    """Of three files, two headers are copies: the sums of one are read."""
    whole = {"a": host_month("a", DOLLAR), "b": host_month("b", DOLLAR)}
    read: list[str] = []

    def load(header: HostMonth) -> HostMonth:
        read.append(header.record.ledger)
        return whole[header.record.ledger]

    headers = [
        replace(host, record=replace(host.record, sums=None)) for host in (*whole.values(), whole["a"])
    ]
    fleet = combine(headers, LATER, load=load)

    assert sorted(read) == ["a", "b"]
    assert fleet.record.sums is not None
    assert sum(fleet.record.sums.cost.values()) == 2 * DOLLAR


AMOUNTS = st.integers(min_value=-(10**15), max_value=10**18)
HOSTS = st.lists(
    st.builds(
        lambda ledger, chat, embed, hours: host_month(
            f"l{ledger}", chat, embed, location=f"{ledger}-{hours}.db", last=NOVEMBER + hours * SECOND
        ),
        st.integers(0, 8),
        AMOUNTS,
        AMOUNTS,
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda host: (host.record.ledger, host.last),
)


@given(HOSTS)
def test_the_sum_over_hosts_is_the_merged_month(hosts: list[HostMonth]) -> None:
    """Cells, phases, components and GPUs of the fleet are those of its hosts, each ledger once."""
    latest: dict[str, HostMonth] = {}
    for host in sorted(hosts, key=lambda each: each.last or 0):
        latest[host.record.ledger] = host
    expected = sum(sum(host.record.cells.values()) for host in latest.values())
    fleet = combine(hosts, LATER)
    sums = fleet.record.sums

    assert sums is not None
    assert {
        fleet.total,
        sum(host.total for host in fleet.hosts),
        sum(sums.cost.values()),
        sum(sums.server_cost.values()),
        sum(sums.gpu_cost.values()),
    } == {expected}
    assert len(fleet.hosts) == len(latest)
    assert sum(each.kind == "copy" for each in fleet.findings) == len(hosts) - len(latest)


@given(HOSTS, st.randoms(use_true_random=False))
def test_the_order_of_hosts_changes_nothing(hosts: list[HostMonth], random: object) -> None:
    """A folder is read in any order."""
    shuffled = list(hosts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert combine(shuffled, LATER) == combine(hosts, LATER)


@given(HOSTS)
def test_a_copy_changes_no_sum(hosts: list[HostMonth]) -> None:
    """Every file twice is the same fleet."""
    copies = [replace(host, location=f"copy/{host.location}") for host in hosts]
    once, twice = combine(hosts, LATER), combine([*hosts, *copies], LATER)

    assert twice.record == once.record
    assert [host.ledger for host in twice.hosts] == [host.ledger for host in once.hosts]

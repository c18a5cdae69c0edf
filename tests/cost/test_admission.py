"""Rows of a host by principal: what one asks for takes neither a row that another has, nor its half."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.admission import RowQuota
from exporter.cost.policy import CardinalityLimits
from exporter.cost.state import State
from exporter.ledger import marks
from exporter.readings import CounterReading, ServerKey, ServerReading
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, allocate, cost_policy, h100, page, rent
from tests.depth import examples
from tests.kit.units import HOUR, SECOND

GREEDY = ServerKey("", "greedy")
USERS = {CHAT: 1000, BATCH: 1000, GREEDY: 65534}


def serves(key: ServerKey, *names: str, count: float = 0) -> ServerReading:
    """One page whose models have all generated as much."""
    counters = tuple(CounterReading(name, name, "generation", count) for name in names)
    return replace(page(key), counters=counters, loads=(), models=names)


def names_of(number: int) -> tuple[str, ...]:
    """Invented names of models."""
    return tuple(f"m{each}" for each in range(number))


def meter_of(**limits: int) -> CheckedMeter:
    """A host of one GPU."""
    return CheckedMeter(cost_policy(rent(3600), limits=CardinalityLimits(**limits)))


def restarted(state: State) -> State:
    """The state as a ledger gives it back."""
    read, dropped = marks.state_of((*scope, text) for scope, text in marks.texts(state).items())
    assert dropped == ()
    return read


def rows(meter: CheckedMeter, key: ServerKey) -> set[str]:
    """The models of a server that have a row."""
    return set(meter.state.servers[key].models)


def test_a_page_of_600_models_costs_others_no_row() -> None:
    """It fills the host before another serves, and then: that one has its own rows for its first two."""
    meter = meter_of()
    meter.pass_by(SECOND, [], [serves(GREEDY, *names_of(600))], users=USERS)
    assert len(rows(meter, GREEDY)) == 2 + 50 + 1  # the last is `other`

    meter.state, _ = marks.state_of(
        (*scope, text) for scope, text in marks.texts(meter.state).items()
    )  # as after a restart
    for served in (["llama-8b"], ["llama-8b", "llama-70b"]):
        pages = [serves(GREEDY, *names_of(600)), serves(CHAT, *served)]
        meter.pass_by(SECOND, [], pages, users=USERS)

    assert rows(meter, CHAT) == {"llama-8b", "llama-70b"}
    assert len(rows(meter, GREEDY)) == 2 + 50 + 1


def test_one_user_gets_half_of_the_rows_once_another_asks() -> None:
    """Of 6: the stranger 3 beyond its first two; user 1000 has two servers, which share the other 3."""
    meter = meter_of(models=6)
    pages = [
        serves(GREEDY, *names_of(20)),
        serves(CHAT, *names_of(4)),
        serves(BATCH, *names_of(4)),
    ]
    meter.pass_by(SECOND, [], pages, users=USERS)

    assert rows(meter, GREEDY) == {"m0", "m1", "m2", "m3", "m4", "other"}
    assert rows(meter, CHAT) == {"m0", "m1", "m2", "m3"}
    assert rows(meter, BATCH) == {"m0", "m1", "m2", "other"}


def test_a_server_that_asks_for_no_more_than_two_models_takes_no_share() -> None:
    """Nobody else asks for the rows beyond: all are those of the one that does."""
    meter = meter_of(models=6)
    meter.pass_by(SECOND, [], [serves(CHAT, "a", "b"), serves(GREEDY, *names_of(20))], users=USERS)

    assert len(rows(meter, GREEDY)) == 2 + 6 + 1


def test_a_model_that_is_called_other_takes_no_row() -> None:
    """Nor one of the first two: it is where the rest is counted."""
    meter = meter_of(models=1)
    meter.pass_by(SECOND, [], [serves(CHAT, "other", "a", "b", "c", "d")], users=USERS)

    assert rows(meter, CHAT) == {"other", "a", "b", "c"}


def test_what_does_not_fit_counts_as_other_of_its_own_server() -> None:
    """Nothing is dropped, and what one serves is not added to what another does."""
    meter = meter_of(models=1)
    for count in (0.0, 10.0):
        pages = [serves(GREEDY, *names_of(5), count=count), serves(CHAT, *names_of(4), count=count)]
        meter.pass_by(SECOND, [], pages, users=USERS)

    assert meter.tokens["greedy", "other", "generation"] == 20  # m3 and m4
    assert meter.tokens["chat", "other", "generation"] == 20  # m2 and m3


def test_servers_beyond_the_limit_count_as_other_of_their_user_or_namespace() -> None:
    """The stranger has half of 4 rows, the namespace the other half; each has its own `other`."""
    meter = meter_of(servers=4)
    loose = [ServerKey("", f"s{number}") for number in range(9)]
    pods = [ServerKey("ml", f"p{number}") for number in range(3)]
    holders = [holder for key in (*loose, *pods) for holder in allocate(key, 0)]
    users = dict.fromkeys(loose, 65534)
    for _ in range(2):
        meter.pass_by(SECOND, [h100()], [], holders, users=users)

    assert set(meter.state.servers) == {
        *(ServerKey("", name) for name in ("s0", "s1", "other:user-65534")),
        *(ServerKey("ml", name) for name in ("p0", "p1", "other")),
    }
    dollars = {
        key.name: meter.dollars(server=key.server, namespace=key.namespace) for key in meter.state.servers
    }
    assert sum(dollars.values()) == 10**12  # 3600 dollars an hour for one second


def test_rows_of_other_are_bounded() -> None:
    """30 namespaces beyond one row: nine have an `other` of their own, and the rest share one."""
    meter = meter_of(servers=1)
    pods = [ServerKey(f"n{number}", "p") for number in range(31)]
    meter.pass_by(SECOND, [h100()], [], [holder for key in pods for holder in allocate(key, 0)])

    assert len(meter.state.servers) == 1 + 9 + 1
    assert ServerKey("", "other") in meter.state.servers


def test_a_row_is_kept_for_a_day_after_its_server_left() -> None:
    """A host of one row: another server gets it a day after the first was last here, not an hour earlier."""
    meter = meter_of(servers=1)
    meter.pass_by(SECOND, [], [serves(CHAT, "a")], users=USERS)
    for hours, known in ((1, {CHAT, ServerKey("", "other:user-65534")}), (23, {CHAT}), (1, set())):
        pages = [serves(GREEDY, "b")] if hours == 1 and known else []
        meter.pass_by(hours * HOUR, [], pages, users=USERS)
        assert known <= set(meter.state.servers)
    meter.pass_by(SECOND, [], [serves(GREEDY, "b")], users=USERS)

    assert GREEDY in meter.state.servers
    assert CHAT not in meter.state.servers


def test_a_server_is_kept_while_processes_cannot_be_listed() -> None:
    """A frame that lacks servers says of none that it left."""
    meter = meter_of()
    meter.pass_by(SECOND, [], [serves(CHAT, "a")], users=USERS)
    for _ in range(3):
        meter.pass_by(24 * HOUR, [], [], incomplete=True)

    assert CHAT in meter.state.servers


@pytest.mark.parametrize("record", ["principal", "absent_since"])
def test_a_ledger_remembers_who_runs_a_server_and_since_when_it_is_absent(record: str) -> None:
    """Both bound the rows of others after a restart."""
    meter = meter_of()
    meter.pass_by(SECOND, [], [serves(CHAT, "a")], users=USERS)
    meter.pass_by(SECOND, [], [], users=USERS)
    read, _ = marks.state_of((*scope, text) for scope, text in marks.texts(meter.state).items())

    assert (
        getattr(read.servers[CHAT], record)
        == {
            "principal": "user 1000",
            "absent_since": meter.wall,
        }[record]
    )


@examples(300)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 5)), max_size=40),
    st.integers(1, 12),
)
def test_no_interleaving_takes_more_than_half(asks: list[tuple[str, int]], limit: int) -> None:
    """Rows are at most the limit; who has half when another asks gets no further one."""
    taken: Counter[str] = Counter()
    for principal, number in asks:
        quota = RowQuota(limit, taken, {"a", principal})
        before = taken[principal]
        granted = sum(quota.take(principal) for _ in range(number))
        taken[principal] += granted
        others = {name for name, rows in taken.items() if rows and name != principal} | {"a"} - {principal}
        if others and granted:
            assert before + granted <= max(1, limit // 2)
        assert sum(taken.values()) <= limit


@examples(100)
@given(
    st.lists(st.lists(st.sampled_from(names_of(9)), max_size=9), min_size=1, max_size=5), st.integers(1, 4)
)
def test_the_first_two_models_of_a_server_are_its_own_whatever_others_name(
    named: list[set[str]], limit: int
) -> None:
    """The rows and tokens of a server of two models are those that it has where nobody else is."""
    alone, crowded = meter_of(models=limit), meter_of(models=limit)
    for count, greedy in enumerate(named):
        mine = serves(CHAT, "llama-8b", "llama-70b", count=float(count))
        alone.pass_by(SECOND, [], [mine], users=USERS)
        crowded.pass_by(SECOND, [], [serves(GREEDY, *sorted(greedy)), mine], users=USERS)

    assert crowded.state.servers[CHAT] == alone.state.servers[CHAT]
    assert {key: count for key, count in crowded.tokens.items() if key[0] == "chat"} == alone.tokens

"""Who pays as a server's own labels say, and who holds a GPU while nobody can tell."""

from dataclasses import replace

from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy, OwnershipRule
from exporter.cost.state import State
from exporter.readings import Frame, Holder, PodOwnership, ServerKey
from exporter.tariff.tariff import Tariff
from tests.cost.readings import BATCH, CHAT, START, allocate, cost_policy, h100, page, rent
from tests.kit.units import SECOND

SEARCH = PodOwnership(CHAT, "search", "retrieval")


def frame(number: int, **fields: object) -> Frame:
    """The tick of that number, ten seconds after the one before."""
    since = 10 * SECOND * number
    return replace(Frame(5_000 * SECOND + since, START + since, (h100(),), (page(),)), **fields)  # type: ignore[arg-type]


def paid_by_owner(
    state: State, reported: Frame, by: CostPolicy
) -> tuple[State, dict[tuple[str, str, str], int]]:
    """The state after a tick, and what each product, team and server paid in it."""
    outcome = advance(state, reported, by)
    paid: dict[tuple[str, str, str], int] = {}
    for segment in outcome.postings.segments:
        for money in segment.money:
            who = money.owner_phase.owner
            paid[who.product, who.team, who.server] = (
                paid.get((who.product, who.team, who.server), 0) + money.amount
            )
    return outcome.state, paid


def test_labels_say_who_pays_where_no_rule_does() -> None:
    """A rule goes before labels; what labels do not say is unassigned."""
    reported = {CHAT: SEARCH, BATCH: PodOwnership(BATCH, team="lab")}
    rules = (OwnershipRule("batch", "night", server="batch"),)
    by = CostPolicy(Tariff(), ownership=rules, owners=reported)

    assert by.product_and_team(CHAT) == ("search", "retrieval")
    assert by.product_and_team(BATCH) == ("batch", "night")
    assert CostPolicy(Tariff(), owners=reported).product_and_team(BATCH) == ("unassigned", "lab")
    assert by.product_and_team(ServerKey("", "other")) == ("unassigned", "unassigned")


def test_an_owner_is_remembered_while_its_server_is_here() -> None:
    """Labels that cannot be read are as they last were, also after a restart; a change holds from then on."""
    by = cost_policy(rent(3600))
    state, _ = paid_by_owner(State(), frame(0, holders=allocate(CHAT, 0), owners=(SEARCH,)), by)
    state, first = paid_by_owner(state, frame(1, holders=allocate(CHAT, 0)), by)
    moved = (PodOwnership(CHAT, "chat", "assistants"),)
    state, second = paid_by_owner(state, frame(2, holders=allocate(CHAT, 0), owners=moved), by)

    assert first == {("search", "retrieval", "chat"): 10 * 10**12}
    assert second == {("chat", "assistants", "chat"): 10 * 10**12}
    assert dict(state.owners) == {CHAT: moved[0]}


def test_an_owner_is_forgotten_with_its_server() -> None:
    """A server that holds nothing, is read nowhere and reported by no source leaves nothing behind."""
    by = cost_policy(rent(3600))
    state, _ = paid_by_owner(State(), frame(0, holders=allocate(CHAT, 0), owners=(SEARCH,)), by)
    state, _ = paid_by_owner(state, frame(1, holders=allocate(BATCH, 0), servers=()), by)

    assert dict(state.owners) == {}


def test_the_last_holders_hold_on_while_nobody_can_tell() -> None:
    """A GPU of which nothing is known is paid by whoever held it last; known to be free, by nobody."""
    by = cost_policy(rent(3600))
    state, _ = paid_by_owner(State(), frame(0, holders=allocate(CHAT, 0)), by)
    state, unknown_gpus = paid_by_owner(state, frame(1, unknown_gpus=frozenset({"GPU-0"})), by)
    _, free = paid_by_owner(state, frame(2), by)

    assert list(unknown_gpus) == [("unassigned", "unassigned", "chat")]
    assert list(free) == [("unassigned", "unassigned", "unallocated")]


def test_a_gpu_without_any_reported_holder_is_unallocated() -> None:
    """There is no last holder to hold on."""
    by = cost_policy(rent(3600))
    state, _ = paid_by_owner(State(), frame(0, unknown_gpus=frozenset({"GPU-0"})), by)
    _, paid = paid_by_owner(state, frame(1, unknown_gpus=frozenset({"GPU-0"})), by)

    assert list(paid) == [("unassigned", "unassigned", "unallocated")]


def test_a_configured_holder_joins_the_last_known_ones() -> None:
    """Reported holders of a GPU count, whatever else is unknown; one holder is there once."""
    by = cost_policy(rent(3600))
    state, _ = paid_by_owner(State(), frame(0, holders=(Holder(CHAT, "GPU-0"),)), by)
    reported = (Holder(CHAT, "GPU-0"), Holder(BATCH, "GPU-0"))
    state, paid = paid_by_owner(state, frame(1, unknown_gpus=frozenset({"GPU-0"}), holders=reported), by)
    state, _ = paid_by_owner(state, frame(2, unknown_gpus=frozenset({"GPU-0"}), holders=reported), by)

    assert state.gpus["GPU-0"].holders == reported
    assert paid == {
        ("unassigned", "unassigned", "chat"): 5 * 10**12,
        ("unassigned", "unassigned", "batch"): 5 * 10**12,
    }


def test_a_gap_is_paid_under_the_new_name_of_a_server() -> None:
    """Its process answers at the same address under another name."""
    by = cost_policy(rent(3600))
    state, _ = paid_by_owner(State(), frame(0, holders=allocate(CHAT, 0)), by)
    renamed = replace(page(), key=BATCH)
    _, paid = paid_by_owner(state, frame(360, servers=(renamed,), holders=allocate(BATCH, 0)), by)

    assert paid == {("unassigned", "unassigned", "batch"): 3600 * 10**12}


def test_a_gap_is_paid_under_the_old_name_of_a_server_that_is_two_now() -> None:
    """Both replicas go on, each under a name of its own: nothing shows which of them held the GPU."""
    by = cost_policy(rent(3600))
    replicas = tuple(replace(page(url=f"http://{name}"), identity=name) for name in ("a", "b"))
    state, _ = paid_by_owner(State(), frame(0, servers=replicas, holders=allocate(CHAT, 0)), by)
    apart = tuple(replace(replica, key=ServerKey("", replica.identity)) for replica in replicas)
    _, paid = paid_by_owner(state, frame(360, servers=apart, holders=allocate(ServerKey("", "a"), 0)), by)

    assert paid == {("unassigned", "unassigned", "chat"): 3600 * 10**12}

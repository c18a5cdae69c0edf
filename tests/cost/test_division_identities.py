"""Whatever a gateway says: the whole is what it would be without, and the parts what a reckoning gives."""

from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.policy import OwnershipRule
from exporter.readings import KINDS, Division, GatewayCounter, TokenKind, tenant_name
from tests.cost.checked_meter import CheckedMeter
from tests.cost.gateway_readings import BY_ADAPTER, BY_TEAM, SILENT, Divided, gateway_reading, served
from tests.cost.readings import cost_policy, rent
from tests.depth import examples
from tests.kit.units import DOLLAR

NAMES = ("sql-a", "sql-b", "sql-c")
"""Teams, or adapters."""


@dataclass(frozen=True)
class Happening:
    """One tick: what the server and the gateway counted in it, and whether each could be read."""

    seconds: int
    own: tuple[int, int]
    named: dict[str, tuple[int, int]]
    server: bool
    gateway: bool
    restarts: bool


counts = st.tuples(st.sampled_from([0, 0, 1, 7, 1000]), st.sampled_from([0, 1, 300]))
happenings = st.builds(
    Happening,
    st.integers(1, 59),
    counts,
    st.dictionaries(st.sampled_from(NAMES), counts),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([False, False, False, False, True]),
)
stories = st.lists(happenings, min_size=1, max_size=12)


def lived(story: list[Happening], division: Division | None, *, restarts: bool = True) -> Divided:
    """A server at a dollar a second that lives through a story, its gateway beside it."""
    host = Divided(CheckedMeter(cost_policy(rent(3600), ownership=(OwnershipRule("search", "platform"),))))
    own = [0.0, 0.0]
    counts: dict[str, tuple[float, float]] = {}
    process = 0
    host.tick(served(division, prompt=0, generation=0), gateway_reading(identity="gateway-0"))
    for one in story:
        if restarts and one.restarts:
            counts, process = {}, process + 1
        own = [own[0] + one.own[0], own[1] + one.own[1]]
        for name, (prompt, generation) in one.named.items():
            before = counts.get(name, (0.0, 0.0))
            counts[name] = before[0] + prompt, before[1] + generation
        by_team = division is None or division.by == "team"
        teams, adapters = (counts, None) if by_team else (None, counts)
        started = host.meter.wall if process else None
        page = gateway_reading(teams, adapters, identity=f"gateway-{process}", started=started)
        server = served(division, prompt=own[0], generation=own[1])
        gateway = page if one.gateway else SILENT
        host.tick(server if one.server else None, gateway, seconds=one.seconds)
    return host


tenants = st.sampled_from(
    [tenant_name("sql", "web"), tenant_name("sql"), tenant_name("sql", "search"), "other", ""]
)
series = st.dictionaries(
    st.tuples(tenants, st.sampled_from(["a", "b"]), st.sampled_from(KINDS)),
    st.integers(0, 3000),
    max_size=8,
)
"""What each series of a page counted in one tick, by tenant, key and kind. Others are not on the page."""


divisions = st.sampled_from([BY_TEAM, replace(BY_TEAM, cached=True)])


@examples(150)
@given(st.lists(st.tuples(counts, series, st.booleans(), st.booleans()), min_size=1, max_size=10), divisions)
def test_the_parts_of_tenants_sum_to_the_server(
    story: list[tuple[tuple[int, int], dict[tuple[str, str, TokenKind], int], bool, bool]], division: Division
) -> None:
    """Series come late, expire and return, the gateway restarts or is silent: money and tokens stay whole."""
    owners = (OwnershipRule("search", "platform"),)
    divided, plain = (
        Divided(CheckedMeter(cost_policy(rent(3600), ownership=owners))) for _ in (division, None)
    )
    divided.tick(served(division, prompt=0, cached_prompt=0, generation=0), gateway_reading())
    plain.tick(served(None, prompt=0, cached_prompt=0, generation=0))
    own = [0, 0]
    totals: Counter[tuple[str, str, TokenKind]] = Counter()
    process = 0
    for (prompt, generation), counted, silent, restarts in story:
        own = [own[0] + prompt, own[1] + generation]
        if restarts:
            totals, process = Counter(), process + 1
        totals.update(counted)
        page = [
            GatewayCounter("/".join(name), "llama", "id-01", name[0], name[2], float(totals[name]))
            for name in counted
        ]
        gateway = replace(
            gateway_reading(identity=f"gateway-{process}", started=divided.meter.wall), counters=tuple(page)
        )
        of = {"prompt": own[0], "cached_prompt": own[0] // 2, "generation": own[1]}
        divided.tick(served(division, **of), SILENT if silent else gateway)
        plain.tick(served(None, **of))

    assert divided.dollars() == plain.dollars()
    assert {team for team, _, _ in divided.tokens} <= {"sql", "other", "platform"}
    for kind in KINDS:
        sums = [sum(n for key, n in host.tokens.items() if key[2] == kind) for host in (divided, plain)]
        assert sums[0] == sums[1]
    assert all(count >= 0 for count in divided.tokens.values())


@examples(150)
@given(stories, st.sampled_from([BY_TEAM, BY_ADAPTER]))
def test_nothing_is_lost_and_nothing_is_counted_twice(story: list[Happening], division: Division) -> None:
    """Money by phase to the picodollars that rounding holds, and tokens exactly, are the server's own."""
    divided, plain = lived(story, division), lived(story, None)
    assert divided.dollars() == plain.dollars()
    for phase in ("prefill", "decode", "other", "idle", "unobserved"):
        # what rounding owes is owed to each slot: a unit for each at most
        assert abs(divided.dollars(phase=phase) - plain.dollars(phase=phase)) <= 2 * (len(NAMES) + 1)
    for kind in ("prompt", "generation"):
        sums = [sum(n for key, n in host.tokens.items() if key[2] == kind) for host in (divided, plain)]
        assert sums[0] == sums[1]
    assert all(count >= 0 for count in divided.tokens.values())


@examples(150)
@given(stories)
def test_a_reckoning_from_the_whole_past_gives_the_same(story: list[Happening]) -> None:
    """Each tick's shares from a list of all that both counted, each halved for every 15 minutes since."""
    host = lived(story, BY_TEAM, restarts=False)
    due = dict.fromkeys(NAMES, 0.0)
    past: list[tuple[int, str, float]] = []
    waiting: list[tuple[str, float]] = []
    now = 0
    for one in story:
        now += one.seconds
        waiting.append(("", one.own[0] + 3.0 * one.own[1]))
        waiting += [(name, prompt + 3.0 * generation) for name, (prompt, generation) in one.named.items()]
        if one.server and one.gateway:
            past += [(now, name, weight) for name, weight in waiting if weight]
            waiting = []
        last = past[-1][0] if past else now
        sums = dict.fromkeys(("", *NAMES), 0.0)
        for then, name, weight in past:
            sums[name] += weight * 0.5 ** ((last - then) / 900)
        named = sum(weight for name, weight in sums.items() if name)
        whole = max(sums[""], named)
        for name in NAMES:
            due[name] += one.seconds * sums[name] / whole if whole else 0.0
    for name in NAMES:
        assert abs(host.dollars(team=name) / DOLLAR - due[name]) <= 1e-6 * (1 + now)

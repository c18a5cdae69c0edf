"""A host is charged for the slots that it has: which one a GPU takes, which stay, which are released.

A p5.48xlarge costs 55.04 dollars an hour, 6.88 for each of 8 GPUs. A host bought for 280,000 dollars and
written off over 4 x 8766 hours costs 7.985398 an hour.
"""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.cost.intervals import IntervalKind
from exporter.cost.inventory import Replacement
from exporter.cost.state import GPUS_MAX, GpuState, State
from exporter.readings import Gpu, GpuEvidence, GpuReading, Holder, MigInstance
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Listed
from tests.cost.changing_gpus import (
    BOUGHT,
    FOUR,
    H100,
    HOST,
    L4,
    P5,
    PER_GPU,
    Board,
    ChangingGpusHost,
    boards,
    near,
    of_models,
    whole,
)
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import CHAT, moment, owned, rent
from tests.kit.units import DOLLAR, HOUR, MINUTE, SECOND


@pytest.mark.parametrize("bus", [True, False], ids=["same-addresses", "no-addresses"])
@pytest.mark.parametrize("hardware", [rent("55.04", 8), PER_GPU], ids=["per-host", "per-gpu"])
def test_three_stops_and_starts_with_other_uuids(hardware: Hardware, *, bus: bool) -> None:
    """It was 110.08, 165.12 and 220.16; it is 55.04 each time, and the server holds eight."""
    host = ChangingGpusHost(whole(hardware), *boards("a", bus=bus))
    for generation in "bcd":
        host.restart(3600, *boards(generation, bus=bus))

        assert host.uuids() == [f"{generation}{n}" for n in range(8)]
        assert host.hourly() == 55.04
        assert host.hourly(server="chat") == 55.04
        assert host.lost() == []
    assert host.meter.state.replaced == 24
    outcome = host.tick()
    assert len(outcome.gpus) == 8
    assert all(len(gpu.held_shares) == 1 for gpu in outcome.gpus)
    assert (outcome.inventory.expected, outcome.inventory.visible) == (8, 8)


def test_a_gap_goes_to_the_gpus_before_it() -> None:
    """Stopped for an hour: 2 intervals of 10 s after the last tick and the minute since boot, 80 s x 55.04.

    They are the old UUIDs', unobserved, and what they had stays in the ledger.
    """
    host = ChangingGpusHost(whole(), *boards("a"))
    host.tick()
    assert host.meter.dollars(uuid="a3") == 6_880_000_000_000

    outcome = host.restart(3600, *boards("b"))
    assert outcome.charged is not None
    assert outcome.charged.kind is IntervalKind.GAP
    assert near(host.meter.dollars(phase="unobserved"), HOST * 80 // 3600)
    assert near(host.meter.dollars(uuid="a3"), 6_880_000_000_000 + HOST // 8 * 80 // 3600)
    assert host.meter.dollars(uuid="b3") == 0
    assert host.meter.seconds(uuid="a3") == 3600 + 3660
    host.tick()
    assert host.meter.dollars(uuid="b3") == 6_880_000_000_000


def test_a_swapped_board_takes_the_slot_at_its_address() -> None:
    """Amortization was 11.978 after four of them; the purchase is written off once."""
    host = ChangingGpusHost(whole(BOUGHT), *boards("a"))
    assert host.hourly() == 7.985398
    for number in range(4):
        swapped = [*boards("b")[: number + 1], *boards("a")[number + 1 :]]
        outcome = host.tick(10, swapped)
        old, new = Gpu(f"a{number}", H100), Gpu(f"b{number}", H100)
        assert outcome.inventory.replaced == (Replacement(old, new, swapped[number].bus),)
        assert host.hourly() == 7.985398
        assert host.hourly(component="amortization", uuid=f"b{number}") == pytest.approx(0.998175, abs=1e-6)
    assert host.lost() == []
    assert host.meter.state.gpus["b2"].predecessor == "a2"
    assert host.meter.state.replaced == 4


def test_two_boards_that_are_swapped_at_once_are_distinguished_by_their_addresses() -> None:
    """a1 and a6 are replaced, and NVML lists the new ones in another order, also after a boot."""
    first, new = boards("a"), boards("b")
    listed = [new[6], first[0], *first[2:6], first[7], new[1]]
    for boot in (False, True):
        host = ChangingGpusHost(whole(BOUGHT), *first)
        outcome = host.restart(300, *listed) if boot else host.tick(10, listed)
        pairs = {(each.old.uuid, each.new.uuid) for each in outcome.inventory.replaced}
        assert pairs == {("a1", "b1"), ("a6", "b6")}


def test_the_purchase_is_written_off_once_whatever_boards_sit_in_it() -> None:
    """A board for 26,298 dollars over a year, 3 an hour: 6 boards in a row come to 26,298 dollars."""
    host = ChangingGpusHost(
        whole(owned(purchase_dollars=Decimal(26_298), gpus=1, life_years=Decimal(1))), Board("a", "1")
    )
    host.meter.wall = moment("2026-01-01T00:00:00+00:00")
    for number in range(6):
        host.tick(1461 * 3600, [Board(f"b{number}", "1")])
    host.tick(3600)

    assert host.meter.dollars() == 26_298 * DOLLAR


def test_one_that_only_fell_off_stays_charged_and_comes_back() -> None:
    """Idle, to its last holder, until it is read again; nothing else takes its slot."""
    host = ChangingGpusHost(whole(), *boards("a"))
    host.tick(10, boards("a")[:7])
    assert host.lost() == ["a7"]
    assert host.hourly() == 55.04
    assert host.hourly(uuid="a7", phase="idle", server="chat") == 6.88
    outcome = host.tick()
    assert (outcome.inventory.expected, outcome.inventory.visible) == (8, 7)
    host.tick(10, boards("a"))
    assert (host.lost(), host.hourly()) == ([], 55.04)
    assert host.meter.state.replaced == 0


@pytest.mark.parametrize("listed", [boards("a")[:7], [*boards("a")[:7], replace(boards("a")[7], up=False)]])
def test_one_that_is_dead_after_a_reboot_stays_charged(listed: list[Board]) -> None:
    """Whether NVML counts it or not: the host is rented with eight, however often it boots."""
    host = ChangingGpusHost(whole(), *boards("a"))
    for _ in range(3):
        host.restart(300, *listed)
        assert host.lost() == ["a7"]
        assert host.hourly() == 55.04


BY_MODEL = (of_models("*H100*", "2.5", 1), of_models("*L4*", "1", 1))


@pytest.mark.parametrize(
    ("before", "after", "hourly"),
    [
        (boards("a"), boards("b", 2, model=L4), 2),
        (boards("a"), boards("b", 4, model=L4), 4),
        (boards("a"), boards("b", model=L4), 8),
        (boards("a"), boards("b", 1), 2.5),
        (boards("a"), boards("a", 7), 20),
        ([*boards("h", 1), Board("l0", "9", L4)], [Board("l0", "9", L4)], 3.5),
        (boards("a", 1), boards("b", 1), 2.5),
        (boards("a"), boards("b"), 20),
    ],
    ids=[
        "8-to-2-l4",
        "8-to-4-l4",
        "8-to-8-l4",
        "8-to-1",
        "a-board",
        "one-of-two-models",
        "rma",
        "vm-restart",
    ],
)
@pytest.mark.parametrize("pending", [False, True], ids=["place-known", "place-pending"])
def test_a_boot_with_none_of_the_earlier_gpus_is_another_host(
    before: list[Board], after: list[Board], hourly: float, *, pending: bool
) -> None:
    """It has the GPUs that are listed, at once. Beside an earlier UUID a missing one is a broken board.

    While the location is asked for, which may state the number, nothing is released; then it is.
    """
    priced = whole(*BY_MODEL)
    host = ChangingGpusHost(priced, *before)
    if pending:
        asking = replace(priced.tariff, location_pending=True)
        host.meter.policy = replace(host.meter.policy, tariff=asking)
        host.restart(600, *after)
        assert len(host.uuids()) == len(before)
        host.meter.policy = replace(host.meter.policy, tariff=priced.tariff)
        host.tick(10)
    else:
        host.restart(600, *after)
    assert host.hourly() == hourly
    assert host.meter.state.gpu_count == host.tick().inventory.expected


def test_a_stated_number_holds_on_another_host() -> None:
    """Eight by the rule, and one GPU that nobody knew after the boot: eight are paid for.

    A rule for the model that is no more states nothing: two L4 of a host of two cost what it does.
    """
    host = ChangingGpusHost(whole(), *boards("a"))
    host.restart(600, *boards("b", 1))
    assert (host.hourly(), len(host.uuids())) == (55.04, 8)
    by_model = whole(of_models("*H100*", "55.04", 8), of_models("*L4*", "2", 2))
    host = ChangingGpusHost(by_model, *boards("a"))
    host.restart(600, *boards("b", 2, model=L4))
    assert (host.hourly(), host.uuids(), host.unseen()) == (2, ["b0", "b1"], 0)
    by_model = whole(of_models("*H100*", "55.04", 8), of_models("*L4*", "1", 1))
    host = ChangingGpusHost(by_model, *boards("a"))
    host.restart(600, *boards("b", 2, model=L4))
    assert (host.hourly(), host.uuids(), host.unseen()) == (2, ["b0", "b1"], 0)


def test_a_boot_that_lists_none_releases_nothing() -> None:
    """Three boots without a GPU: eight are lost and paid for, and come back."""
    host = ChangingGpusHost(whole(PER_GPU), *boards("a"))
    for _ in range(3):
        host.restart(300)
        assert (host.hourly(), len(host.lost())) == (55.04, 8)
    host.restart(300, *boards("a"))
    assert (host.hourly(), host.lost()) == (55.04, [])
    for _ in range(3):
        host.restart(300)
    host.restart(300, *boards("b", 2))
    assert (host.hourly(), host.uuids()) == (13.76, ["b0", "b1"])


def test_a_gpu_that_is_known_to_be_gone_is_released() -> None:
    """In the same boot, where nothing states the number; where eight are stated, eight are paid for."""
    for priced, hourly in ((whole(PER_GPU), 48.16), (whole(), 55.04)):
        host = ChangingGpusHost(priced, *boards("a"))
        host.meter.evidence = GpuEvidence(gone=frozenset({"a7"}))
        host.tick(10, boards("a")[:7])
        assert host.hourly() == hourly


def test_without_a_count_a_slot_is_kept_for_the_boot_after_the_last_that_listed_it() -> None:
    """GPUs at 6.88 each: nothing says how many the host has but what it had in the last boot."""
    host = ChangingGpusHost(whole(PER_GPU), *boards("a"))
    host.tick(10, boards("a")[:7])
    assert host.hourly() == 55.04
    host.restart(300, *boards("a")[:7])
    assert host.hourly() == 55.04
    host.restart(300, *boards("a")[:7])
    assert host.hourly() == 48.16
    assert (host.lost(), host.unseen()) == ([], 0)


def test_an_unknown_boot_is_no_new_one() -> None:
    """Where nothing names the boot, no slot is let go of for it, and a ninth UUID takes the lost one's."""
    host = ChangingGpusHost(whole(PER_GPU), *boards("a"), boot="")
    for _ in range(3):
        host.tick(10, boards("a")[:7])
    assert host.hourly() == 55.04
    host.tick(10, [*boards("a")[:7], Board("b9", "00000000:F0:00.0")])
    assert (host.uuids()[-1], host.hourly()) == ("b9", 55.04)


def test_a_vm_that_was_made_smaller_releases_slots() -> None:
    """p5.48xlarge to g6.12xlarge, by the catalogue 8 and 4 GPUs: 4 remain, at the new price."""
    listed = Hardware(HardwareMatch(), Listed(), "hardware[0]")
    host = ChangingGpusHost(whole(listed, location=P5), *boards("a"))
    assert host.hourly() == 55.04
    host.meter.policy = replace(host.meter.policy, tariff=replace(host.meter.policy.tariff, location=FOUR))
    outcome = host.restart(3600, *boards("b", 4, model=L4))

    assert sorted(outcome.inventory.released) == ["a4", "a5", "a6", "a7"]
    assert host.uuids() == ["b0", "b1", "b2", "b3"]
    assert host.hourly() == 4.6016
    assert (host.lost(), host.unseen()) == ([], 0)


def test_after_the_boot_of_a_smaller_vm_no_more_than_its_gpus_are_charged() -> None:
    """From 8 to 4 at 6.88 each, stopped for an hour: 20 s of eight, then a minute of four."""
    priced = whole(of_models("*", "55.04", 8))
    host = ChangingGpusHost(priced, *boards("a"))
    host.meter.policy = replace(
        host.meter.policy, tariff=replace(priced.tariff, hardware=(rent("27.52", 4),))
    )
    host.restart(3600, *boards("a")[:4])

    assert near(host.meter.dollars(), HOST * 20 // 3600 + HOST // 2 * 60 // 3600)


def test_a_vm_that_was_made_larger() -> None:
    """4 at 27.52 to 8 at 55.04: the four new ones are paid for from the first tick on."""
    host = ChangingGpusHost(whole(rent("27.52", 4)), *boards("a", 4))
    host.meter.policy = replace(host.meter.policy, tariff=Tariff("host-1", (rent("55.04", 8),)))
    host.restart(3600, *boards("b"))
    assert (len(host.uuids()), host.hourly()) == (8, 55.04)
    assert host.meter.state.replaced == 4


def test_a_board_that_was_moved_keeps_its_slot() -> None:
    """Two boards changed places, and a third went to an empty one: nothing is replaced, also after a boot."""
    first = boards("a")
    moved = [replace(first[0], bus=first[1].bus), replace(first[1], bus=first[0].bus)]
    moved += [replace(first[2], bus="00000000:F1:00.0"), *first[3:]]
    host = ChangingGpusHost(whole(), *first)
    host.tick(10, moved)
    host.restart(300, *moved)
    assert (host.meter.state.replaced, host.hourly(), host.lost()) == (0, 55.04, [])
    assert host.meter.state.gpus["a2"].pci_bus_id == "00000000:F1:00.0"


def test_a_board_moved_into_the_place_of_the_one_that_left() -> None:
    """a1 sits where a0 was, which is gone; the new board at a1's place is not a1, and takes a0's slot.

    By the count: the host has eight, and without that there were nine.
    """
    first = boards("a")
    host = ChangingGpusHost(whole(), *first)
    now = [Board("b0", first[1].bus), replace(first[1], bus=first[0].bus), *first[2:]]
    outcome = host.tick(10, now)
    assert [(each.old.uuid, each.new.uuid) for each in outcome.inventory.replaced] == [("a0", "b0")]
    assert host.hourly() == 55.04


@pytest.mark.parametrize("address", ["", "00000000:01:00.0"], ids=["none", "shared"])
def test_two_boards_without_an_address_of_their_own(address: str) -> None:
    """Neither is the other by it; both take slots by the count, as after a boot by model."""
    pair = [Board("a0", address), Board("a1", address)]
    host = ChangingGpusHost(whole(rent("13.76", 2)), *pair)
    host.tick(10, [Board("b0", address), pair[1]])
    assert (host.uuids(), host.hourly()) == (["a1", "b0"], 13.76)
    host.restart(300, Board("c0", address), Board("c1", address))
    assert (host.uuids(), host.hourly()) == (["c0", "c1"], 13.76)


def test_after_a_boot_slots_are_taken_by_model_first() -> None:
    """Of an H100 and an L4 without addresses each takes the slot of its own model, whatever the order."""
    host = ChangingGpusHost(whole(rent("6.88")), Board("a0", model=H100), Board("a1", model=L4))
    outcome = host.restart(300, Board("b0", model=L4), Board("b1", model=H100))
    pairs = {(each.old.uuid, each.new.uuid) for each in outcome.inventory.replaced}
    assert pairs == {("a0", "b1"), ("a1", "b0")}


def test_a_hot_plugged_gpu_is_one_more() -> None:
    """In the same boot, with nothing missing: eight become nine, though the host is said to have eight."""
    host = ChangingGpusHost(whole(PER_GPU), *boards("a"))
    outcome = host.tick(10, [*boards("a"), Board("b0", "00000000:F0:00.0")])
    assert outcome.inventory.replaced == ()
    assert host.hourly() == 61.92
    host = ChangingGpusHost(whole(), *boards("a"))
    host.tick(10, [*boards("a"), Board("b0", "00000000:F0:00.0")])
    assert host.hourly() == 61.92
    outcome = host.tick()
    assert (outcome.inventory.expected, outcome.inventory.visible) == (8, 9)


def test_cards_in_mig_mode_are_slots_like_others() -> None:
    """A board cut into instances is replaced by one that is not cut yet: its instances hold nothing there."""
    instance = MigInstance("MIG-1", 1, gpu_slices=3, memory_bytes=40 * 2**30)
    meter = CheckedMeter(replace(whole(rent("2")), gap_after=24 * HOUR))
    gib = 80 * 2**30

    def card(uuid: str, *instances: MigInstance) -> GpuReading:
        return GpuReading(Gpu(uuid, H100), 0, True, "1", memory_total_bytes=gib, instances=instances)

    allocated = [Holder(CHAT, "a", instance="MIG-1")]
    meter.pass_by(SECOND, [card("a", instance)], holders=allocated, boot="boot-1")
    meter.pass_by(HOUR, [card("a", instance)], holders=allocated, boot="boot-1")
    assert meter.dollars(server="chat") == DOLLAR
    meter.pass_by(HOUR, [card("b")], boot="boot-1")
    assert meter.dollars(uuid="b", server="unallocated") == 2 * DOLLAR
    assert meter.dollars() == 4 * DOLLAR
    assert meter.state.gpus["b"].slices == {}
    meter.pass_by(HOUR, [card("b", instance)], holders=[Holder(CHAT, "b", instance="MIG-1")], boot="boot-1")
    assert meter.dollars(uuid="b", server="chat") == DOLLAR


def test_while_nvml_is_silent_nothing_changes() -> None:
    """Slots, the unseen one and the price stay; what is owed is known, and what is visible is not."""
    host = ChangingGpusHost(whole(), *boards("a", 7))
    before = host.meter.dollars()
    outcome = host.silent()
    assert near(host.meter.dollars() - before, HOST)
    assert (outcome.inventory.expected, outcome.inventory.visible) == (8, None)
    assert (len(host.uuids()), host.unseen()) == (7, 1)


def test_silent_at_the_first_tick_of_a_boot() -> None:
    """The driver comes a minute later, with other UUIDs: they take the slots as if it had been at once."""
    host = ChangingGpusHost(whole(), *boards("a"))
    host.boot, host.meter.elapsed = "boot-2", 0
    host.silent(10)
    host.tick(60, boards("b", bus=False))
    assert (len(host.uuids()), host.meter.state.replaced, host.hourly()) == (8, 8, 55.04)


def test_a_rule_for_the_old_uuid_goes_on_pricing_the_slot() -> None:
    """The board a0 costs 3 by its UUID, others 2: its successors cost 3, until a rule names one of them."""
    named = rent("3", match=HardwareMatch(uuid="a0"))
    host = ChangingGpusHost(whole(named, rent("2")), Board("a0", "1"), Board("a1", "2"))
    for new in ("b0", "c0"):
        host.tick(10, [Board(new, "1"), Board("a1", "2")])
        assert host.hourly(uuid=new) == 3
        assert host.hourly() == 5
    tariff = host.meter.policy.tariff
    other = rent("4", match=HardwareMatch(uuid="c0"))
    host.meter.policy = replace(host.meter.policy, tariff=replace(tariff, hardware=(other, named, rent("2"))))
    assert host.hourly(uuid="c0") == 4


def test_a_rule_for_the_new_model_names_the_new_board() -> None:
    """An L4 in the slot of an H100 is priced by the rule for L4, where there is one; else as the H100 was."""
    by_model = [of_models("*H100*", "6.88", 1), rent("1")]
    host = ChangingGpusHost(whole(*by_model), Board("a0", "1"))
    host.tick(10, [Board("b0", "1", L4)])
    assert host.hourly() == 6.88
    tariff = host.meter.policy.tariff
    rules = (*by_model[:1], of_models("*L4*", "0.70", 1), *by_model[1:])
    host.meter.policy = replace(host.meter.policy, tariff=replace(tariff, hardware=rules))
    assert host.hourly() == 0.70


def test_time_without_a_price_is_charged_late_by_the_rule_of_the_slot() -> None:
    """The slot is unpriced while b0 sits in it; the rule that comes for a0 is the slot's."""
    host = ChangingGpusHost(whole(of_models("*A100*", "1", 1)), Board("a0", "1"))
    outcome = host.tick(3600, [Board("b0", "1")])
    named = replace(host.meter.policy.tariff, hardware=(rent("3", match=HardwareMatch(uuid="a0")),))
    host.meter.policy = replace(host.meter.policy, tariff=named)
    later = host.tick()
    waiting = outcome.postings.segments[0].unpriced[0]
    assert later.policy.tariff.hardware_price(waiting.gpu, waiting.start).priced
    assert host.hourly() == 3


def test_a_ledger_with_eight_stale_gpus_heals_at_the_first_full_read() -> None:
    """Of an earlier release: 16 UUIDs without addresses, eight of them of the VM before."""
    for again in (boards("b"), boards("c")):
        host = ChangingGpusHost(whole(PER_GPU), *boards("a", bus=False), *boards("b", bus=False))
        gpus = {
            uuid: replace(gpu, up=not uuid.startswith("a"), pci_bus_id="")
            for uuid, gpu in host.meter.state.gpus.items()
        }
        host.meter.state = replace(host.meter.state, gpus=gpus, listed_in="")
        host.meter.policy = replace(whole(), gap_after=24 * HOUR)
        if again[0].uuid == "b0":
            host.tick(10, again)
        else:
            before = host.meter.dollars()
            host.restart(3600, *again)
            assert near(host.meter.dollars() - before, HOST * 80 // 3600)
        assert (len(host.uuids()), host.lost(), host.hourly()) == (8, [], 55.04)


def test_energy_of_a_new_board_begins_with_its_own_counter() -> None:
    """B's counter stood at 900 kJ: nothing of that is the host's; after a boot what it counted since is."""
    priced = replace(whole(rent("2")), gap_after=MINUTE)
    meter = CheckedMeter(priced)

    def card(uuid: str, joules: int) -> GpuReading:
        return GpuReading(
            Gpu(uuid, H100), 0, True, "1", energy=joules * 1000, power_watts=300.0, power_limit_watts=700.0
        )

    meter.pass_by(SECOND, [card("a", 1000)], boot="boot-1")
    meter.pass_by(10 * SECOND, [card("a", 4000)], boot="boot-1")
    meter.pass_by(10 * SECOND, [card("b", 900_000)], boot="boot-1")
    meter.pass_by(10 * SECOND, [card("b", 903_000)], boot="boot-1")
    assert meter.energy == {"a": 3_000_000, "b": 6_000_000}
    meter.elapsed = -3600 * SECOND
    meter.pass_by(3660 * SECOND, [card("c", 18_000)], boot="boot-2")
    assert meter.energy["c"] == 18_000_000


def test_what_is_carried_below_a_picodollar_goes_on_in_the_slot() -> None:
    """Boards that change at every tick cost what one that stays does, to the picodollar."""
    price = rent("0.000000000007", 3)
    one, many = (
        ChangingGpusHost(whole(price), Board("a", "1")),
        ChangingGpusHost(whole(price), Board("a", "1")),
    )
    for number in range(50):
        one.tick(977.3)
        many.tick(977.3, [Board(f"b{number}", "1")])
    assert one.meter.dollars() == many.meter.dollars() > 0


def test_boards_that_left_their_slots_are_remembered_up_to_a_number() -> None:
    """The latest; one that is in a slot again is priced by that."""
    first = Gpu("GPU-first", "H100")
    former = {f"GPU-{number}": first for number in range(GPUS_MAX)}
    here = {"GPU-here": GpuState(Gpu("GPU-here", "H100"), 0, priced_as=first)}
    state = State(gpus=here, former=former)

    assert state.former_after({"GPU-here"}) == former
    assert list(state.former_after(set())) == [*list(former)[1:], "GPU-here"]
    assert list(state.former_after({"GPU-here", "GPU-0"})) == list(former)[1:]

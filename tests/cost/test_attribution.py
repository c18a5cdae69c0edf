"""Who holds which part of a GPU."""

from exporter.cost.attribution import UNALLOCATED_KEY, UNALLOCATED_SHARE, GpuShare, shares
from exporter.cost.money import WHOLE
from exporter.cost.postings import CostOwner
from exporter.readings import Holder, ServerKey
from tests.cost.readings import BATCH, CHAT, allocate

THIRD = ServerKey("ml", "third")


def parts(*holders: Holder) -> dict[str, tuple[float, str]]:
    """Parts of those whose busy and idle time is divided alike."""
    actual = shares(holders)
    assert all(share.busy_part == share.idle_part for share in actual)
    assert all(share.busy_method == share.idle_method for share in actual)
    return {share.key.server: (share.idle_part / WHOLE, share.idle_method) for share in actual}


def test_nobody_holds_what_no_server_holds() -> None:
    """It is unallocated, whole."""
    assert shares(()) == (GpuShare(UNALLOCATED_KEY, WHOLE, WHOLE, "none", "none"),) == (UNALLOCATED_SHARE,)
    assert ServerKey("", "unallocated") == UNALLOCATED_KEY


def test_a_party_knows_its_server() -> None:
    """Product, team and model are not part of the key."""
    assert CostOwner("search", "retrieval", "ml", "third", "llama").key == THIRD


def test_one_server_holds_all_of_it() -> None:
    """Also where its configured ratio says less: what is held is held whole."""
    assert parts(*allocate(CHAT, 0)) == {"chat": (1.0, "whole")}
    assert parts(*allocate(CHAT, 0, share=0.3)) == {"chat": (1.0, "whole")}


def test_two_servers_by_their_configured_ratios() -> None:
    """0.7 and 0.3 are what they say."""
    actual = parts(*allocate(CHAT, 0, share=0.7), *allocate(BATCH, 0, share=0.3))
    assert actual == {"chat": (0.7, "configured"), "batch": (0.3, "configured")}


def test_ratios_that_do_not_sum_to_one_are_divided_by_their_sum() -> None:
    """0.6 and 0.2 become 0.75 and 0.25; 1 and 1 become halves."""
    assert parts(*allocate(CHAT, 0, share=0.6), *allocate(BATCH, 0, share=0.2))["chat"] == (
        0.75,
        "configured",
    )
    assert parts(*allocate(CHAT, 0, share=1), *allocate(BATCH, 0, share=1))["batch"] == (
        0.5,
        "configured",
    )


def test_who_has_no_ratio_shares_what_is_left_equally() -> None:
    """0.5 configured leaves 0.25 each to two others."""
    actual = parts(*allocate(CHAT, 0, share=0.5), *allocate(BATCH, 0), *allocate(THIRD, 0))
    assert actual == {"chat": (0.5, "configured"), "batch": (0.25, "equal"), "third": (0.25, "equal")}


def test_nothing_left_is_nothing_to_share() -> None:
    """Configured ratios above one leave nobody a negative part."""
    actual = parts(*allocate(CHAT, 0, share=0.8), *allocate(BATCH, 0, share=0.8), *allocate(THIRD, 0))
    assert actual == {"chat": (0.5, "configured"), "batch": (0.5, "configured"), "third": (0.0, "equal")}


def test_servers_without_ratios_hold_equal_parts() -> None:
    """Thirds sum to the whole; the remainder goes by sorted key, not by who was named first."""
    reported = (*allocate(CHAT, 0), *allocate(BATCH, 0), *allocate(THIRD, 0))
    actual = {share.key.server: share.idle_part for share in shares(reported)}
    assert actual == {"batch": 333_333_334, "chat": 333_333_333, "third": 333_333_333}


def test_replicas_of_one_server_on_one_gpu_add_up() -> None:
    """Two replicas with 0.3 each hold 0.6; a replica without a ratio adds nothing to its sibling's."""
    one = allocate(CHAT, 0, share=0.3)
    assert parts(*one, *one, *allocate(BATCH, 0, share=0.4))["chat"] == (0.6, "configured")
    assert parts(*one, *allocate(CHAT, 0), *allocate(BATCH, 0, share=0.7))["chat"] == (
        0.3,
        "configured",
    )

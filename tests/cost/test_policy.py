"""Who pays, and how a model's money is split: the first rule that matches."""

from exporter.cost.policy import CostPolicy, OwnershipRule, SplitRule
from exporter.readings import ServerKey
from exporter.tariff.tariff import Tariff

RULES = (
    OwnershipRule("search", "retrieval", namespace="search-*"),
    OwnershipRule("chat", "assistants", server="chat*"),
    OwnershipRule("lab", namespace="lab", server="x?"),
)


def test_the_first_ownership_rule_that_matches_pays() -> None:
    """All patterns that a rule gives must match; no match is unassigned."""
    policy = CostPolicy(Tariff(), ownership=RULES)
    owners = [
        policy.product_and_team(ServerKey(namespace, server))
        for namespace, server in [
            ("search-a", "chat-1"),
            ("", "chat-1"),
            ("lab", "x1"),
            ("lab", "x12"),
            ("", ""),
        ]
    ]
    assert owners == [
        ("search", "retrieval"),
        ("chat", "assistants"),
        ("lab", "unassigned"),
        ("unassigned", "unassigned"),
        ("unassigned", "unassigned"),
    ]


def test_the_first_split_rule_that_matches_is_used() -> None:
    """By server and by model; without one the default: auto, 1, 0.1, 3."""
    by_server, by_model = SplitRule(server="batch*", method="weights"), SplitRule(model="*70B", method="time")
    policy = CostPolicy(Tariff(), split=(by_server, by_model))
    assert policy.split_rule("batch-1", "L-70B") is by_server
    assert policy.split_rule("chat", "L-70B") is by_model
    assert policy.split_rule("chat", "L-8B") == SplitRule()
    default = SplitRule().weights
    assert [float(weight) for weight in (default.prompt, default.cached_prompt, default.generation)] == [
        1,
        0.1,
        3,
    ]

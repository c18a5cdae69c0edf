"""The configuration inside the ConfigMap is accepted by the exporter, its commented examples included."""

import re
from decimal import Decimal
from typing import Any

from exporter.config import parse

EXAMPLE = re.compile(r"^# (?=[a-z_]+:$| +[a-z_]+:| +- )")
"""What to strip from a commented example; a sentence starts with a capital letter and stays a comment."""


def test_the_exporter_accepts_it_as_it_is(manifests: dict[str, dict[str, Any]]) -> None:
    """Applied unchanged it starts, with the default budget."""
    config = parse(manifests["ConfigMap"]["data"]["config.yaml"].encode())

    assert [(budget.product, budget.dollars_per_month) for budget in config.budgets] == [("", Decimal(27000))]
    assert config.servers == ()


def test_the_exporter_accepts_its_examples(manifests: dict[str, dict[str, Any]]) -> None:
    """Every example is valid once the comment signs are removed, and says what the comment claims."""
    lines = manifests["ConfigMap"]["data"]["config.yaml"].splitlines()
    config = parse("\n".join(EXAMPLE.sub("", line) for line in lines).encode())

    assert [(budget.product, budget.dollars_per_month) for budget in config.budgets] == [("", Decimal(27000))]
    assert len(config.hardware) == 2
    assert len(config.ownership) == 1
    assert [(rule.match.workload, rule.name, rule.spans_hosts) for rule in config.server_rules] == [
        ("ml/chat-*", "chat", False),
        ("ml/r1-*", "r1", True),
    ]

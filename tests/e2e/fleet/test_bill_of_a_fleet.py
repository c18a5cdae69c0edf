"""`reconcile --from=ADDRESS` by the real command line: the ids of nodes find hosts on the bill."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT
from tests.e2e.fleet.history import Sample
from tests.e2e.fleet.test_books import END, MONTH, NOW, START
from tests.e2e.fleet.test_books_from_addresses import month, prometheus

pytestmark = pytest.mark.xdist_group("fleet-books")

HOUR = 3600
DEAD_BEGIN, DEAD_END = START + 50 * HOUR, START + 53 * HOUR


def with_components() -> Iterator[Sample]:
    """A living host of 100 dollars and one of 7.50 that died, all rent, on nodes of AWS."""
    for ledger, dollars, begin, end in (
        ("00000000-live", 100.0, START, NOW),
        ("11111111-dead", 7.5, DEAD_BEGIN, DEAD_END + 60),
    ):
        yield from month(ledger, dollars, begin=begin, until_end=end)
        node = f"node-{ledger}"
        labels = f'cluster="east",instance="{node}:9844",node="{node}"'
        owner = 'product="chat",team="a",namespace="",server="chat-8b"'
        for at in range(begin + 60, end + 1, HOUR // 2):
            grown = dollars * min(1.0, (at - begin) / (min(end, END) - begin))
            yield f'inference_server_cost_dollars_total{{{labels},{owner},component="rent"}}', 5 + grown, at
            info = f'cluster="east",node="{node}",provider_id="aws:///us-east-1a/i-{ledger[-4:]}"'
            yield f"kube_node_info{{{info}}}", 1.0, at


def text(instant: int) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_bill_against_a_prometheus(tmp_path: Path) -> None:
    """The living host cost 110, the dead one 6 for its three hours; a third one is not metered."""
    hours = (END - START) // HOUR
    bill = tmp_path / "focus.csv"
    bill.write_text(
        "BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ConsumedQuantity,"
        "ConsumedUnit,ResourceId\n"
        f"110,USD,Usage,{text(START)},{text(END)},{hours},Hours,i-live\n"
        f"6,USD,Usage,{text(DEAD_BEGIN)},{text(DEAD_END)},3,Hours,i-dead\n"
        f"9,USD,Usage,{text(DEAD_BEGIN)},{text(DEAD_END)},3,Hours,i-else\n",
        encoding="utf-8",
    )
    with prometheus(tmp_path / "prometheus", with_components()) as program:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "exporter",
                "reconcile",
                f"--invoice={bill}",
                f"--from={program.url}",
                "--json",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=ROOT,
        )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    hosts = {each["host"]: each for each in document["hosts"]}

    assert document["month"] == MONTH.name
    assert {name: each["resources"] for name, each in hosts.items()} == {
        "node-00000000-live": ["i-live"],
        "node-11111111-dead": ["i-dead"],
    }
    assert {name: round(each["books"]["dollars"], 2) for name, each in hosts.items()} == {
        "node-00000000-live": 100.0,
        "node-11111111-dead": 7.5,
    }
    assert [(each["kind"], each["dollars"]) for each in document["residue"]] == [("other_resources", 9.0)]
    parts = [*document["parts"], document["unbilled_hosts"], *document["residue"]]
    assert sum(each["picodollars"] for each in parts) == document["difference"]["picodollars"]
    assert round(document["difference"]["dollars"], 2) == 17.5
    assert any("known from Prometheus only" in note for note in document["notes"])

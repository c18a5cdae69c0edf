"""`reconcile --from`: one bill against all hosts, whose amounts are reckoned by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from tests.finance.fleet.aws_bill import instance, row, story, written
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.units import DOLLAR, HOUR, OCTOBER

INVOICES = Path(__file__).parents[1] / "finance" / "invoices"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Books of 16,270 dollars: two hosts of the month, one of a capacity block, a spot host, a rented one."""
    folder = tmp_path / "fleet"
    october(folder / "i-0aaa.db", 240 * DOLLAR, "GPU-a")
    october(folder / "eu" / "i-0bbb" / "ledger.db", 240 * DOLLAR, "GPU-b")
    MeteredHost(folder / "i-0ccc.db", "GPU-c").meter(OCTOBER + 9 * 24 * HOUR, 48, 20 * DOLLAR).close()
    MeteredHost(folder / "i-0ddd.db", "GPU-d").meter(OCTOBER + 4 * 24 * HOUR, 100, 4 * DOLLAR).close()
    MeteredHost(folder / "rented.db", "GPU-r").meter(OCTOBER + 200 * HOUR, 10, 3 * DOLLAR).close()
    return folder


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    """15,281.01 dollars."""
    return written(story(), tmp_path / "focus.csv")


def reconcile(*arguments: str) -> int:
    return main(["reconcile", *arguments])


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def cents(amounts: list[dict[str, Any]]) -> dict[str, float]:
    """Dollars by kind; each is whole cents."""
    assert all(each["picodollars"] % (DOLLAR // 100) == 0 for each in amounts)
    return {each["kind"]: each["dollars"] for each in amounts}


@pytest.mark.parametrize("cost", ["billed", "effective"])
def test_a_bill_with_a_savings_plan_a_spot_interruption_and_support(
    cost: str, fleet: Path, bill: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part by hand. Hosts: i-0aaa 744 h at 7 for 10; i-0bbb 300 h at 7 and 444 h at 11 for 10; i-0ccc
    two thirds of a block of 1,500 for 960; i-0ddd 99.25 h at 4.20, of 100 h at 4 that were metered.
    """
    flags = [f"--invoice={bill}", f"--from={fleet}", f"--cost={cost}", "--json"]
    assert reconcile(*flags) == 0
    document = answer(capsys)

    assert document["month"] == "2026-10"
    assert [document[name]["dollars"] for name in ("books", "bill", "difference")] == [
        16_270.0,
        15_281.01,
        -988.99,
    ]
    assert cents(document["parts"]) == {
        "price": -2232.0 - 456.0 + 40.0 + 19.85,
        "not_billed": -3.0,
        "other_usage": 3.21,
        "refunds": -10.0,
    }
    assert document["unbilled_hosts"]["dollars"] == -30.0
    assert cents(document["residue"]) == {
        "unused_commitments": 192.0 + 500.0,
        "other_resources": 288.0 + 25.5,
        "support": 650.0,
        "taxes": 123.45,
        "credits": -100.0,
    }
    hosts = {each["host"]: each for each in document["hosts"]}
    assert {name: cents(each["parts"]) for name, each in hosts.items()} == {
        "i-0aaa": {"price": -2232.0, "refunds": -10.0},
        "eu/i-0bbb": {"price": -456.0, "other_usage": 3.21},
        "i-0ccc": {"price": 40.0},
        "i-0ddd": {"price": 19.85, "not_billed": -3.0},
        "rented": {"not_billed": -30.0},
    }
    assert (hosts["i-0ddd"]["metered_hours"], hosts["i-0ddd"]["billed_hours"]) == (100.0, 99.25)
    assert document["notes"] == ["1 row (5.00 dollars) of other months: not compared"]


def test_the_parts_sum_to_the_picodollar(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even with thirds of everything."""
    rows = [
        row("1000.000000000001", 1, "Purchase", CapacityReservationId="cr-1"),
        *(
            instance("0", number, "7.7777777", resource, CapacityReservationId="cr-1", EffectiveCost="")
            for number in (1, 2)
            for resource in ("i-0aaa", "i-0bbb", "i-0eee")
        ),
        instance("33.333333333333", 9, "11.1111111", "i-0ddd"),
    ]
    bill = written(rows, tmp_path / "thirds.csv")
    assert reconcile(f"--invoice={bill}", f"--from={fleet}", "--json") == 0
    document = answer(capsys)

    parts = [*document["parts"], document["unbilled_hosts"], *document["residue"]]
    assert sum(each["picodollars"] for each in parts) == document["difference"]["picodollars"]
    assert document["difference"]["picodollars"] == 1_033_333_333_333_334 - 16_270 * DOLLAR
    for host in document["hosts"]:
        assert sum(part["picodollars"] for part in host["parts"]) == host["difference"]["picodollars"]


def test_the_table(fleet: Path, bill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the books to the bill, and each host; no line is wider than a terminal."""
    assert reconcile(f"--invoice={bill}", f"--from={fleet}") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    first = lines.index("16,270.00  books of these hosts")

    assert lines[0] == "2026-10, 5 ledgers against one bill, time zone UTC, as of 2026-11-01T00:00:00Z"
    assert "INCOMPLETE: 3 of 5 hosts" in lines[:first]
    assert max(map(len, lines[first:])) <= 80
    assert lines[first : first + 23] == [
        "16,270.00  books of these hosts",
        "    -3.00  metered, and not on the bill, 0.75 h",
        "-2,628.15  another price than configured, 1,635.25 h",
        "     3.21  usage that is not charged by the hour",
        "   -10.00  refunds and corrections of earlier bills",
        "   -30.00  hosts without a row of the bill: rented",
        "   692.00  commitments and reserved capacity that nothing used",
        "   313.50  resources that are none of these hosts",
        "   650.00  support",
        "   123.45  taxes",
        "  -100.00  credits",
        f"---------  {'-' * 69}",
        "15,281.01  bill",
        "",
        "host           books    time      price   other       bill",
        "---------  ---------  ------  ---------  ------  ---------",
        "i-0aaa      7,440.00    0.00  -2,232.00  -10.00   5,198.00",
        "eu/i-0bbb   7,440.00    0.00    -456.00    3.21   6,987.21",
        "i-0ccc        960.00    0.00      40.00    0.00   1,000.00",
        "rented         30.00  -30.00       0.00    0.00       0.00",
        "i-0ddd        400.00   -3.00      19.85    0.00     416.85",
        "---------  ---------  ------  ---------  ------  ---------",
        "total      16,270.00  -33.00  -2,628.15   -6.79  13,602.06",
    ]
    assert "  192.00  three years (Compute Savings Plan)" in lines
    assert "1 row (5.00 dollars) of other months: not compared." in lines
    assert lines[-1] == "INCOMPLETE: 3 of 5 hosts: see above."


def test_azure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the node's name: 68 h for 7,040 dollars, metered at 100 an hour, and a cent that rounding took."""
    MeteredHost(tmp_path / "fleet" / "gpu-01.db").meter(OCTOBER, 68, 100 * DOLLAR).close()
    assert reconcile(f"--invoice={INVOICES / 'azure.csv'}", f"--from={tmp_path / 'fleet'}", "--json") == 0
    document = answer(capsys)

    assert cents(document["parts"]) == {"price": 240.0}
    assert cents(document["residue"]) == {"corrections": -0.01}
    assert document["hosts"][0]["resources"][0].endswith("/virtualMachines/gpu-01")


def test_google(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine of cores, memory and GPUs: 3 h at 11 dollars, of which 2.5 at 10 were metered."""
    host = MeteredHost(tmp_path / "fleet" / "node.db")
    host.meter(OCTOBER + (24 + 5) * HOUR, 3, 10 * DOLLAR).close()
    hosts = tmp_path / "hosts.csv"
    hosts.write_text("host,resource\nnode,instances/4711\ngone,instances/1\n", encoding="utf-8")
    flags = [f"--invoice={INVOICES / 'gcp.csv'}", f"--from={tmp_path / 'fleet'}", f"--hosts={hosts}"]
    assert reconcile(*flags, "--json") == 0
    document = answer(capsys)

    assert cents(document["parts"]) == {"price": 3.0, "credits": -0.5}
    assert document["residue"] == []
    assert document["hosts"][0]["billed_hours"] == 3.0
    assert document["notes"] == ["hosts of the list that have no ledger in this month: gone"]


def test_dates_and_dollars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bill without hours is compared by what hours cost in the books."""
    MeteredHost(tmp_path / "fleet" / "gpu-1.db").meter(OCTOBER, 20, 2 * DOLLAR).close()
    path = tmp_path / "dates.csv"
    path.write_text("date,dollars,host\n2026-10-01,48.00,gpu-1\n2026-10-02,1.00,gpu-2\n", encoding="utf-8")
    assert reconcile(f"--invoice={path}", f"--from={tmp_path / 'fleet'}", "--json") == 0
    document = answer(capsys)

    assert cents(document["parts"]) == {"uncovered": 8.0}
    assert cents(document["residue"]) == {"other_resources": 1.0}


def test_more_purchases_than_are_named(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,003 purchases of 2 dollars: 1,000 have a name, and all count."""
    rows = [row("2", 1, "Purchase", ServiceName=f"service {number}") for number in range(1003)]
    bill = written([*rows, instance("24", 1, "24", "i-0aaa")], tmp_path / "purchases.csv")
    assert reconcile(f"--invoice={bill}", f"--from={fleet}", "--json") == 0
    document = answer(capsys)

    (purchases,) = document["residue"]
    assert (purchases["kind"], purchases["dollars"]) == ("purchases", 2006.0)
    assert len(purchases["largest"]) == 100
    assert document["bill"]["dollars"] == 2030.0


@pytest.mark.parametrize(
    ("start", "end", "dollars"),
    [
        ("2026-09-17T00:00:00Z", "2026-10-17T00:00:00Z", 24.0),  # 30 days, by the middle: 2 October
        ("2026-09-30T06:00:00Z", "2026-11-01T06:00:00Z", 24.0),  # 32 days, by the middle: 16 October
        ("2026-09-30T06:00:00Z", "2026-11-01T06:00:01Z", 0.0),  # more, by its first day
        ("2026-10-31T18:00:00Z", "2027-10-31T18:00:00Z", 24.0),
    ],
)
def test_the_month_of_a_long_charge(
    start: str, end: str, dollars: float, fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside one of a day that is of October."""
    support = row("24", (start, end), ServiceName="AWS Support")
    bill = written([support, instance("24", 1, "24", "i-0aaa")], tmp_path / "long.csv")
    assert reconcile(f"--invoice={bill}", f"--from={fleet}", "--month=2026-10", "--json") == 0
    document = answer(capsys)

    assert document["bill"]["dollars"] == 24 + dollars
    assert cents(document["residue"]) == ({"support": dollars} if dollars else {})


def test_hosts_of_other_names(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing matches, the answer says what to do."""
    path = written([instance("24", 1, "24", "i-other")], tmp_path / "other.csv")
    assert reconcile(f"--invoice={path}", f"--from={fleet}") == 0
    printed = capsys.readouterr().out

    assert "the bill has no row of these hosts by their names: list them" in printed
    assert "-16,270.00  hosts without a row of the bill: eu/i-0bbb, i-0aaa, i-0ccc" in printed


def test_a_statement_stands_for_its_hosts(
    fleet: Path, bill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A closed month against the bill says what its ledgers say."""
    closed = tmp_path / "closed.json"
    close = ["--month=2026-10", "--close", f"--output={closed}", f"--from={fleet}"]
    assert main(["report", "month", *close]) == 0
    capsys.readouterr()
    answers = []
    for source in (fleet, closed):
        assert reconcile(f"--invoice={bill}", f"--from={source}", "--json") == 0
        document = answer(capsys)
        answers.append({name: document[name] for name in ("books", "parts", "residue", "unbilled_hosts")})

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hosts=h.csv"], "--hosts needs --from"),
        (["--from=a", "--resource=i-1"], "--resource is for one host: with --from, list hosts in --hosts"),
        (["--from=a", "--ledger.path=/b"], "--from takes the place of --ledger.path: give one of them"),
        (["--skip-unreadable"], "--skip-unreadable needs --from"),
    ],
)
def test_flags_that_clash(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2."""
    with pytest.raises(SystemExit) as left:
        reconcile("--invoice=bill.csv", *arguments)

    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_bad_bills_and_lists(
    fleet: Path, bill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and no table."""
    hosts = tmp_path / "hosts.csv"
    hosts.write_text("i-0aaa\n", encoding="utf-8")
    own = written([row("1", 1, ProviderName="Self-hosted inference")], tmp_path / "own.csv")
    bad = written([row("1", 1, EffectiveCost="one", CommitmentDiscountId="x")], tmp_path / "bad.csv")
    for flags, message in (
        ([f"--invoice={bill}", "--month=2026-08"], f"{fleet}: the ledgers have nothing of 2026-08\n"),
        ([f"--invoice={bill}", f"--hosts={hosts}"], f'{hosts}:1: "i-0aaa" is no host and resource: write'),
        ([f"--invoice={bill}", "--hosts=/no/hosts.csv"], "/no/hosts.csv: cannot be read: No such file"),
        ([f"--invoice={own}", "--month=2026-10"], f'{own}:2: ProviderName: "Self-hosted inference" is what'),
        ([f"--invoice={bad}", "--month=2026-10"], f'{bad}:2:28: EffectiveCost: "one" is no number'),
    ):
        assert reconcile(*flags, f"--from={fleet}") == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert message in printed.err


def test_a_month_that_the_bill_lacks(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which ones it has."""
    september = ("2026-09-03T00:00:00Z", "2026-09-04T00:00:00Z")
    path = written([row("1", september)], tmp_path / "september.csv")
    assert reconcile(f"--invoice={path}", f"--from={fleet}", "--month=2026-10") == 1
    assert capsys.readouterr().err == f"{path}: has nothing of 2026-10: it has 2026-09\n"

"""`explain --why`: the difference of two months of real ledgers, by effect and by server."""

import json
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from tests.finance.fleet.ledger_files import MeteredHost
from tests.kit.units import DOLLAR, HOUR, OCTOBER

SEPTEMBER = OCTOBER - 720 * HOUR


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One host: 10 hours of 2 dollars in September, half of them idle, and 20 hours of 3 in October.

    Another one is new in October: 4 hours of 5 dollars.
    """
    host = MeteredHost(tmp_path / "fleet" / "a.db", "GPU-a").meter(SEPTEMBER, 10, 2 * DOLLAR)
    host.meter(OCTOBER, 20, 3 * DOLLAR).close()
    MeteredHost(tmp_path / "fleet" / "b.db", "GPU-b").meter(OCTOBER, 4, 5 * DOLLAR).close()
    return tmp_path / "fleet"


def run(*arguments: str) -> int:
    return main(["explain", *arguments])


MONTHS = ("--why", "--month=2026-10", "--against=2026-09")


def test_effects_sum_to_the_difference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """80 dollars against 20: 24 hours at a mean of 3.33 dollars against 10 at 2.

    September's 20 dollars would be 20.67 in a month of 744 hours. Half of each month's hours were idle: 12
    against 5 x 744/720 at 2 dollars. Tokens are 100 an hour of metering: 2,400 against 1,000 in time.
    The price of the first GPU rose by a dollar for 20 hours. The second GPU is dearer from its first hour on:
    its 3 dollars more than 2 are of idle time and of tokens.
    """
    assert run(*MONTHS, f"--from={folder}", "--json") == 0
    document = json.loads(capsys.readouterr().out)

    effects = {each["effect"]: each["picodollars"] for each in document["effects"] if each["picodollars"]}
    assert (document["before_picodollars"], document["after_picodollars"]) == (20 * DOLLAR, 80 * DOLLAR)
    assert sum(effects.values()) == document["difference_picodollars"] == 60 * DOLLAR
    longer = 20 * DOLLAR * 24 // 720
    assert effects == {
        "hours": pytest.approx(longer, abs=1),
        "idle": pytest.approx((12 * 2 + 2 * 3) * DOLLAR - (10 * DOLLAR + longer / 2), abs=1),
        "tokens": pytest.approx((12 * 2 + 2 * 3) * DOLLAR - (10 * DOLLAR + longer / 2), abs=1),
        "price": 20 * DOLLAR,
    }
    assert [(each["server"], each["picodollars"]) for each in document["servers"]] == [
        ("chat-8b", 60 * DOLLAR)
    ]
    assert [each["kind"] for each in document["missing"]["2026-10"]] == ["silent", "silent"]


def test_the_table_fits_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cents sum, and what is missing of a month stands above."""
    assert run(*MONTHS, f"--from={folder}") == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "2026-10 against 2026-09: +60.00 dollars"
    assert lines[1:3] == ["2026-09: INCOMPLETE: 1 of 1 hosts", "2026-10: INCOMPLETE: 2 of 2 hosts"]
    assert max(map(len, lines)) <= 80
    (total,) = [line for line in lines if line.startswith("total")]
    assert total.split() == ["total", "60.00", "20.00", "80.00", "dollars"]
    assert any(line.endswith("llm/chat-8b, most of it price 20.00") for line in lines)


def effects_of(folder: Path, capsys: pytest.CaptureFixture[str], *scope: str) -> dict[str, float]:
    """Effects in dollars and cents, but for those of less. In picodollars they sum to the difference."""
    assert run(*MONTHS, *scope, f"--from={folder}", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    effects = {each["effect"]: each["picodollars"] for each in document["effects"]}
    assert sum(effects.values()) == document["difference_picodollars"]
    assert sum(each["picodollars"] for each in document["servers"]) == document["difference_picodollars"]
    cents = {name: round(amount / DOLLAR, 2) for name, amount in effects.items()}
    return {name: dollars for name, dollars in cents.items() if dollars}


TENTH = OCTOBER + (9 * 24 + 15) * HOUR
"""The 10th of October, 15:00: 513 hours before its end."""


@pytest.mark.parametrize("scope", [[], ["--product=chat"], ["chat-8b"]])
@pytest.mark.parametrize("model", ["H100", "L40S"])
def test_a_dearer_host_that_joins_is_no_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, scope: list[str]
) -> None:
    """Two GPUs at 2 dollars all along, and one at 3 for 513 hours: 1,539.00 of GPUs, 96.00 of a day more."""
    for name in ("GPU-1", "GPU-2"):
        host = MeteredHost(tmp_path / f"{name}.db", name).work(SEPTEMBER, 720, 2 * DOLLAR)
        host.work(OCTOBER, 744, 2 * DOLLAR).close()
    MeteredHost(tmp_path / "b.db", "GPU-3", model=model).work(TENTH, 513, 3 * DOLLAR).close()

    assert effects_of(tmp_path, capsys, *scope) == {"hours": 96.0, "gpus": 1539.0}


@pytest.mark.parametrize(
    ("model", "price", "effect"),
    [
        pytest.param("L40S", 1, "hardware mix", id="another-model"),
        pytest.param("H100", 3, "price", id="the-same-model"),
    ],
)
def test_a_host_in_place_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, price: int, effect: str
) -> None:
    """As many GPUs as before, of which one is another: 744 hours at a dollar less, or more."""
    host = MeteredHost(tmp_path / "a.db", "GPU-1").work(SEPTEMBER, 720, 2 * DOLLAR)
    host.work(OCTOBER, 744, 2 * DOLLAR).close()
    MeteredHost(tmp_path / "gone.db", "GPU-2").work(SEPTEMBER, 720, 2 * DOLLAR).close()
    new = MeteredHost(tmp_path / "new.db", "GPU-3", model=model)
    new.work(OCTOBER, 744, price * DOLLAR).close()

    assert effects_of(tmp_path, capsys) == {"hours": 96.0, effect: 744.0 * (price - 2)}


def test_a_host_in_place_of_another_beside_one_that_joins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One at 1 dollar in place of one at 2: -744.00; one more at 1: 744.00; one fell by 3: -2,232.00."""
    for name, before, after in (("GPU-1", 6, 3), ("GPU-2", 2, None), ("GPU-3", None, 1), ("GPU-4", None, 1)):
        host = MeteredHost(tmp_path / f"{name}.db", name, model="H100" if before else "L40S")
        if before:
            host.work(SEPTEMBER, 720, before * DOLLAR)
        if after:
            host.work(OCTOBER, 744, after * DOLLAR)
        host.close()

    assert effects_of(tmp_path, capsys) == {
        "hours": 192.0,
        "gpus": 744.0,
        "hardware mix": -744.0,
        "price": -2232.0,
    }


def test_prices_that_change_among_hosts_that_come_and_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """13 hosts. One went from 2.00 to 2.60: +446.40. Three went from 2.70 to 2.00: -1,562.40.

    Six stayed at 2.00; three at 6.00 came for 513 hours, 9,234.00. A day more of the ten: 530.40.
    """
    dime = DOLLAR // 10
    prices = [(20, 26), *[(27, 20)] * 3, *[(20, 20)] * 6]
    for number, (before, after) in enumerate(prices):
        host = MeteredHost(tmp_path / f"{number}.db", f"GPU-{number}").work(SEPTEMBER, 720, before * dime)
        host.work(OCTOBER, 744, after * dime).close()
    for number in (11, 12, 13):
        MeteredHost(tmp_path / f"{number}.db", f"GPU-{number}").work(TENTH, 513, 6 * DOLLAR).close()

    assert effects_of(tmp_path, capsys) == {"hours": 530.4, "gpus": 9234.0, "price": -1116.0}


@pytest.mark.parametrize("scope", [["chat-8b"], ["llm/chat-8b"], ["--product=chat"]])
def test_a_server_or_a_product(folder: Path, capsys: pytest.CaptureFixture[str], scope: list[str]) -> None:
    """The one server and the one product have all the money."""
    assert run(*MONTHS, *scope, f"--from={folder}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["difference_picodollars"] == 60 * DOLLAR


def test_overheads_of_the_fleet_are_a_difference_of_their_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dollar an hour of a year of 365.25 days: 744 against 720. No product and no single host pays it."""
    config = tmp_path / "ice.yaml"
    config.write_text("overheads:\n  - {name: staff, dollars_per_year: 8766, per: fleet}\n")
    dollars = {}
    for source in (
        (f"--from={folder}",),
        (f"--from={folder}", "--product=chat"),
        (f"--ledger.path={folder / 'a.db'}",),
    ):
        assert run(*MONTHS, *source, f"--config.file={config}", "--json") == 0
        document = json.loads(capsys.readouterr().out)
        effects = {each["effect"]: each["picodollars"] for each in document["effects"]}
        assert sum(effects.values()) == document["difference_picodollars"]
        dollars[source] = (
            effects["fleet overheads"],
            document["before_picodollars"],
            document["after_picodollars"],
        )

    assert list(dollars.values()) == [
        (24 * DOLLAR, 740 * DOLLAR, 824 * DOLLAR),
        (0, 20 * DOLLAR, 80 * DOLLAR),
        (0, 20 * DOLLAR, 60 * DOLLAR),
    ]


def test_one_ledger_explains_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --from it is the daemon's: 60 dollars against 20."""
    assert run(*MONTHS, f"--ledger.path={folder / 'a.db'}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["difference_picodollars"] == 40 * DOLLAR


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--why", "--month=2026-10"], "--why needs --month and --against"),
        (["--why", "--month=2026-10", "--against=1.10"], "'1.10' is no month"),
        (["--month=2026-10"], "--month needs --why"),
        (["--product=chat"], "--product needs --why"),
        (["--from=/srv"], "--from needs --why"),
        (["--against=2026-09"], "'2026-09' is no price"),
        ([*MONTHS, "--product=chat", "chat-8b"], "--product and SERVER exclude each other"),
    ],
)
def test_flags_that_clash_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    with pytest.raises(SystemExit):
        run(*arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--why", "--month=2026-10", "--against=2026-08"], "there is nothing of 2026-08"),
        ([*MONTHS, "--product=search"], "there is no product 'search': there are chat"),
        ([*MONTHS, "other"], "there is no server 'other': llm/chat-8b"),
    ],
)
def test_what_is_not_there_is_named(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what there is."""
    assert run(*arguments, f"--from={folder}") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_a_month_that_metering_began_in_is_as_long_as_it_was_metered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last 10 hours of September, and the first 20 of October: as many GPUs, for longer."""
    host = MeteredHost(tmp_path / "ledger.db").meter(OCTOBER - 10 * HOUR, 10, 2 * DOLLAR)
    host.meter(OCTOBER, 744, 2 * DOLLAR).close()

    assert run(*MONTHS, f"--ledger.path={tmp_path / 'ledger.db'}", "--json") == 0
    effects = json.loads(capsys.readouterr().out)["effects"]

    assert {each["effect"]: each["picodollars"] for each in effects if each["picodollars"]} == {
        "hours": 734 * 2 * DOLLAR
    }


def test_a_month_of_adjustments_alone_is_as_long_as_the_calendar_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """5 dollars of August, before the first tick: 744 hours without a GPU."""
    path = tmp_path / "ledger.db"
    host = MeteredHost(path).meter(OCTOBER, 20, 2 * DOLLAR)
    enter(path, AdjustmentRequest(5 * DOLLAR, "2026-08-31", "chat", None, "late bill"), {}, host.clock.now)
    host.meter(OCTOBER + 20 * HOUR, 1, 2 * DOLLAR).close()

    arguments = ("--why", "--month=2026-10", "--against=2026-08", f"--ledger.path={path}", "--json")
    assert run(*arguments) == 0
    document = json.loads(capsys.readouterr().out)
    effects = {each["effect"]: each for each in document["effects"]}

    assert effects["hours"]["before"] == 744
    assert document["difference_picodollars"] == 37 * DOLLAR
    assert (effects["hours"]["picodollars"], effects["corrections"]["picodollars"]) == (0, -5 * DOLLAR)

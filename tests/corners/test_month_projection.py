"""The projection of a month, from the configuration to the page, against the tariff integrated by hand."""

from pathlib import Path

import pytest

from tests.corners.simulated_host import SimulatedHost, moment
from tests.kit.units import DAY, HOUR, MINUTE, SECOND

SERVER = 'servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]\n'
OWNED = "ownership: {{rules: [{{match: {{server: chat}}, product: {}, team: assistants}}]}}\n"
LIFE = (
    "hardware: [{owned: {purchase_dollars_per_gpu: 2800000, in_service: 2022-11-15, life_years: 4}}]\n"
    f"{SERVER}{OWNED.format('chat')}"
)
WITHIN = 0.02


def dated(*prices: str) -> str:
    """Rent that is owed always, from dates on."""
    rows = ", ".join(
        f"{{from: {price.split()[0]}, dollars_per_gpu_hour: {price.split()[1]}}}" for price in prices
    )
    return f"hardware: [{{rented: {{prices: [{rows}], billing: always}}}}]\n{SERVER}{OWNED.format('chat')}"


def projected(host: SimulatedHost, month: str = "2026-11") -> dict[str, float]:
    """Dollars by product."""
    rows = host.rows("inference_month_projected_dollars", month=month)
    return {product: value for (product,), value in rows.items()}


@pytest.mark.parametrize(
    ("config", "begin", "expected"),
    [
        # Metered from noon of the 14th: 36 h at the old price, and 15 days of 24 h at the new one.
        (dated("2026-01-01 55.04", "2026-11-16 10"), "2026-11-14T12:00:00+00:00", 36 * 55.04 + 360 * 10),
        (dated("2026-01-01 10", "2026-11-16 55.04"), "2026-11-14T12:00:00+00:00", 36 * 10 + 360 * 55.04),
        # 4 years of 8,766 hours are 1,461 days: they end as the 15th begins, after 36 h.
        (LIFE, "2026-11-13T12:00:00+00:00", 36 * 2_800_000 / 35_064),
    ],
    ids=["falls", "rises", "ends"],
)
def test_a_date_in_the_configuration_is_in_the_projection(
    tmp_path: Path, config: str, begin: str, expected: float
) -> None:
    """5,581, 20,174 and 2,875 dollars: a day after the first tick, until the date, and from it on."""
    host = SimulatedHost(tmp_path, config, begin)
    host.tick()
    host.tick(DAY)
    observed = [projected(host)]
    for when in ("15T23:59:50", "16T00:00:10", "16T00:10:00", "17T00:00:00", "23T12:00:00", "30T23:00:00"):
        host.until(f"2026-11-{when}+00:00")
        observed.append(projected(host))

    assert [set(each) for each in observed] == [{"chat"}] * 7
    assert [each["chat"] for each in observed] == [pytest.approx(expected, rel=WITHIN)] * 7
    assert host.rows("inference_month_metered_since_timestamp_seconds") == {
        ("2026-11",): moment(begin) / SECOND
    }


def test_a_product_that_is_an_hour_old_and_one_that_was_renamed(tmp_path: Path) -> None:
    """4,680 dollars, and 240 of the time before; under a new name the old one ends with what it spent."""
    prices = "hardware: [{rented: {dollars_per_gpu_hour: 10, billing: always}}]\n" + SERVER
    host = SimulatedHost(tmp_path, prices, "2026-11-10T12:00:00+00:00")
    host.tick()
    host.tick(DAY)
    host.reload(prices + OWNED.format("chat"))
    host.tick(HOUR)
    assert projected(host) == {
        "chat": pytest.approx(10 + 467 * 10, rel=WITHIN),
        "unassigned": pytest.approx(240),
    }

    host.reload(prices + OWNED.format("assistant"))
    host.tick(10 * MINUTE)
    spent = host.rows("inference_month_to_date_dollars", month="2026-11", product="chat")
    assert list(spent.values()) == [pytest.approx(10)]
    ends = projected(host)
    assert ends == {
        "assistant": pytest.approx(467 * 10, rel=WITHIN),
        "chat": pytest.approx(10),
        "unassigned": pytest.approx(240),
    }
    assert sum(ends.values()) == pytest.approx(240 + 10 + 467 * 10, rel=1e-12)


@pytest.mark.parametrize("hours", [1, 8])
def test_a_host_that_is_up_for_a_third_of_the_day(tmp_path: Path, hours: int) -> None:
    """Up from 08:00 to 16:00 at 6.88 an hour: 8 hours of each day, as seen in its first and last hour up."""
    prices = f"hardware: [{{rented: {{dollars_per_gpu_hour: 6.88}}}}]\n{SERVER}{OWNED.format('chat')}"
    host = SimulatedHost(tmp_path, prices, "2026-11-10T08:00:00+00:00")
    for _ in range(4):
        host.tick()
        for _ in range(8):
            host.tick(HOUR)
        host.reboot(16 * HOUR)
    host.tick()
    for _ in range(hours):
        host.tick(HOUR)

    # From the 10th to the 30th: 21 days.
    assert projected(host)["chat"] == pytest.approx(21 * 8 * 6.88, rel=WITHIN)


def test_a_new_ledger_says_since_when_a_month_is_metered(tmp_path: Path) -> None:
    """Books that begin anew have not metered what the ones before them did; October is in neither."""
    prices = "hardware: [{rented: {dollars_per_gpu_hour: 6.88}}]\n"
    host = SimulatedHost(tmp_path, prices, "2026-11-10T08:00:00+00:00")
    host.tick()
    assert host.rows("inference_month_metered_since_timestamp_seconds") == {}
    host.tick(HOUR)
    host.kill()
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    host.clock.true += HOUR
    host.start()
    host.tick()
    host.tick(MINUTE)
    again = moment("2026-11-10T10:00:00+00:00") / SECOND

    assert host.rows("inference_month_metered_since_timestamp_seconds") == {("2026-11",): again}

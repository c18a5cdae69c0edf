"""The report as text, JSON and CSV: figures worked by hand, each with its coverage, resolution and basis."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from exporter.finance.history.history_report import CSV_COLUMNS, sheet
from exporter.finance.history.past_answer import HistorySource, PastAnswer, answer
from tests.finance.history.chunks import NOVEMBER, PRICES, HourlyFleet, configured
from tests.kit.units import HOUR

CHAT = {"exported_namespace": "llm", "exported_pod": "chat-0"}
PROMPT, GENERATION = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
DAYS = 30


def november(
    folder: Path, text: str = PRICES, *, hours: int = DAYS * 24, since: int = NOVEMBER
) -> PastAnswer:
    """A chat of one GPU and a free one, 24 hours a day; two hours of the first host have half the samples."""
    config = configured(folder, text)
    fleet = HourlyFleet(config, hours)
    fleet.gpu(0, counts=[120] * 5 + [60, 60] + [120] * (hours - 6), **CHAT)
    fleet.gpu(1, utilization=0, memory=3e6, counts=[120] * 5 + [60, 60] + [120] * (hours - 6))
    fleet.server(
        {PROMPT: [900_000] * hours, GENERATION: [100_000] * hours},
        running=[4] * hours,
        namespace="llm",
        pod="chat-0",
        instance="10.1.0.7:8000",
    )
    reckoning = fleet.reckoned()
    until = (NOVEMBER + hours) * HOUR
    return answer(reckoning, HistorySource("http://prometheus.example:9090", since * HOUR, until, 42, 1))


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> PastAnswer:
    """All of November."""
    return november(tmp_path_factory.mktemp("november"))


def document(past: PastAnswer) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(sheet(past, "json"))
    return parsed


def test_a_whole_month_has_its_dollars_hours_and_tokens(past: PastAnswer) -> None:
    """720 hours of two GPUs at 2 dollars; 720 million tokens; the chat is half busy."""
    (month,) = document(past)["months"]

    assert (month["month"], month["complete"]) == ("2026-11", True)
    assert month["picodollars"] == 2880 * 10**12
    assert (month["gpu_hours"], round(month["busy_gpu_hours"], 6)) == (1440, 360)
    assert month["tokens"] == {"prompt": 648_000_000, "cached_prompt": 0, "generation": 72_000_000}
    assert month["dollars_per_million_tokens"] == 4.0
    assert month["unpriced_gpu_hours"] == 0


def test_coverage_is_the_hours_with_samples(past: PastAnswer) -> None:
    """Two hours have half of theirs: 719 of 720 hours of one host."""
    parsed = document(past)

    assert (parsed["hours"], round(parsed["hours_with_data"], 6)) == (720, 719)
    assert (
        parsed["months"][0]["coverage_ratio"]
        == parsed["coverage_ratio"]
        == parsed["hosts"][0]["months"][0]["coverage_ratio"]
    )
    assert parsed["resolution"] == {"step_seconds": 3600, "scrape_seconds": 30, "error_ratio": 0.02}
    assert parsed["price_basis"] == "estimate"
    assert parsed["load"] == {"queries": 42, "parallel": 1}
    assert "2026-11  2,880.00    1,440.0    25.0    720.0    4.00    99.9\n" in sheet(past, "table")


def test_a_gpu_that_is_charged_without_samples_has_a_line(tmp_path: Path) -> None:
    """A broken board of two, silent for 30 of 40 hours at 2 dollars: 60 of 160 dollars, 37.5 %, are of it."""
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 40)
    fleet.gpu(0, **CHAT)
    fleet.gpu(1, counts=[120] * 11 + [0] * 30)
    until = (NOVEMBER + 40) * HOUR
    past = answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))
    parsed, text = document(past), " ".join(sheet(past, "table").split())

    assert parsed["unseen_gpus"] == [
        {
            "cluster": "",
            "host": "node-1",
            "uuid": "GPU-1",
            "gpu_model": "H100",
            "since": "2026-11-01T10:00:00Z",
            "gpu_hours": 30,
            "dollars": 60,
            "picodollars": 60 * 10**12,
        }
    ]
    assert "GPU-1 of node-1, not seen since 2026-11-01T10:00:00Z: 30.0 GPU-hours, 60.00 dollars." in text
    assert "dollars of a month within 40% where measured" in text
    assert parsed["resolution"]["error_ratio"] == pytest.approx(0.395)


def test_hours_of_samples_that_thanos_made_are_said(tmp_path: Path) -> None:
    """No error was measured for them."""
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 10)
    fleet.gpu(0, counts=[12] * 11, **CHAT)
    fleet.chunk.resolution = 300 * 10**9
    until = (NOVEMBER + 10) * HOUR
    past = answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))
    parsed = document(past)

    assert "samples as they were scraped in 10 hours" in [each["what"] for each in parsed["lacks"]]
    assert (parsed["resolution"]["scrape_seconds"], parsed["resolution"]["error_ratio"]) == (300, None)


@pytest.mark.parametrize(
    ("address", "last", "namesakes"),
    [
        pytest.param("00000000:04:00.0", 4, 1, id="two boards in one slot at once"),
        pytest.param("00000000:05:00.0", 4, 0, id="another slot: exporters number their own GPUs"),
        pytest.param("00000000:04:00.0", 2, 0, id="one replaced the other"),
    ],
)
def test_hosts_of_one_name_are_those_of_clusters_that_no_label_names(
    tmp_path: Path, address: str, last: int, namesakes: int
) -> None:
    """Both have the name gpu-1 and a GPU of number 0: no slot has two boards for hours."""
    fleet = HourlyFleet(configured(tmp_path), hours=4)
    there = [120] * last + [0] * (5 - last)
    fleet.gpu(0, host="gpu-1", counts=there, gpu="0", pci_bus_id="00000000:04:00.0")
    fleet.gpu(1, host="gpu-1", counts=[0, *[120] * 4], gpu="0", pci_bus_id=address)

    assert len(fleet.reckoned().namesakes) == namesakes


def test_hosts_of_one_name_are_said(tmp_path: Path) -> None:
    """With the remedy."""
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 3)
    for number in range(2):
        fleet.gpu(number, gpu="0", host="gpu-1")
    until = (NOVEMBER + 3) * HOUR
    parsed = document(answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1)))

    (lack,) = [each for each in parsed["lacks"] if each["what"] == "the cluster of gpu-1"]
    assert "external_labels" in lack["remedy"]


def test_coverage_of_an_owner_is_that_of_its_gpu_hours(tmp_path: Path) -> None:
    """One of ten hours had no samples and was charged as unobserved: nine of ten are known."""
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 10)
    fleet.gpu(0, counts=[120] * 5 + [0] + [120] * 5, **CHAT)
    until = (NOVEMBER + 10) * HOUR
    past = answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))
    (server,) = document(past)["servers"]

    assert server["months"][0]["unobserved_gpu_hours"] == 1
    assert server["months"][0]["coverage_ratio"] == 0.9


@pytest.mark.parametrize(
    ("first", "last"), [pytest.param(8, 40, id="scraped later"), pytest.param(0, 30, id="scraped until then")]
)
def test_a_server_whose_page_was_not_scraped_all_the_time_has_no_price(
    first: int, last: int, tmp_path: Path
) -> None:
    """Of 40 hours of a GPU at 2 dollars its tokens are known in some: 80 dollars are not what these cost.

    The model's price is of the hours that its name is known of.
    """
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 40)
    fleet.gpu(0, **CHAT)
    rises = [1e6 if first <= hour < last else -1 for hour in range(40)]
    fleet.server({PROMPT: rises}, namespace="llm", pod="chat-0", instance="10.1.0.7:8000")
    until = (NOVEMBER + 40) * HOUR
    past = answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))
    parsed = document(past)
    prices = {
        kind: [month["dollars_per_million_tokens"] for each in parsed[kind] for month in each["months"]]
        for kind in ("servers", "products", "hosts")
    }

    assert prices == {"servers": [None], "products": [None], "hosts": [None]}
    assert parsed["months"][0]["unread_gpu_hours"] == 40 - (last - first)
    prices_of_models = {
        each["model"]: each["months"][0]["dollars_per_million_tokens"] for each in parsed["models"]
    }
    assert prices_of_models == {"llama": 2.0, "": None}
    assert "token counts of llm/chat in part" in [each["what"] for each in parsed["lacks"]]


def test_hours_of_a_start_do_not_take_the_price(tmp_path: Path) -> None:
    """One hour of 40 without a page: 80 dollars over the 39 million tokens that are known."""
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 40)
    fleet.gpu(0, **CHAT)
    rises = [-1, *[1e6] * 39]
    fleet.server({PROMPT: rises}, namespace="llm", pod="chat-0", instance="10.1.0.7:8000")
    until = (NOVEMBER + 40) * HOUR
    past = answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))
    (server,) = document(past)["servers"]

    assert server["months"][0]["dollars_per_million_tokens"] == 80 / 39
    assert server["months"][0]["unread_gpu_hours"] == 1


def test_lines_of_each_kind_sum_to_the_month(past: PastAnswer) -> None:
    """Servers, products, teams, models and hosts are the same money; the dearest comes first."""
    parsed = document(past)

    for kind in ("servers", "products", "teams", "models", "hosts"):
        assert sum(each["months"][0]["picodollars"] for each in parsed[kind]) == 2880 * 10**12, kind
    assert [(each["namespace"], each["server"]) for each in parsed["servers"]] == [
        ("", "unallocated"),
        ("llm", "chat"),
    ]
    (host,) = parsed["hosts"]
    assert (host["host"], host["gpus"], host["gpu_model"]) == ("node-1", 2, "H100")
    assert parsed["servers"][1]["months"][0]["dollars_per_million_tokens"] == 2.0


def test_a_month_that_goes_on_is_projected_at_present_use_and_prices(tmp_path: Path) -> None:
    """Ten days cost 960 dollars; the twenty that follow 1,920."""
    past = november(tmp_path, hours=240)
    (month,) = document(past)["months"]

    assert (month["complete"], month["dollars"]) == (False, 960)
    assert round(month["projected_dollars"], 6) == 2880
    assert "this month ends at 2,880.00 dollars at present use and prices\n" in sheet(past, "table")


def test_a_month_whose_first_days_are_missing_is_not_whole_and_says_so(tmp_path: Path) -> None:
    """It was asked for from the day before on: the server has less, and the report says from when."""
    past = november(tmp_path, since=NOVEMBER - 24)
    text = sheet(past, "table")

    assert past.complete == frozenset({"2026-11"})
    assert any("GPUs before 2026-11-01" in each.what for each in past.absences)
    assert "GPUs before 2026-11-01T00:00:00Z" in text


def test_without_a_price_there_is_no_figure(tmp_path: Path) -> None:
    """Hours and tokens are there; dollars and the price of tokens are not, and the report says why."""
    past = november(tmp_path, "unmatched_hardware: unpriced\n", hours=48)
    (month,) = document(past)["months"]

    assert (month["dollars"], month["picodollars"], month["dollars_per_million_tokens"]) == (None, None, None)
    assert (month["gpu_hours"], month["unpriced_gpu_hours"]) == (96, 96)
    assert any(each.what == "a price of H100" for each in past.absences)
    rows = list(csv.DictReader(io.StringIO(sheet(past, "csv"))))
    assert {row["dollars"] for row in rows} == {""}


def test_the_prices_are_printed_with_their_source(past: PastAnswer, tmp_path: Path) -> None:
    """Two GPUs at the configured price; without one there is none, and of a list price the date."""
    head = "prices at the end:\n"

    assert f"{head}  2 x H100: 2.000000 dollars per GPU-hour, configured: hardware[0].rented\n\n" in sheet(
        past, "table"
    )
    unpriced = november(tmp_path, "unmatched_hardware: unpriced\n", hours=48)
    assert f"{head}  2 x H100: no price\n\n" in sheet(unpriced, "table")
    estimated = november(tmp_path, "interval: 10s\n", hours=48)
    assert "2 x H100: " in sheet(estimated, "table")
    assert "\n- the instance type of node-1: " in sheet(estimated, "table")
    assert " of 2026-" in sheet(estimated, "table").partition(head)[2].partition("lacks:")[0]


def test_savings_are_found_by_the_same_rules(past: PastAnswer) -> None:
    """A GPU that was free for two weeks: 2 dollars x 730 hours a month."""
    savings = document(past)["savings"]

    (free,) = [each for each in savings["savings"] if each["kind"] == "unallocated"]
    assert free["dollars_per_month"] == 1460
    assert "command" not in free


def test_the_text_fits_80_columns(tmp_path: Path) -> None:
    """Names of any length are cut, and nothing moves a terminal's cursor."""
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 30)
    for number in range(20):
        name = f"a-very-long-name-of-a-workload-{number}\x1b[2J"
        fleet.gpu(number, host=f"host-{number}", exported_namespace="namespace", exported_pod=name)
    until = (NOVEMBER + 30) * HOUR
    past = answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))
    text = sheet(past, "table")

    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "8 others" in text


def test_csv_has_a_row_for_each_month_of_each_thing(tmp_path: Path) -> None:
    """Rows of one kind sum to the month, and a formula is no formula."""
    config = configured(tmp_path)
    fleet = HourlyFleet(config, 24)
    fleet.gpu(0, exported_namespace="=1+1", exported_pod="chat-0")
    until = (NOVEMBER + 24) * HOUR
    past = answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))
    rows = list(csv.DictReader(io.StringIO(sheet(past, "csv"))))

    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["by"] for row in rows] == ["server", "product", "team", "model", "host"]
    assert rows[0]["namespace"] == "'=1+1"
    assert {(row["dollars"], row["price_basis"], row["scrape_seconds"]) for row in rows} == {
        ("48.0", "estimate", "30")
    }
    assert (rows[-1]["hours"], rows[-1]["hours_with_data"]) == ("24.0", "24.0")


def prices(past: PastAnswer, kind: str) -> dict[str, float | None]:
    """Dollars per million tokens of November by name."""
    return {
        each[kind.removesuffix("s")]: each["months"][0]["dollars_per_million_tokens"]
        for each in document(past)[kind]
    }


def two_servers(folder: Path, *, second: str) -> PastAnswer:
    """Ten hours of a GPU of `chat` at 2 dollars with 10 million tokens; and another server with as many.

    The other one is on a host that is not known, or on one whose GPU it shares with a third.
    """
    config = configured(folder)
    fleet = HourlyFleet(config, 10)
    rises = {PROMPT: [1_000_000] * 10}
    fleet.gpu(0, **CHAT)
    fleet.server(rises, namespace="llm", pod="chat-0", instance="10.1.0.7:8000")
    if second == "lost":
        fleet.server(rises, namespace="llm", pod="lost-0", instance="10.1.0.8:8000")
    else:
        fleet.gpu(1, host="node-2")
        fleet.server(rises, instance="node-2:8000")
        fleet.server(rises, instance="node-2:8001", model="other")
    until = (NOVEMBER + 10) * HOUR
    return answer(fleet.reckoned(), HistorySource("http://a", NOVEMBER * HOUR, until, 1, 1))


def test_tokens_that_no_dollars_meet_have_no_price(tmp_path: Path) -> None:
    """20 dollars for 10 million tokens are 2 a million; with 10 million more there is none."""
    past = two_servers(tmp_path, second="lost")

    assert prices(past, "servers") == {"chat": 2.0, "lost": None}
    assert prices(past, "models") == {"llama": None}
    assert prices(past, "teams") == {"unassigned": None}
    assert prices(past, "products") == {"unassigned": None}
    assert prices(past, "hosts") == {"": None, "node-1": 2.0}
    assert document(past)["months"][0]["dollars_per_million_tokens"] is None


def test_a_host_has_a_price_though_its_servers_have_none(tmp_path: Path) -> None:
    """Which server holds the GPU is not known, all 20 dollars of the host are of its 20 million tokens."""
    past = two_servers(tmp_path, second="shared")

    assert prices(past, "servers") == {
        "chat": 2.0,
        "unattributed": None,
        "vllm:8000": None,
        "vllm:8001": None,
    }
    assert prices(past, "models")["llama"] is None
    assert prices(past, "models")["other"] is None
    assert [each["months"][0]["dollars_per_million_tokens"] for each in document(past)["hosts"]] == [2.0, 1.0]
    assert round(document(past)["months"][0]["dollars_per_million_tokens"], 6) == 1.333333

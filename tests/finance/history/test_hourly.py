"""Counters by the hour, and what is asked of a server for them."""

import json
from array import array
from collections.abc import Mapping, Sequence
from math import isnan, nan
from pathlib import Path

import httpx
import pytest

from exporter.config import Config
from exporter.engines.catalogue import ENGINES
from exporter.finance.history import hourly
from exporter.finance.history.hourly import HourlyReader, LastValues, RawCounter, Rises, merged
from exporter.finance.history.kube_state import NodeKey
from exporter.finance.history.survey import EngineTarget, Survey, SurveyReader
from tests.finance.history.answers import FakePrometheus, Values
from tests.finance.history.chunks import PRICES, configured
from tests.kit.units import HOUR

FIRST = 495_000

Key = frozenset[tuple[str, str]]


def key(pod: str, name: str = "prompt") -> Key:
    return frozenset({("pod", pod), ("__name__", name)})


def counter(series: Key, values: list[float], increases: list[float] | None = None) -> RawCounter:
    """A raw series. What it counts is without other labels of the target than the pod."""
    labels = dict(series)
    increased = increases or [nan] * len(values)
    same = labels["pod"], labels["__name__"]
    return RawCounter(labels["pod"], same, array("d", values), array("d", increased))


def rises(
    values: Mapping[Key, list[float]], increases: Mapping[Key, list[float]] | None = None
) -> dict[Key, list[float | None]]:
    """Rises of columns whose first hour is the one before the range."""
    counters = {each: counter(each, column, (increases or {}).get(each)) for each, column in values.items()}
    risen = LastValues().rises(counters, FIRST)
    return {
        each: [None if isnan(rise) else rise for rise in result.since_last] for each, result in risen.items()
    }


def test_a_counter_rises_by_the_difference_of_its_last_values() -> None:
    """What it had before the range is no rise."""
    a = key("a")

    assert rises({a: [1000, 1300, 1300, 1450]}) == {a: [None, 300, 0, 150]}


def test_a_reset_counts_what_the_server_saw_rise() -> None:
    """From 1,300 it rose to 1,400, fell to 0 and rose to 250: 350, which `increase` says, not 250."""
    a = key("a")

    assert rises({a: [1000, 1300, 250]}, {a: [nan, nan, 350]}) == {a: [None, 300, 350]}


def test_a_reset_that_passed_the_old_value_counts_too() -> None:
    """It fell from 1,300 to 0 and rose to 2,000: 2,000, where the difference is 700."""
    a = key("a")

    assert rises({a: [1000, 1300, 2000]}, {a: [nan, nan, 2000]}) == {a: [None, 300, 2000]}


def test_a_fall_that_no_window_saw_counts_from_zero() -> None:
    """Downsampled values have one sample an hour, in which nothing is seen to fall."""
    a = key("a")

    assert rises({a: [1000, 40]}) == {a: [None, 40]}


def test_a_series_that_a_running_server_creates_began_at_zero() -> None:
    """Engines create a counter with its first token: all of it was counted since."""
    a, late = key("a"), key("a", "generation")

    assert rises({a: [10, 20, 30], late: [nan, nan, 700]})[late] == [None, None, 700]


def test_a_server_that_is_scraped_for_the_first_time_may_have_run_for_long() -> None:
    """Only what rose within the hour counts, not the 90,000 of the days before it was scraped."""
    a = key("a")

    assert rises({a: [nan, 90_000, 90_100]}, {a: [nan, 60, nan]}) == {a: [None, 60, 100]}


def test_a_series_with_other_labels_goes_on_and_does_not_begin_at_zero() -> None:
    """The job was renamed at 90,040: 40 are of the old series, 60 of the new one, and 90,100 are not."""
    old, new = key("a") | {("job", "old")}, key("a") | {("job", "new")}
    other = key("a", "generation")
    result = rises(
        {old: [90_000, 90_040, nan], new: [nan, 90_100, 90_150], other: [1, 2, 3]}, {new: [nan, 60, nan]}
    )

    assert (result[old], result[new]) == ([None, 40, None], [None, 60, 50])


def test_a_gap_is_crossed_and_its_hour_alone_is_known() -> None:
    """500 rose since the last sample, 120 of it in the hour after the gap."""
    a = key("a")
    columns = counter(a, [100, nan, nan, 600], [nan, nan, nan, 120])
    result = LastValues().rises({a: columns}, FIRST)[a]

    assert result.since_last[3] == 500
    assert result.inside == {3: 120}


def test_implausible_values_are_no_readings() -> None:
    """DCGM's blank of 64 bits, a negative value and infinity leave the last good one."""
    a = key("a")

    assert rises({a: [100, 9.2e18, -1, float("inf"), 160]}) == {a: [None, None, None, None, 60]}


def test_last_values_are_kept_from_chunk_to_chunk() -> None:
    """The second chunk begins with the last hour of the first one, which is not counted again."""
    a, last = key("a"), LastValues()
    last.rises({a: counter(a, [100, 200])}, FIRST)

    assert last.rises({a: counter(a, [200, 260])}, FIRST + 1)[a].since_last[1] == 60


def copy(values: Sequence[float], rises: Sequence[float], inside: Mapping[int, float] | None = None) -> Rises:
    """One series: its last value in each hour, and how far it rose since it was last there."""
    return Rises(array("d", rises), dict(inside or {}), array("d", values))


def test_scrapers_of_one_page_count_once() -> None:
    """Two jobs saw 100 and 98, one 2 later than the other."""
    ahead = copy([1000, 1100, 1200], [nan, 100, 100])
    behind = copy([998, 1096, 1194], [nan, 98, 98])

    assert list(merged([ahead, behind]))[1:] == [100, 100]


@pytest.mark.parametrize(
    ("ends", "begins", "expected"),
    [
        pytest.param((1140, 40), (1200, 50), 100, id="renamed: 10 rose between"),
        pytest.param((1190, 90), (1200, 80), 100, id="a replica ends late and another begins early"),
        pytest.param((1190, 90), (1200, 104), 100, id="at once, its rise extrapolated"),
        pytest.param((1140, 40), (60, 60), 100, id="it began anew"),
        pytest.param((1140, 40), (1090, 1090), 1130, id="it began anew, with nearly as much"),
    ],
)
@pytest.mark.parametrize("last_of_chunk", [False, True])
def test_a_series_that_ends_in_the_hour_in_which_another_begins_counts_no_token_twice(
    ends: tuple[float, float], begins: tuple[float, float], expected: float, *, last_of_chunk: bool
) -> None:
    """From 1,100 on, one ends at a value and after a rise; the other is there at the end of the hour."""
    gone = copy([1000, 1100, ends[0], nan], [nan, 100, ends[1], nan])
    new = copy([nan, nan, begins[0], begins[0] + 70], [nan, nan, begins[1], 70])
    hours = 3 if last_of_chunk else 4
    copies = [Rises(each.since_last[:hours], {}, each.values[:hours]) for each in (gone, new)]

    assert list(merged(copies))[1:] == [100, expected, 70][: hours - 1]


def test_a_counter_that_began_anew_and_has_more_than_before_counts_from_zero() -> None:
    """All of 1,500 rose within the hour, after 40 of another process."""
    gone = copy([1000, 1100, 1140, nan], [nan, 100, 40, nan])
    new = copy([nan, nan, 1500, 1570], [nan, nan, 1500, 70])

    assert list(merged([gone, new]))[1:] == [100, 1540, 70]


@pytest.mark.parametrize("hours", [2, 3])
def test_a_second_scraper_that_begins_while_the_first_goes_on_adds_nothing(hours: int) -> None:
    """It was 2 behind, and two samples of it were extrapolated to 110."""
    first = copy([1000, 1100, 1200][:hours], [nan, 100, 100][:hours])
    second = copy([nan, 1098, 1198][:hours], [nan, 110, 100][:hours])

    assert list(merged([first, second]))[1:] == [100, 100][: hours - 1]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(
            copy([1000, 1100, 1200, nan], [nan, 100, 100, nan]),
            copy([998, nan, nan, 1300], [nan, nan, nan, 302], {3: 60}),
            [100, 100, 100],
            id="one is back when the other has gone: 100 since that was there",
        ),
        pytest.param(
            copy([1000, 1100, 1200, 1290, nan], [nan, 100, 100, 90, nan]),
            copy([998, nan, nan, 1300, 1400], [nan, nan, nan, 302, 100], {3: 60}),
            [100, 100, 100, 100],
            id="one is back in the hour in which the other goes",
        ),
        pytest.param(
            copy([1000, 1100, nan, 1300], [nan, 100, nan, 200], {3: 90}),
            copy([998, nan, nan, 1298], [nan, nan, nan, 300], {3: 88}),
            [100, nan, 200],
            id="both were away, one for longer",
        ),
        pytest.param(
            copy([nan, nan, 1300], [nan, nan, 200], {2: 90}),
            copy([nan, nan, 1298], [nan, nan, 300], {2: 88}),
            [nan, 200],
            id="both were away since before the chunk",
        ),
        pytest.param(
            copy([1000, 1100, nan, nan], [nan, 100, nan, nan]),
            copy([nan, nan, nan, 1300], [nan, nan, nan, 50]),
            [100, nan, 50],
            id="another begins after an hour without any: what rose in it is not of its hour",
        ),
        pytest.param(
            copy([1000, 1100, nan], [nan, 100, nan]),
            copy([nan, nan, 1200], [nan, nan, 80]),
            [100, 100],
            id="another begins an hour later: 20 rose before",
        ),
        pytest.param(
            copy([1000, 1100, nan], [nan, 100, nan]),
            copy([nan, nan, 80], [nan, nan, 80]),
            [100, 80],
            id="another process begins an hour later",
        ),
    ],
)
def test_replicas_that_were_away_count_no_token_twice(
    first: Rises, second: Rises, expected: Sequence[float]
) -> None:
    """What rose since one was there is counted but for what the other one counted meanwhile."""
    assert list(merged([first, second]))[1:] == pytest.approx(expected, nan_ok=True)


def reader(server: FakePrometheus, survey: Survey, parallel: int = 1) -> HourlyReader:
    return HourlyReader(server.client(), survey, parallel)


def test_each_query_asks_for_whole_hours_of_a_bounded_number() -> None:
    """Hours end a millisecond early; 1,000 hours are asked for in weeks, each with the hour before it."""
    server = FakePrometheus({})
    survey = Survey(Config())
    survey.add_names([{"__name__": "DCGM_FI_DEV_GPU_UTIL", "instance": "a"}])

    chunks = list(reader(server, survey).chunks(0, 1000 * HOUR))

    assert [chunk.hours for chunk in chunks] == [169, 169, 169, 169, 169, 161]
    queries = [query for query in server.ranges if "avg_over_time" in query["query"]]
    assert queries[0]["query"] == "avg_over_time(DCGM_FI_DEV_GPU_UTIL[3599999ms])"
    assert [query["start"] for query in queries[1:3]] == ["604799.999", "1209599.999"]
    assert queries[0]["step"] == "3600.000"


def test_many_series_are_asked_for_some_instances_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine series of three instances, four at most: one instance a query; a dot is no wildcard."""
    monkeypatch.setattr(hourly, "SERIES_MAX", 4)
    server = FakePrometheus({})
    survey = Survey(Config())
    survey.add_names(
        [
            {"__name__": "DCGM_FI_DEV_GPU_UTIL", "instance": f"10.0.0.{host}:9400", "gpu": str(gpu)}
            for host in range(3)
            for gpu in range(3)
        ],
    )

    list(reader(server, survey).chunks(0, HOUR))

    queries = [query["query"] for query in server.ranges if "avg_over_time" in query["query"]]
    assert len(queries) == 3
    assert queries[1] == r'avg_over_time(DCGM_FI_DEV_GPU_UTIL{instance=~"10\\.0\\.0\\.1:9400"}[3599999ms])'


def test_parallel_queries_are_as_many_as_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by default; never more at once than the flag says."""
    monkeypatch.setattr(hourly, "SERIES_MAX", 1)
    survey = Survey(Config())
    survey.add_names(
        [{"__name__": "DCGM_FI_DEV_GPU_UTIL", "instance": f"host-{number}"} for number in range(9)],
    )
    for parallel in (1, 3):
        server = FakePrometheus({}, together=parallel)
        list(reader(server, survey, parallel).chunks(0, HOUR))

        assert server.most_at_once == parallel


def test_a_counter_with_underscores_is_that_of_its_engine() -> None:
    """Prometheus asks for OpenMetrics, for which vLLM's library writes an underscore for the colon."""
    labels = {"instance": "gpu-1:8000", "job": "vllm", "model_name": "llama", "engine": "0"}
    server = FakePrometheus(
        {"last_over_time(vllm_prompt_tokens_total[3599999ms])": [(labels, [(0, 50), (1, 170)])]}
    )
    survey = Survey(Config())
    target = EngineTarget("", "", "", "gpu-1", 8000)
    survey.engines[target] = ENGINES["vllm"]
    survey.add_names([{"__name__": "vllm_prompt_tokens_total", **labels}])

    (chunk,) = reader(server, survey).chunks(HOUR, 2 * HOUR)

    ((page_key, page_column),) = chunk.engines[target].rises.items()
    assert page_key == 'vllm:prompt_tokens_total{engine="0",model_name="llama"}'
    assert page_column.series.labels == {"engine": "0", "model_name": "llama"}
    assert page_column.values[1] == 120


def test_values_that_are_no_readings_and_times_that_were_not_asked_for_are_left_out() -> None:
    """A server may send anything: NaN, infinity, a blank of DCGM, a negative count, another year."""
    labels = {"UUID": "GPU-1", "modelName": "H100", "Hostname": "a", "gpu": "0"}
    name = "DCGM_FI_DEV_GPU_UTIL"
    bad = [float("nan"), float("inf"), 9.2e18, -1.0]
    server = FakePrometheus(
        {
            f"avg_over_time({name}[3599999ms])": [(labels, [*enumerate(bad), (4, 50.0)])],
            f"count_over_time({name}[3599999ms])": [(labels, [*enumerate(bad), (4, 120.0)])],
        },
        elsewhere=((labels, [(10_000.0, 1.0), (-5_000.0, 1.0)]),),
    )
    survey = Survey(Config())
    survey.add_names([{"__name__": name, **labels}])

    (chunk,) = reader(server, survey).chunks(0, 5 * HOUR)

    (hours,) = chunk.gpus.values()
    assert [isnan(value) for value in hours.means["utilization"]] == [True] * 5 + [False]
    assert [isnan(value) for value in hours.count] == [True] * 5 + [False]
    assert (hours.means["utilization"][5], hours.count[5]) == (0.5, 120)


def test_a_counter_of_energy_never_began_at_zero(tmp_path: Path) -> None:
    """It counts since the driver was loaded: a card that is cut in instances has 2.07e15 mJ at once.

    The instance rises by 7,200,000 mJ in its second hour, which are 7,200 J.
    """
    config = configured(tmp_path, PRICES.replace("2}}", "2}, energy: {dollars_per_kilowatt_hour: 1}}"))
    name = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
    card = {"UUID": "GPU-1", "modelName": "H100", "Hostname": "a", "gpu": "0", "instance": "a:9400"}
    part = {**card, "GPU_I_ID": "1", "GPU_I_PROFILE": "3g.40gb"}
    server = FakePrometheus(
        {
            f"last_over_time({name}[3599999ms])": [
                (card, [(0, 2.07e15), (1, 2.07e15)]),
                (part, [(2, 2.07e15), (3, 2.07e15 + 7_200_000)]),
            ]
        }
    )
    survey = Survey(config)
    survey.add_names([{"__name__": name, **card}, {"__name__": name, **part}])

    (chunk,) = reader(server, survey).chunks(HOUR, 4 * HOUR)

    joules = {series.instance: list(hours.joules) for series, hours in chunk.gpus.items()}
    assert joules["1"][2:] == [0, 7200]


LAST = "last_over_time(vllm:prompt_tokens_total[3599999ms])"
PAGE = {"model_name": "llama", "engine": "0"}
POD = {"namespace": "llm", "pod": "chat-0", "instance": "10.1.0.7:8000"}


def rises_of_an_engine(
    answer: Sequence[tuple[Mapping[str, str], Values]], targets: Sequence[Mapping[str, str]]
) -> tuple[list[float], dict[str, str]]:
    """How far its one counter rose in the hours after the first, and the labels of its page."""
    name = "vllm:prompt_tokens_total"
    series = [{"__name__": name, **labels} for labels, _ in answer]
    server = FakePrometheus({LAST: answer}, [*series, *({"__name__": "up", **each} for each in targets)])
    survey = SurveyReader(server.client(), Config(), HOUR, 3 * HOUR).read(lambda _what, _part: None)
    (chunk,) = reader(server, survey).chunks(HOUR, 3 * HOUR)
    ((risen,),) = [list(hours.rises.values()) for hours in chunk.engines.values()]
    return list(risen.values)[1:], dict(risen.series.labels)


def test_a_label_that_a_running_target_gets_does_not_count_its_tokens_anew() -> None:
    """At a thousand million tokens it gets env="prod": its series is another. 1.5 and 0.5 million."""
    target = {"instance": "gpu-1:8000", "job": "vllm"}
    labeled = {**target, "env": "prod"}
    answer = [
        ({**PAGE, **target}, [(0, 1.0e9), (1, 1.0010e9)]),
        ({**PAGE, **labeled}, [(1, 1.0015e9), (2, 1.0020e9)]),
    ]

    assert rises_of_an_engine(answer, [target, labeled]) == ([1.5e6, 0.5e6], PAGE)


def test_two_jobs_that_scrape_one_pod_with_other_labels_count_once() -> None:
    """A PodMonitor, and a job of annotations whose labelmap copies all labels of the pod."""
    monitor = {**POD, "job": "llm/chat", "endpoint": "http"}
    mapped = {**POD, "job": "kubernetes-pods", "app": "chat", "pod_template_hash": "7d9f8b6c5d"}
    values = [(0, 1000.0), (1, 1400.0), (2, 1900.0)]

    assert rises_of_an_engine(
        [({**PAGE, **monitor}, values), ({**PAGE, **mapped}, values)], [monitor, mapped]
    ) == ([400, 500], PAGE)


class Thanos(FakePrometheus):
    """It keeps scraped samples from one hour on, those of five minutes from another, and so on.

    `first` are these hours by the resolution that is asked for, of which the coarser has the finer ones too.
    """

    def __init__(
        self, ranges: Mapping[str, Sequence[tuple[Mapping[str, str], Values]]], **first: int
    ) -> None:
        super().__init__(ranges)
        self._first_hours = {"0.000": first["raw"], "300.000": first["minutes"], "3600.000": first["hours"]}

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(super().answer(request).content)
        resolution = self.ranges[-1].get("max_source_resolution", "0.000")
        for series in body["data"]["result"]:
            series["values"] = [
                value for value in series["values"] if value[0] >= self._first_hours[resolution] * 3600
            ]
        body["data"]["result"] = [series for series in body["data"]["result"] if series["values"]]
        return httpx.Response(200, json=body)


@pytest.mark.parametrize(
    ("first_hours", "resolution"),
    [
        ({"raw": 0, "minutes": 0, "hours": 0}, 0),
        ({"raw": 4, "minutes": 0, "hours": 0}, 300),
        ({"raw": 4, "minutes": 3, "hours": 0}, 3600),
        ({"raw": 4, "minutes": 4, "hours": 4}, 0),
    ],
    ids=["all was scraped", "minutes are kept longer", "hours are kept longest", "nothing is kept longer"],
)
def test_samples_that_thanos_made_are_read_where_it_has_no_others(
    first_hours: dict[str, int], resolution: int
) -> None:
    """Six hours, of which it keeps all in some form: a querier answers with scraped samples unless asked."""
    labels = {"UUID": "GPU-1", "modelName": "H100", "Hostname": "a", "gpu": "0", "instance": "a:9400"}
    name = "DCGM_FI_DEV_GPU_UTIL"
    hours = range(7)
    server = Thanos(
        {
            "count(up)": [({}, [(hour, 9.0) for hour in hours])],
            f"avg_over_time({name}[3599999ms])": [(labels, [(hour, 50.0) for hour in hours])],
            f"count_over_time({name}[3599999ms])": [(labels, [(hour, 12.0) for hour in hours])],
        },
        **first_hours,
    )
    survey = Survey(Config())
    survey.add_names([{"__name__": name, **labels}])

    (chunk,) = reader(server, survey).chunks(HOUR, 7 * HOUR)

    (gpu,) = chunk.gpus.values()
    read = sum(not isnan(count) for count in gpu.count)
    assert (chunk.resolution // 10**9, read) == (resolution, 7 - first_hours["hours"])


@pytest.mark.parametrize(
    ("name", "family", "good", "bad"),
    [
        ("DCGM_FI_DEV_GPU_UTIL", "utilization", 100.0, 7.7e16),
        ("DCGM_FI_DEV_GPU_UTIL", "utilization", 99.0, 102.0),
        ("DCGM_FI_DEV_FB_USED", "memory", 80_000.0, 7.7e16),
        ("DCGM_FI_DEV_POWER_USAGE", "power", 1200.0, 1.2e12),
    ],
    ids=["one blank in an hour", "above all of it", "of memory", "of power, a blank of floats"],
)
def test_a_mean_that_no_gpu_has_is_no_reading(
    name: str, family: str, good: float, bad: float, tmp_path: Path
) -> None:
    """One of DCGM's blanks among 120 samples of an hour is in their mean."""
    labels = {"UUID": "GPU-1", "modelName": "H100", "Hostname": "a", "gpu": "0", "instance": "a:9400"}
    server = FakePrometheus({f"avg_over_time({name}[3599999ms])": [(labels, [(0, good), (1, bad)])]})
    survey = Survey(configured(tmp_path))
    survey.add_names([{"__name__": name, **labels}])

    (chunk,) = reader(server, survey).chunks(HOUR, 2 * HOUR)

    (hours,) = chunk.gpus.values()
    assert [isnan(value) for value in hours.means[family]] == [False, True]


def test_the_boots_of_a_host_are_those_of_its_node_exporter() -> None:
    """By its address or its label `node`, the largest of an hour; what is no number is none."""
    query = "max_over_time(node_boot_time_seconds[3599999ms])"
    rows = [
        ({"instance": "gpu-1:9100"}, [(1, 500.0), (2, 500.5), (3, 9000.0)]),
        ({"instance": "10.0.0.9:9100", "node": "gpu-2"}, [(2, 700.0), (3, float("nan"))]),
        ({"instance": "elsewhere:9100"}, [(2, 800.0)]),
    ]
    survey = Survey(Config())
    survey.hosts.add(NodeKey("", "gpu-1"))
    (chunk,) = reader(FakePrometheus({query: rows}), survey).chunks(HOUR, 4 * HOUR)

    assert chunk.boots[NodeKey("", "gpu-1")] == {1: 500.0, 2: 500.5, 3: 9000.0}
    assert chunk.boots[NodeKey("", "gpu-2")] == {2: 700.0}
    assert NodeKey("", "elsewhere") not in chunk.boots

"""Hours of one host, cut by the samples of its series: worked by hand, at 120 samples an hour."""

from collections.abc import Sequence
from math import nan

from exporter.finance.history.host_hours import DeviceKey, HostHour, HostSeries
from exporter.finance.history.hourly import Chunk, GpuHours, column
from exporter.finance.history.kube_state import NodeKey, PodName
from exporter.finance.history.survey import GpuSeries
from exporter.readings import Gpu
from tests.kit.units import HOUR, MINUTE

FIRST = 495_000
"""The first hour of the chunk; the column before it is of the hour before."""

CHAT, BATCH = PodName("", "llm", "chat-0"), PodName("", "llm", "batch-0")


def series(
    holder: PodName | None = None, number: int = 0, scraper: str = "a", instance: str = ""
) -> GpuSeries:
    gpu = Gpu(f"GPU-{number}", "H100")
    return GpuSeries(0, NodeKey("", "node-1"), gpu, number, f"index {number}", instance, "", holder, scraper)


def hours(counts: Sequence[float], utilization: float = 0.5) -> GpuHours:
    """Columns with these samples in the hour before the first and in each hour; 0 stands for none."""
    made = GpuHours.empty(len(counts))
    for at, count in enumerate(counts):
        made.count[at] = count or nan
        made.means["utilization"][at] = utilization if count else nan
    return made


def cut(*gpus: tuple[GpuSeries, GpuHours]) -> list[HostHour]:
    """The hours of a host with these series."""
    devices: dict[DeviceKey, dict[GpuSeries, GpuHours]] = {}
    for each, columns in gpus:
        devices.setdefault(DeviceKey.of(each), {})[each] = columns
    return list(HostSeries(devices).hours(Chunk(FIRST, len(gpus[0][1].count))))


def minutes(hour: HostHour) -> list[tuple[int, int, list[tuple[PodName, ...]]]]:
    """The parts of an hour, in minutes of it, with the holders of its GPUs."""
    start = hour.number * HOUR
    return [
        (
            (part.start - start) // MINUTE,
            (part.end - start) // MINUTE,
            [device.holders for device in part.devices],
        )
        for part in hour.parts
    ]


def test_an_hour_with_the_usual_samples_is_one_part() -> None:
    """118 of 120 samples are an hour: scrapes fail now and then. What they cover is less, and is said."""
    (first, second) = cut((series(CHAT), hours([120, 118, 120])))

    assert minutes(first) == [(0, 60, [(CHAT,)])]
    assert first.sampled == round(HOUR * 118 / 120)
    assert second.sampled == HOUR


def test_a_host_that_came_within_an_hour_has_its_end() -> None:
    """30 of 120 samples after an hour without any, before one with all: the last 15 minutes."""
    (first, _) = cut((series(CHAT), hours([0, 30, 120])))

    assert minutes(first) == [(45, 60, [(CHAT,)])]
    assert first.sampled == 15 * MINUTE


def test_a_host_that_went_within_an_hour_has_its_beginning() -> None:
    """30 of 120 samples before an hour without any: the first 15 minutes, and nothing after."""
    (first, second) = cut((series(CHAT), hours([120, 120, 30, 0])))

    assert minutes(first) == [(0, 60, [(CHAT,)])]
    assert minutes(second) == [(0, 15, [(CHAT,)])]


def test_holders_divide_an_hour_by_their_samples() -> None:
    """A pod that held the GPU before has the first third, the one that goes on the rest."""
    (first, _) = cut(
        (series(BATCH), hours([120, 40, 0], utilization=0.9)), (series(CHAT), hours([0, 80, 120]))
    )

    assert minutes(first) == [(0, 20, [(BATCH,)]), (20, 60, [(CHAT,)])]
    assert [part.devices[0].utilization for part in first.parts] == [0.9, 0.5]


def test_a_gpu_that_replaces_another_has_the_rest_of_the_hour() -> None:
    """Half of the samples are of the old board, which goes, and half of the new one, which stays."""
    (first, _) = cut(
        (series(CHAT, 0), hours([120, 60, 0])),
        (series(CHAT, 1), hours([0, 60, 120])),
        (series(None, 2), hours([120, 120, 120])),
    )

    of_part = [[device.series.gpu.uuid for device in part.devices] for part in first.parts]
    assert of_part == [["GPU-0", "GPU-2"], ["GPU-1", "GPU-2"]]
    assert [(start, end) for start, end, _ in minutes(first)] == [(0, 30), (30, 60)]


def test_two_scrapers_of_one_gpu_count_once() -> None:
    """The one with more samples counts: 120 and 60 are one hour, not one and a half."""
    (first, _) = cut(
        (series(CHAT, scraper="a"), hours([60, 60, 60], utilization=0.2)),
        (series(CHAT, scraper="b"), hours([120, 120, 120], utilization=0.4)),
    )

    assert minutes(first) == [(0, 60, [(CHAT,)])]
    assert first.parts[0].devices[0].utilization == 0.4


def test_a_scraper_that_was_renamed_within_an_hour_goes_on() -> None:
    """40 samples under the old job and 80 under the new one are an hour of one GPU."""
    (first, _) = cut(
        (series(CHAT, scraper="old"), hours([120, 40, 0], utilization=0.9)),
        (series(CHAT, scraper="new"), hours([0, 80, 120], utilization=0.3)),
    )

    assert minutes(first) == [(0, 60, [(CHAT,)])]
    assert first.parts[0].devices[0].utilization == (0.9 * 40 + 0.3 * 80) / 120


def test_a_replica_that_begins_before_the_other_ends_holds_no_gpu_twice() -> None:
    """100 samples until minute 50 and 110 from minute 5 on are of one hour, and so is their energy.

    A pod held the GPU until minute 30, and another one then: not both of them for all of the hour.
    """
    columns = {
        (CHAT, "old"): hours([120, 60, 0]),
        (BATCH, "old"): hours([0, 40, 0]),
        (CHAT, "new"): hours([0, 50, 0]),
        (BATCH, "new"): hours([0, 60, 120]),
    }
    for each, joules in zip(columns.values(), (18_000, 12_000, 15_000, 18_000), strict=True):
        each.joules[1] = joules
    (first, _) = cut(*((series(holder, scraper=name), each) for (holder, name), each in columns.items()))

    assert minutes(first) == [(0, 27, [(CHAT,)]), (27, 60, [(BATCH,)])]
    assert [part.devices[0].joules for part in first.parts] == [15_000, 18_000]
    assert (first.samples, first.usual) == (110, 120)


def test_energy_since_a_series_was_there_is_that_of_its_hour_where_another_had_the_others() -> None:
    """A pod comes back to a GPU of 36,000 J an hour, which another one held for an hour."""
    chat, batch = hours([120, 0, 120]), hours([0, 120, 0])
    chat.joules[2], chat.inside[2] = 72_000, 36_000
    batch.joules[1] = 36_000

    reckoned = cut((series(CHAT), chat), (series(BATCH), batch))

    assert [hour.parts[0].devices[0].joules for hour in reckoned] == [36_000, 36_000]


def test_pods_that_share_a_gpu_hold_it_at_once() -> None:
    """Each of two pods has all of its samples: time-slicing repeats the GPU for each of them."""
    (first, _) = cut((series(CHAT), hours([120, 120, 120])), (series(BATCH), hours([120, 120, 120])))

    assert minutes(first) == [(0, 60, [(BATCH, CHAT)])]


def test_another_scrape_interval_is_no_gap() -> None:
    """From one sample a minute to four: both are whole hours."""
    whole = cut((series(CHAT), hours([60, 60, 60, 240, 240])))

    assert [minutes(hour) for hour in whole] == [[(0, 60, [(CHAT,)])]] * 4


def test_instances_of_a_mig_card_are_apart() -> None:
    """Each instance has its own holder."""
    (first,) = cut(
        (series(CHAT, instance="1"), hours([120, 120])), (series(None, instance="2"), hours([120, 120]))
    )

    assert minutes(first) == [(0, 60, [(CHAT,), ()])]


def test_columns_without_samples_are_no_hours() -> None:
    """A host that was seen in none of the hours has none."""
    assert cut((series(CHAT), hours([120, 0, 0]))) == []
    assert column(2)[0] != 0

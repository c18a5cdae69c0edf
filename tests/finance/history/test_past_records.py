"""Records of the past: what dashboards read, up to the first sample of ours, under their own ledger."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import pytest
import yaml

from exporter.config.settings import cost_policy
from exporter.cost.postings import CostOwner
from exporter.finance.facts import Fact
from exporter.finance.history.kube_state import NodeKey
from exporter.finance.history.past_host import PastHost
from exporter.finance.history.past_records import NAMES, PREFIX, PastRecords, Seam, find_seam
from exporter.finance.history.reckoning import HourFact, Reckoning
from exporter.finance.prometheus.client import PrometheusClient, QuerySample, QuerySeries
from exporter.readings import HostLocation
from tests.finance.history.chunks import NOVEMBER, PRICES, HourlyFleet, configured
from tests.kit.units import DOLLAR, HOUR, SECOND

ROOT = Path(__file__).parents[3]
CHAT = {"exported_namespace": "llm", "exported_pod": "chat-0"}
LINE = re.compile(r"(?P<name>[a-z0-9_:]+)\{(?P<labels>.*)\} (?P<value>\S+) (?P<at>\d+)")

Samples = dict[str, dict[int, float]]
"""Values by second since the epoch, by series without its ledger."""


def written(folder: Path, hours: int, seam: Seam | None = None, zone: str = "UTC") -> Samples:
    """The samples of a chat of one GPU, half busy, and of a free one, at 2 dollars."""
    config = configured(folder, f"timezone: {zone}\n{PRICES}")
    fleet = HourlyFleet(config, hours)
    fleet.gpu(0, **CHAT)
    fleet.gpu(1, utilization=0, memory=3e6)
    fleet.server(
        {"vllm:prompt_tokens_total": [7200] * hours}, namespace="llm", pod="chat-0", instance="10.1.0.7:8000"
    )
    file = io.StringIO()
    since, until = NOVEMBER * HOUR, (NOVEMBER + hours) * HOUR
    records = PastRecords(file, "http://a.example", ZoneInfo(zone), seam or Seam(), since, until)
    Reckoning(config, fleet.survey, until, records.add).add(fleet.chunk)
    records.flush()
    counted = records.close()
    samples = samples_of(file)
    assert (counted.series, counted.samples) == (len(samples), sum(map(len, samples.values())))
    assert file.getvalue().endswith("# EOF\n")
    return samples


def samples_of(file: io.StringIO) -> Samples:
    """What a file holds, each line with a ledger of the past."""
    samples: Samples = {}
    for line in file.getvalue().splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        labels = re.sub(rf',?ledger="{PREFIX}[0-9a-f]+"', "", match["labels"])
        assert labels != match["labels"]
        samples.setdefault(f"{match['name']}{{{labels}}}", {})[int(match["at"])] = float(match["value"])
    return samples


def test_rates_stand_each_five_minutes_of_their_hour(tmp_path: Path) -> None:
    """4 dollars an hour, 2 of them of the chat and half of these idle; two tokens a second."""
    samples = written(tmp_path, 2)
    start = NOVEMBER * 3600

    assert samples["inference:spend_dollars_per_hour{}"] == {
        start + offset: 4.0 for offset in range(0, 7200, 300)
    }
    owner = 'product="unassigned",team="unassigned"'
    idle = samples[f'inference:waste_dollars_per_hour:server{{{owner},namespace="llm",server="chat"}}']
    assert set(idle.values()) == {1.0}
    free = samples[f'inference:waste_dollars_per_hour:server{{{owner},server="unallocated"}}']
    assert set(free.values()) == {2.0}
    rate = samples[f'inference:model_tokens:rate5m{{{owner},model="llama",kind="prompt"}}']
    assert set(rate.values()) == {2.0}
    priced = samples['inference:gpus_priced:model{gpu_model="H100"}']
    price = samples['inference:gpu_price_dollars_per_hour:model{gpu_model="H100"}']
    assert set(priced.values()) == {2.0}
    assert set(price.values()) == {4.0}


def test_an_outage_has_the_rates_of_the_time_around_it(tmp_path: Path) -> None:
    """Nothing was scraped in the third hour and the fourth: dollars and tokens rise in them as ever."""
    fleet = HourlyFleet(configured(tmp_path), 6)
    fleet.gpu(0, counts=[120, 120, 120, 0, 0, 120, 120], **CHAT)
    rises = [7200, 7200, -1, -1, 3 * 7200, 7200]
    fleet.server({"vllm:prompt_tokens_total": rises}, namespace="llm", pod="chat-0", instance="10.1.0.7:8000")
    file = io.StringIO()
    until = (NOVEMBER + 6) * HOUR
    records = PastRecords(file, "http://a.example", ZoneInfo("UTC"), Seam(), NOVEMBER * HOUR, until)
    Reckoning(fleet.config, fleet.survey, until, records.add).add(fleet.chunk)
    records.flush()
    records.close()
    samples = samples_of(file)

    owner = 'product="unassigned",team="unassigned"'
    rate = samples[f'inference:model_tokens:rate5m{{{owner},model="llama",kind="prompt"}}']
    dollars = samples["inference:spend_dollars_per_hour{}"]
    for values, each in ((rate, 2.0), (dollars, 2.0)):
        assert values == {NOVEMBER * 3600 + offset: each for offset in range(0, 6 * 3600, 300)}


def test_a_month_grows_to_its_sum(tmp_path: Path) -> None:
    """It is 0 at its start, 2 dollars after half an hour and 4 after one."""
    month = written(tmp_path, 2)['inference:month_to_date_dollars{month="2026-11"}']
    start = NOVEMBER * 3600

    assert [month[start + offset] for offset in (0, 1800, 3600)] == [0.0, 2.0, 4.0]


CLOSED = "inference:closed_month_dollars"
DECEMBER = NOVEMBER + 30 * 24


def closed(samples: Samples) -> Samples:
    """What is said of months that are over."""
    return {name: values for name, values in samples.items() if name.startswith(CLOSED)}


def in_december(folder: Path, since: int, first: int) -> Samples:
    """7 dollars in the first hour that has data, and 5 in the first two hours of December each."""
    config = configured(folder)
    where = HostLocation()
    host = PastHost(NodeKey("", "node-1"), where, cost_policy(config, "node-1", where), first=first * HOUR)
    owner = CostOwner("search", "web", "llm", "chat", "llama")
    file = io.StringIO()
    until = DECEMBER + 2
    records = PastRecords(file, "http://a.example", ZoneInfo("UTC"), Seam(), since * HOUR, until * HOUR)
    for hour, month, dollars in ((first, 11, 7), (DECEMBER, 12, 5), (DECEMBER + 1, 12, 5)):
        money = Fact("money of owners", dollars * DOLLAR, f"2026-{month}-01", *owner, phase="decode")
        records.add(host, [HourFact(hour, money)])
    records.flush()
    records.close()
    return samples_of(file)


@pytest.mark.parametrize("late", [0, 1])
def test_a_closed_month_keeps_its_sum(tmp_path: Path, late: int) -> None:
    """By owner and as an estimate. Data that begin after an hour are of the whole month."""
    samples = in_december(tmp_path, NOVEMBER, NOVEMBER + late)

    hours = range(DECEMBER * 3600, (DECEMBER + 2) * 3600, 300)
    assert closed(samples) == {
        f'{CLOSED}:owner{{month="2026-11",product="search",team="web"}}': dict.fromkeys(hours, 7.0),
        f'{CLOSED}:price_basis{{month="2026-11",price_basis="estimate"}}': dict.fromkeys(hours, 7.0),
    }


@pytest.mark.parametrize(
    ("since", "first"),
    [
        pytest.param(NOVEMBER + 1, NOVEMBER + 1, id="asked for in part"),
        pytest.param(NOVEMBER, NOVEMBER + 2, id="data begin later"),
    ],
)
def test_a_month_that_was_read_in_part_is_not_closed(tmp_path: Path, since: int, first: int) -> None:
    """Closed months are compared with invoices: a part of one would be taken for all of it."""
    samples = in_december(tmp_path, since, first)

    assert closed(samples) == {}
    december = samples['inference:month_to_date_dollars{month="2026-12"}']
    assert december[(DECEMBER + 1) * 3600] == 5.0


def test_a_month_begins_at_midnight_of_its_time_zone(tmp_path: Path) -> None:
    """October has four hours of these in New York; it was read in part."""
    samples = written(tmp_path, 6, zone="America/New_York")

    october = samples['inference:month_to_date_dollars{month="2026-10"}']
    assert max(october) == (NOVEMBER + 4) * 3600 - 300
    assert closed(samples) == {}


def test_the_past_is_last_seen_when_our_own_record_begins(tmp_path: Path) -> None:
    """A sample is seen for five minutes: the last one is five minutes and a second before ours."""
    begins = (NOVEMBER * 3600 + 5000) * SECOND
    seam = Seam({("inference:spend_dollars_per_hour", ""): begins})
    samples = written(tmp_path, 2, seam)

    spend = samples["inference:spend_dollars_per_hour{}"]
    assert max(spend) == NOVEMBER * 3600 + 5000 - 301
    assert sorted(spend)[-2:] == [NOVEMBER * 3600 + 4500, NOVEMBER * 3600 + 4699]
    other = samples['inference:month_to_date_dollars{month="2026-11"}']
    assert max(other) == NOVEMBER * 3600 + 6900


class _Rules:
    """A server on which our own records of one cluster begin at a moment."""

    def __init__(self, begins: int) -> None:
        self.begins = begins

    def label_sets(self, selector: str, _start: int, _end: int) -> tuple[dict[str, str], ...]:
        assert 'ledger=""' in selector
        return ({"__name__": "inference:spend_dollars_per_hour", "cluster": "a"},)

    def range(
        self,
        query: str,
        start: int,
        end: int,
        step: int,
        _progress: Callable[[int], None] = print,
        *,
        coarsest: int,
    ) -> Iterator[QuerySeries]:
        assert coarsest in (0, HOUR)
        window = 3600 * SECOND if "last_over_time" in query else 300 * SECOND
        times = [at for at in range(start, end + 1, step) if self.begins <= at < end + window]
        if times:
            yield QuerySeries({"cluster": "a"}, tuple(QuerySample(at, "1") for at in times))


def test_the_seam_is_the_first_sample_of_ours_by_cluster() -> None:
    """It is taken for up to 15 seconds earlier than it is, and never for later."""
    begins = (NOVEMBER * 3600 + 3 * 3600 + 1234) * SECOND
    client = cast("PrometheusClient", _Rules(begins))
    seam = find_seam(client, NOVEMBER * HOUR, (NOVEMBER + 24) * HOUR)

    first = seam.of("inference:spend_dollars_per_hour", "a")
    assert first is not None
    assert begins - 15 * SECOND <= first <= begins
    assert seam.of("inference:spend_dollars_per_hour", "b") is None


def test_every_record_is_one_of_the_rules_and_no_rule_reads_it() -> None:
    """Rules select records without a ledger: neither a budget nor an alert counts the past."""
    texts = [
        (ROOT / "deploy" / "prometheus" / name).read_text()
        for name in ("cluster-rules.yml", "fleet-rules.yml")
    ]
    rules = [rule for text in texts for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}

    assert set(NAMES) <= recorded
    read = re.compile(rf"(?<![\w:])({'|'.join(NAMES)})(?![\w:])(?!\{{ledger=\"\")")
    assert [rule["expr"] for rule in rules if read.search(rule["expr"])] == []


def test_every_record_is_read_by_a_dashboard() -> None:
    """What nobody reads is not written."""
    boards = "".join(path.read_text() for path in (ROOT / "dashboards").glob("*.json"))

    assert [name for name in NAMES if not re.search(rf"(?<![\w:]){name}(?![\w:])", boards)] == []


UNPRICED = "inference:model_unpriced"


def of_three_models(folder: Path, seam: Seam | None = None) -> Samples:
    """Two hours: one model on a priced GPU, one on that and an unpriced one, and one without any GPU."""
    config = configured(folder, f"unmatched_hardware: unpriced\n{PRICES}")
    fleet = HourlyFleet(config, 2)
    tokens = {"vllm:prompt_tokens_total": [7200, 7200]}
    for number, (name, gpu_model) in enumerate((("chat", "H100"), ("both", "H100"), ("both", "L4"))):
        pod = {"exported_namespace": "llm", "exported_pod": f"{name}-0"}
        fleet.gpu(number, modelName=gpu_model, **pod)
    for name in ("chat", "both", "lost"):
        fleet.server(tokens, model=name, namespace="llm", pod=f"{name}-0", instance=f"{name}:8000")
    file = io.StringIO()
    until = (NOVEMBER + 2) * HOUR
    records = PastRecords(file, "http://a.example", ZoneInfo("UTC"), seam or Seam(), NOVEMBER * HOUR, until)
    Reckoning(config, fleet.survey, until, records.add).add(fleet.chunk)
    records.flush()
    records.close()
    return samples_of(file)


def test_a_model_with_a_gpu_without_a_price_is_marked(tmp_path: Path) -> None:
    """So that the dashboards show no price of it: a part of its dollars is missing, or all of them are."""
    hours = range(NOVEMBER * 3600, (NOVEMBER + 2) * 3600, 300)
    marked = {each: of for each, of in of_three_models(tmp_path).items() if each.startswith(UNPRICED)}

    assert marked == {
        f'{UNPRICED}{{model="both"}}': dict.fromkeys(hours, 1.0),
        f'{UNPRICED}{{model="lost"}}': dict.fromkeys(hours, 1.0),
    }


def test_the_mark_ends_where_our_own_dollars_begin(tmp_path: Path) -> None:
    """Ours has no such record while all is priced: it would mark the present too."""
    begins = (NOVEMBER * 3600 + 3600) * SECOND
    samples = of_three_models(tmp_path, Seam({("inference:model_cost_dollars:1h", ""): begins}))

    assert max(samples[f'{UNPRICED}{{model="both"}}']) == NOVEMBER * 3600 + 3600 - 301


def test_an_hour_of_many_servers_adds_up_exactly(tmp_path: Path) -> None:
    """Ten at 0.1 dollars, each a tenth of the hour on one GPU: 1 dollar and 1 GPU."""
    config = configured(tmp_path)
    where = HostLocation()
    host = PastHost(NodeKey("", "node-1"), where, cost_policy(config, "node-1", where), first=NOVEMBER * HOUR)
    file = io.StringIO()
    since, until = NOVEMBER * HOUR, (NOVEMBER + 1) * HOUR
    records = PastRecords(file, "http://a.example", ZoneInfo("UTC"), Seam(), since, until)
    gpu: dict[str, str] = {"uuid": "GPU-0", "gpu_model": "H100"}
    day = "2026-11-01"
    for part in range(10):
        owner = CostOwner("search", "web", "llm", f"chat-{part}", "llama")
        facts = (
            Fact("money of owners", DOLLAR // 10, day, *owner, phase="decode"),
            Fact("money of GPUs", DOLLAR // 10, day, component="rent", **gpu),
            Fact("priced time", HOUR // 10, day, "search", "web", **gpu),
            Fact("tokens", 360, day, *owner, kind="generation"),
        )
        records.add(host, [HourFact(NOVEMBER, fact) for fact in facts])
    records.flush()
    records.close()
    samples = samples_of(file)

    of_team = 'product="search",team="web"'
    for name, value in (
        ("inference:spend_dollars_per_hour{}", 1.0),
        (f"inference:spend_dollars_per_hour:owner{{{of_team}}}", 1.0),
        ('inference:gpus_priced:model{gpu_model="H100"}', 1.0),
        ('inference:gpu_price_dollars_per_hour:model{gpu_model="H100"}', 1.0),
        (f'inference:model_tokens:rate5m{{{of_team},model="llama",kind="generation"}}', 1.0),
    ):
        assert set(samples[name].values()) == {value}, name

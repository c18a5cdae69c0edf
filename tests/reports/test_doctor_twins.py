"""One engine by two addresses is counted twice; the doctor sees it by what both tell."""

from dataclasses import replace

from exporter.config.settings import Config
from exporter.cost.policy import CostPolicy
from exporter.readings import CounterReading, ServerKey, ServerReading
from exporter.reports.diagnosis import DoctorInput, ServerAnswer
from exporter.reports.doctor import diagnose
from exporter.tariff.tariff import Tariff

CONTAINER, PROXY = "http://10.0.0.5:8080/metrics", "http://10.0.0.5:9088/metrics"
TWICE = (
    f"{CONTAINER} and {PROXY} seem to show the counters of one process, which would be counted twice: "
    "remove one of them."
)


def read(url: str, tokens: float, identity: str = "started 1795560120.25") -> ServerReading:
    counters = (CounterReading("prompt_tokens_total", "m", "prompt", tokens),)
    key = ServerKey("", f"llama-{url[16:20]}")
    return ServerReading(key, url, up=True, engine="vllm", identity=identity, counters=counters)


def warned(*readings: ServerReading) -> list[str]:
    inputs = DoctorInput((), "", tuple(ServerAnswer(reading) for reading in readings), "", "")
    actual = diagnose(Config(), CostPolicy(Tariff("h1")), inputs, 0).findings
    return [finding.text for finding in actual if "counters of one process" in finding.text]


def test_the_page_of_a_proxy_is_that_of_its_container() -> None:
    """KServe's queue proxy repeats it at another port; between two reads counters move a little."""
    assert warned(read(CONTAINER, 1000), read(PROXY, 1000)) == [TWICE]
    assert warned(read(CONTAINER, 1000), read(PROXY, 1010)) == [TWICE]


def test_replicas_are_not_one_process() -> None:
    """Of several that were started at once the counts tell, and where nothing was served, nobody does."""
    one = read(CONTAINER, 1000)
    assert warned(one, read(PROXY, 1011)) == []
    assert warned(one, read(PROXY, 1000, "started 1795560120.26")) == []
    assert warned(read(CONTAINER, 1000, ""), read(PROXY, 1000, "")) == []
    assert warned(read(CONTAINER, 0), read(PROXY, 0)) == []
    other = replace(one.counters[0], series='prompt_tokens_total{engine="1"}')
    assert warned(one, replace(read(PROXY, 1000), counters=(other,))) == []

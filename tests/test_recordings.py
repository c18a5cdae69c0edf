"""Recordings of real servers: what they said, and what the daemon made of it."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.engines import (
    ENGINES,
    EVERYTHING,
    TALLIED,
    GatewaySpec,
    count_gateway,
    interpret,
    match,
    read,
    recognize,
    wanted,
)
from exporter.readings import KINDS, ServerKey, ServerReading
from exporter.sources.https_client import HttpsClient
from exporter.sources.server import ServerSource, Target
from tests.kit.clock import clock_at

RECORDINGS = Path(__file__).parent / "recordings"
FOLDERS = sorted({path.parent for path in RECORDINGS.glob("*/*.prom")})
RECORDED = [path for path in FOLDERS if (path / "manifest.json").is_file()]
DIVIDED = [path for path in FOLDERS if (path / "told.json").is_file()]
STORIES = [path for path in FOLDERS if path not in RECORDED + DIVIDED]

NOTHING = {"prompt": 0, "cached_prompt": 0, "generation": 0}
DYNAMO = {"prompt": 1299 + 4 - 896, "cached_prompt": 896, "generation": 390 + 1}
"""Who hung up had 4 tokens read, and one written, which came."""
EXPECTED = {
    "llamacpp-7e4c0a9": {"prompt": 774 - 560, "cached_prompt": 560, "generation": 8400},
    "dynamo-frontend-1.6.1": DYNAMO,
    "dynamo-1.6.1-vllm-0.31.0": DYNAMO,
    # Who hung up had 4 tokens read, 3 of them cached, and 3 written. SGLang tells one token fewer of each of
    # 13 answers that were cut at their longest length, and of the one that nobody waited for.
    "sglang-0.5.23": {
        "prompt": 1299 + 4 - 1076 - 3,
        "cached_prompt": 1076 + 3,
        "generation": 345 + 3 - 13 - 1,
    },
    # Who hung up had 4 tokens read, and one written with MAX, 7 with Ray.
    "max-26.7.0": {"prompt": 1299 + 4 - 896, "cached_prompt": 896, "generation": 354 + 1},
    "ray-2.60.0": {"prompt": 1299 + 4 - 896, "cached_prompt": 896, "generation": 350 + 7},
    # Who hung up is not counted: its usage comes at the end. Cached tokens are within the prompts.
    "xinference-4.1.0": {"prompt": 1299, "cached_prompt": 0, "generation": 364},
    "infinity-0.0.78": NOTHING,
    "kserve-0.21.0": NOTHING,
}
"""What clients were told meanwhile in the answers themselves, all in all."""

ANSWERED = {
    "dynamo-frontend-1.6.1": 17,
    "dynamo-1.6.1-vllm-0.31.0": 17 - 3,  # the frontend ends at a letter what goes on in the worker
    "ray-2.60.0": 17,
    "xinference-4.1.0": 17 + 1,  # with the one that nobody waited for: streams count when they begin
    "sglang-0.5.23": 17 + 1,  # with the one that nobody waited for
    "infinity-0.0.78": 6,
    "kserve-0.21.0": 5,
}
"""How many answers they had, where the server counts them."""


def expected_of(page: Path) -> dict[str, float]:
    """Tokens by kind that our engines read on a page."""
    body = page.read_bytes()
    engine = recognize(read(body, EVERYTHING))
    assert engine is not None
    counters = interpret(engine, read(body, wanted(engine))).counters
    return {
        kind: sum(counter.sign * counter.value for counter in counters if counter.quantity == kind)
        for kind in KINDS
    }


def counted_by_team(page: Path) -> dict[str, dict[str, float]]:
    """What a gateway's page tells of each team."""
    totals = read(page.read_bytes(), TALLIED)
    gateway = match(totals)
    assert isinstance(gateway, GatewaySpec)
    counted: dict[str, dict[str, float]] = {}
    for counter in count_gateway(gateway, totals).counters:
        of_team = counted.setdefault(counter.team, {"prompt": 0, "generation": 0})
        of_team[counter.quantity] += counter.value
    return counted


def metered(page: Path) -> dict[str, float]:
    """Tokens by kind on a page of the daemon."""
    return {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(page.read_text(encoding="utf-8"))
        for sample in family.samples
        if sample.name == "inference_tokens_total"
    }


def replayed(folder: Path, manifest: dict[str, Any]) -> list[ServerReading]:
    """What is read of a server that says again what was recorded."""
    engine = ENGINES[manifest["engine"]]
    pages = iter(manifest["pages"])

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == engine.default_path:
            page = next(pages)
            headers = {engine.identity_header: page["process"]} if page["process"] else {}
            return respond(page["file"], headers)
        file = manifest["answers"].get(path.removeprefix("/"))
        return httpx.Response(404) if file is None else respond(file, {})

    def respond(file: str, headers: dict[str, str]) -> httpx.Response:
        return httpx.Response(200, headers=headers, content=iter([(folder / file).read_bytes()]))

    client = HttpsClient(httpx.Client(transport=httpx.MockTransport(answer)))
    source = ServerSource(
        Target(ServerKey("", "recorded"), "http://recorded", engine.name), client, clock_at(0)
    )
    readings = [source.read() for _ in manifest["pages"]]
    source.close()
    client.close()
    return readings


def sums(reading: ServerReading) -> dict[str, dict[str, float]]:
    """A reading's counters by model and quantity, reckoned here and not by what wrote the manifest."""
    totals: dict[str, dict[str, float]] = {}
    for counter in reading.counters:
        of_model = totals.setdefault(counter.model, {})
        of_model[counter.quantity] = of_model.get(counter.quantity, 0) + counter.sign * counter.value
    return totals


def test_there_are_recordings() -> None:
    """An empty folder would pass every other test here."""
    assert RECORDED != []
    assert STORIES != []
    assert DIVIDED != []


@pytest.mark.parametrize("folder", STORIES, ids=lambda folder: folder.name)
def test_what_was_served_is_what_was_metered(folder: Path) -> None:
    """The rise of a server's counters, read again today, is what the daemon had counted live."""
    cold, served = expected_of(folder / "cold.prom"), expected_of(folder / "served.prom")
    rise = {kind: served[kind] - cold[kind] for kind in KINDS}
    assert rise == metered(folder / "metrics.prom")
    assert min(rise.values()) > 1000


@pytest.mark.parametrize("folder", DIVIDED, ids=lambda folder: folder.name)
def test_what_a_gateway_counted_is_what_clients_were_told(folder: Path) -> None:
    """By team, to the token; and with what went past the gateway it is what the server counted."""
    teams: dict[str, dict[str, float]] = json.loads((folder / "told.json").read_bytes())
    cold, served = expected_of(folder / "cold-server.prom"), expected_of(folder / "served-server.prom")
    everybody = {kind: sum(team[kind] for team in teams.values()) for kind in ("prompt", "generation")}
    assert served["prompt"] + served["cached_prompt"] - cold["prompt"] == everybody["prompt"] > 1000
    assert served["generation"] - cold["generation"] == everybody["generation"] > 1000

    del teams["past the gateway"]
    assert counted_by_team(folder / "cold-gateway.prom") == {}
    assert counted_by_team(folder / "served-gateway.prom") == teams


LATER = {"preemptions"}
"""Quantities that were not read when a recording was made."""


def without_later(quantities: dict[str, float]) -> dict[str, float]:
    return {quantity: value for quantity, value in quantities.items() if quantity not in LATER}


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_a_recording_is_read_today_as_it_was_live(folder: Path) -> None:
    """Every page of it, by model and quantity: neither the mask nor a later description changed a number."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["format"] == 1
    assert manifest["pages"] != []
    for reading, page in zip(replayed(folder, manifest), manifest["pages"], strict=True):
        assert reading.engine_version == manifest["version"]
        assert sums(reading).keys() == page["counted"].keys()
        for model, quantities in sums(reading).items():
            assert without_later(quantities) == pytest.approx(page["counted"][model], rel=1e-12, abs=0)
        loads = {load.model: (load.running, load.waiting) for load in reading.loads}
        assert loads == {
            model: (load.get("running"), load.get("waiting")) for model, load in page["requests"].items()
        }


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_a_recording_is_of_a_server_at_work(folder: Path) -> None:
    """Time goes on from page to page, and something was counted; what clients were told is what rose."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    moments = [page["after_seconds"] for page in manifest["pages"]]
    assert moments[0] == 0
    assert all(before < after for before, after in pairwise(moments))
    first, last = (
        {
            quantity: math.fsum(counted.get(quantity, 0) for counted in page["counted"].values())
            for quantity in (*KINDS, "requests")
        }
        for page in (manifest["pages"][0], manifest["pages"][-1])
    )
    rise = {kind: last[kind] - first[kind] for kind in KINDS}
    answered = last["requests"] - first["requests"]
    assert manifest["pages"][0]["counted"] != manifest["pages"][-1]["counted"]
    assert rise == EXPECTED.get(folder.name, rise)
    assert answered == ANSWERED.get(folder.name, answered)


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_a_recording_holds_nothing_else(folder: Path) -> None:
    """A file that the manifest does not name is read by nobody, and may hold anything."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    named = {page["file"] for page in manifest["pages"]} | set(manifest["answers"].values())
    assert {path.name for path in folder.iterdir()} == named | {"manifest.json"}
    engine = recognize(read((folder / manifest["pages"][-1]["file"]).read_bytes(), EVERYTHING))
    assert engine is not None
    assert engine.name == manifest["engine"]

"""Recordings of real servers: what they said, and what the daemon made of it."""

import json
import math
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.engines import ENGINES, EVERYTHING, interpret, read, recognize, wanted
from exporter.readings import KINDS, ServerKey, ServerReading
from exporter.sources.secure import SecureClient
from exporter.sources.server import ServerSource
from exporter.units import Instant, Nanoseconds

RECORDINGS = Path(__file__).parent / "recordings"
FOLDERS = sorted(path for path in RECORDINGS.iterdir() if path.is_dir())
RECORDED = [path for path in FOLDERS if (path / "manifest.json").is_file()]
STORIES = [path for path in FOLDERS if path not in RECORDED]

TOLD = {"llamacpp-7e4c0a9": {"prompt": 774 - 560, "cached_prompt": 560, "generation": 8400}}
"""What clients were told meanwhile in the answers themselves, all in all."""


def told(page: Path) -> dict[str, float]:
    """Tokens by kind that our engines read on a page."""
    body = page.read_bytes()
    engine = recognize(read(body, EVERYTHING))
    assert engine is not None
    counters = interpret(engine, read(body, wanted(engine))).counters
    return {
        kind: sum(counter.sign * counter.value for counter in counters if counter.quantity == kind)
        for kind in KINDS
    }


def metered(page: Path) -> dict[str, float]:
    """Tokens by kind on a page of the daemon."""
    return {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(page.read_text(encoding="utf-8"))
        for sample in family.samples
        if sample.name == "inference_tokens_total"
    }


class Frozen:
    """A clock that stands still: what is read again takes no time."""

    def elapsed(self) -> Nanoseconds:
        return 0

    def awake(self) -> Nanoseconds:
        return 0

    def boot(self) -> str:
        return ""

    def wall(self) -> Instant:
        return 0

    def synchronized(self) -> bool:
        return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        raise NotImplementedError


def replayed(folder: Path, manifest: dict[str, Any]) -> list[ServerReading]:
    """What is read of a server that says again what was recorded."""
    engine = ENGINES[manifest["engine"]]
    pages = iter(manifest["pages"])

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == engine.default_path:
            page = next(pages)
            headers = {engine.identity_header: page["process"]} if page["process"] else {}
            return said(page["file"], headers)
        file = manifest["answers"].get(path.removeprefix("/"))
        return httpx.Response(404) if file is None else said(file, {})

    def said(file: str, headers: dict[str, str]) -> httpx.Response:
        return httpx.Response(200, headers=headers, content=iter([(folder / file).read_bytes()]))

    client = SecureClient(httpx.Client(transport=httpx.MockTransport(answer)))
    source = ServerSource(ServerKey("", "recorded"), "http://recorded", client, Frozen(), engine=engine.name)
    readings = [source.read() for _ in manifest["pages"]]
    source.close()
    client.close()
    return readings


def sums(reading: ServerReading) -> dict[str, dict[str, float]]:
    """A reading's counters by model and quantity, reckoned here and not by what wrote the manifest."""
    found: dict[str, dict[str, float]] = {}
    for counter in reading.counters:
        of_model = found.setdefault(counter.model, {})
        of_model[counter.quantity] = of_model.get(counter.quantity, 0) + counter.sign * counter.value
    return found


def test_there_are_recordings() -> None:
    """An empty folder would pass every other test here."""
    assert RECORDED != []
    assert STORIES != []


@pytest.mark.parametrize("folder", STORIES, ids=lambda folder: folder.name)
def test_what_was_served_is_what_was_metered(folder: Path) -> None:
    """The rise of a server's counters, read again today, is what the daemon had counted live."""
    cold, served = told(folder / "cold.prom"), told(folder / "served.prom")
    rise = {kind: served[kind] - cold[kind] for kind in KINDS}
    assert rise == metered(folder / "metrics.prom")
    assert min(rise.values()) > 1000


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
            assert quantities == pytest.approx(page["counted"][model], rel=1e-12, abs=0)
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
        {kind: math.fsum(counted.get(kind, 0) for counted in page["counted"].values()) for kind in KINDS}
        for page in (manifest["pages"][0], manifest["pages"][-1])
    )
    rise = {kind: last[kind] - first[kind] for kind in KINDS}
    assert manifest["pages"][0]["counted"] != manifest["pages"][-1]["counted"]
    assert rise == TOLD.get(folder.name, rise)


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_a_recording_holds_nothing_else(folder: Path) -> None:
    """A file that the manifest does not name is read by nobody, and may hold anything."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    named = {page["file"] for page in manifest["pages"]} | set(manifest["answers"].values())
    assert {path.name for path in folder.iterdir()} == named | {"manifest.json"}
    engine = recognize(read((folder / manifest["pages"][-1]["file"]).read_bytes(), EVERYTHING))
    assert engine is not None
    assert engine.name == manifest["engine"]

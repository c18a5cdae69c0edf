"""A metadata service on loopback, and sources that ask it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.cloud import CloudSource
from tests.sources.cloud.metadata_server import MetadataServer

Make = Callable[..., CloudSource]
Firmware = Callable[..., Path]


@pytest.fixture
def metadata() -> Iterator[MetadataServer]:
    made = MetadataServer()
    yield made
    made.close()


@pytest.fixture
def firmware(tmp_path: Path) -> Firmware:
    """Writes the files of /sys/class/dmi/id; returns the root that they are under."""

    def write(files: Mapping[str, str | bytes] | None = None, **more: str) -> Path:
        folder = tmp_path / "sys/class/dmi/id"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {**(files or {}), **more}.items():
            content = text if isinstance(text, bytes) else f"{text}\n".encode()
            (folder / name).write_bytes(content)
        return tmp_path

    return write


@pytest.fixture
def source(metadata: MetadataServer, tmp_path: Path) -> Make:
    """A source that asks the metadata, on a machine whose firmware says nothing unless it was written."""

    def make(choice: str, **options: Any) -> CloudSource:
        options = {"root": tmp_path, "address": metadata.address, "timeout": 10.0, **options}
        return CloudSource(options.pop("clock", SystemClock()), choice, **options)

    return make


@pytest.fixture
def failure() -> Callable[[CloudSource], ReadFailedError]:
    """The failure that a read ends with."""

    def of(source: CloudSource) -> ReadFailedError:
        with pytest.raises(ReadFailedError) as caught:
            source.read()
        return caught.value

    return of

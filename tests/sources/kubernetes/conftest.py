"""A cluster on loopback, and sources with the service account of a pod in it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.readings import ReadFailedError
from exporter.sources.kubernetes import NodeSource
from tests.sources.kubernetes.api_server import Kubernetes

ClusterOf = Callable[..., Kubernetes]


@pytest.fixture
def certified_cluster(tmp_path: Path) -> Iterator[ClusterOf]:
    """Makes a cluster with a certificate of the folder `identity`."""
    made: list[Kubernetes] = []

    def make(certificate: str = "certificate.pem") -> Kubernetes:
        made.append(Kubernetes(tmp_path / f"account-{len(made)}", certificate))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def cluster(certified_cluster: ClusterOf) -> Kubernetes:
    return certified_cluster()


@pytest.fixture
def failure() -> Callable[[NodeSource], ReadFailedError]:
    """The failure that a read ends with."""

    def of(source: NodeSource) -> ReadFailedError:
        with pytest.raises(ReadFailedError) as caught:
            source.read()
        return caught.value

    return of

"""All exporters of a fleet in one process: a page for each host, and the file that tells Prometheus where."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.e2e.fleet.expected_hosts import ExpectedHost
from tests.e2e.fleet.loopback import Loopback, Quiet

KUBERNETES = "kube-state-metrics:8080"
"""Scraped beside the hosts of the last cluster."""

Pages = Callable[[str], str | None]
"""The page of an instance at this moment; none: it does not answer."""


class Exporters(Loopback):
    """Serves the pages of hosts on loopback, each at a path of its own, until it is left.

    `labeled`: the cluster is a label of each target; where it is not, it is an external label of Prometheus.
    """

    def __init__(self, targets: Path, pages: Pages, *, labeled: bool = True) -> None:
        self._targets = targets
        self._labeled = labeled

        class ExportersHandler(Quiet):
            def do_GET(self) -> None:  # noqa: N802
                page = pages(self.path.strip("/"))
                self.answer(404 if page is None else 200, (page or "").encode())

        super().__init__(ExportersHandler)

    def set_targets(self, hosts: Sequence[ExpectedHost], *, kubernetes: bool = True) -> None:
        """Write who is there: one target for each host, which Prometheus notices by itself.

        `kubernetes`: kube-state-metrics of the last cluster is there too.
        """
        targets = {
            host.instance: self._target(
                host.instance, cluster=host.cluster, node=host.instance.partition(":")[0]
            )
            for host in hosts
        }
        for cluster in sorted({host.cluster for host in hosts})[-1:] if kubernetes else ():
            targets[KUBERNETES] = self._target(KUBERNETES, cluster=cluster)
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(list(targets.values())), encoding="utf-8")
        fresh.replace(self._targets)

    def _target(self, instance: str, **labels: str) -> dict[str, object]:
        """One page, under the labels that a deployment sets."""
        if not self._labeled:
            del labels["cluster"]
        return {
            "targets": [self.address],
            "labels": {"__metrics_path__": f"/{instance}", "instance": instance, **labels},
        }

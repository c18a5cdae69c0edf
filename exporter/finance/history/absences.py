"""What a server has, and what it lacks: each with its effect and a remedy."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from exporter.finance.history.exporter_series import GPU_EXPORTERS
from exporter.finance.history.past_host import PastHost
from exporter.finance.history.reckoning import Reckoning
from exporter.finance.history.survey import Survey
from exporter.finance.render import few, instant_text
from exporter.readings import printable
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant

NAMED_MAX: Final = 3
"""Hosts, servers or labels that one line names."""


_GPU_EXPORTERS: Final = "dcgm-exporter, nvidia_gpu_exporter or nvitop-exporter"
_KEEP_UUIDS: Final = "keep the label UUID in metric_relabel_configs"
_NAME_CLUSTERS: Final = (
    "name clusters by the label `cluster` (external_labels), or ask the place of one of them"
)


class Exporter(NamedTuple):
    """An exporter with series."""

    name: str
    number: str
    """The number of the things that it has, like `8 GPUs`."""
    gives: str
    """The figures that its series give."""


class Absence(NamedTuple):
    """Something that is missing."""

    what: str
    effect: str
    """The effect on the figures."""
    remedy: str


def nothing(survey: Survey) -> str:
    """What a server has that has no GPU and no inference server, to follow its name; and what to do."""
    for name, labels in survey.unnamed.items():
        listed = printable(", ".join(labels))
        return f"series of {name} without a UUID (their labels are {listed}): {_KEEP_UUIDS}"
    return (
        f"no GPU and no inference server in this time: scrape {_GPU_EXPORTERS}, "
        "and the engines' /metrics; or ask the place that keeps older samples"
    )


def exporters(reckoning: Reckoning) -> Iterator[Exporter]:
    """Exporters with series in the time range."""
    survey = reckoning.survey
    for exporter in GPU_EXPORTERS:
        gpus = [uuid for uuid, names in survey.gpus.items() if exporter.name in names]
        if gpus:
            gives = [
                text
                for text, measures in (
                    ("utilization", (*exporter.utilization, *exporter.instance_utilization)),
                    ("memory", exporter.memory_used),
                    ("energy", (*exporter.energy, *exporter.power)),
                )
                if any(measure.name in survey.series for measure in measures)
            ]
            pods = ["pods"] if survey.labeled else []
            yield Exporter(exporter.name, f"{len(gpus)} GPUs", ", ".join(gives + pods))
    targets = Counter(engine.name for engine in survey.engines.values())
    for engine in sorted(survey.all_engines(), key=lambda engine: engine.name):
        if engine.name in targets:
            title = engine.manual.title or engine.name
            counted = "tokens" if engine.tokens else "load"
            yield Exporter(title, f"{targets[engine.name]} targets", counted)
    if survey.kube.nodes or survey.kube.workloads:
        yield Exporter("kube-state-metrics", f"{len(survey.kube.nodes)} pods", "nodes of pods, workloads")
    typed = sum(1 for host in reckoning.hosts.values() if host.location.instance_type)
    if typed:
        yield Exporter("kube_node_labels", f"{typed} nodes", "instance types")
    if survey.kube.pod_labels:
        yield Exporter("kube_pod_labels", f"{len(survey.kube.pod_labels)} pods", "products and teams")


def absences(reckoning: Reckoning, since: Instant, data_begin: Instant) -> Iterator[Absence]:
    """What is missing, the gravest first."""
    hosts = [host for host in reckoning.hosts.values() if host.gpus]
    survey = reckoning.survey
    if not survey.gpus:
        yield Absence("GPUs", "no dollars and no GPU-hours", f"scrape {_GPU_EXPORTERS}")
    for name, labels in survey.unnamed.items():
        effect = f"GPUs with the labels {', '.join(labels[:8])} are left out"
        yield Absence(f"UUIDs in series of {name}", effect, _KEEP_UUIDS)
    if hosts and data_begin - since > NANOSECONDS_PER_HOUR:
        yield Absence(
            f"GPUs before {instant_text(data_begin)}",
            "earlier days are not in any figure",
            "ask the place that keeps samples for longer, if there is one",
        )
    for resolution, hours in sorted(reckoning.downsampled.items()):
        yield Absence(
            f"samples as they were scraped in {hours:,} hours",
            f"their figures are of one each {resolution // NANOSECONDS_PER_SECOND} s, which Thanos made",
            "let the compactor keep raw samples for longer (--retention.resolution-raw)",
        )
    yield from _of_servers(reckoning)
    yield from _of_tokens(reckoning)
    yield from _of_hosts(reckoning, hosts)


def _of_servers(reckoning: Reckoning) -> Iterator[Absence]:
    survey = reckoning.survey
    if not survey.engines:
        counted = f", which {_few(sorted(survey.gateways))} does not replace" if survey.gateways else ""
        yield Absence(
            f"inference servers{counted}",
            "no tokens and no cost per token",
            "scrape the engines' own /metrics",
        )
    if reckoning.shared:
        names = sorted(host.host for host in reckoning.shared)
        yield Absence(
            f"which server held which GPU of {_few(names)}",
            "their GPUs are `unattributed`: several servers share a host, without labels of pods",
            "name `servers: [{name: ..., url: ..., gpus: [...]}]` in --config.file",
        )
    if reckoning.doubled:
        names = sorted(f"{pod.namespace}/{pod.pod}" for pod in reckoning.doubled)
        yield Absence(
            f"the cluster of {_few(names)}",
            "pods of one name were on two hosts at once, and of their tokens the larger count is taken",
            _NAME_CLUSTERS,
        )
    if reckoning.homeless:
        names = sorted(target.url.removeprefix("/") for target in reckoning.homeless)
        yield Absence(
            f"the host of {_few(names)}",
            "their tokens count, no dollars meet them, and their models and teams have no price",
            "let kube-state-metrics export kube_pod_info, or give targets the label `node`",
        )


def _of_tokens(reckoning: Reckoning) -> Iterator[Absence]:
    survey = reckoning.survey
    unread: Counter[str] = Counter()
    for host in reckoning.hosts.values():
        for fact in host.every_fact("unread time"):
            unread["/".join(filter(None, fact.key(("namespace", "server"))))] += fact.value
    if sum(unread.values()) >= NANOSECONDS_PER_HOUR:
        hours = sum(unread.values()) // NANOSECONDS_PER_HOUR
        yield Absence(
            f"token counts of {_few([name for name, time in unread.most_common() if time])} in part",
            f"in {hours:,} GPU-hours their pages were not scraped; where that is over 5 % there is no price",
            "ask from the day on which their scrapes began (--since)",
        )
    pods = {target.pod for target in survey.engines if target.pod}
    if pods and not survey.kube.pod_labels:
        yield Absence(
            "labels of pods",
            "products and teams are those of `ownership` rules alone",
            "let kube-state-metrics have --metric-labels-allowlist=pods=[app.kubernetes.io/part-of,team]",
        )


def _of_hosts(reckoning: Reckoning, hosts: Sequence[PastHost]) -> Iterator[Absence]:
    unpriced = sorted({fact.gpu_model or "" for host in hosts for fact in host.every_fact("unpriced time")})
    if unpriced:
        yield Absence(
            f"a price of {_few(unpriced)}",
            "their GPU-hours have no dollars",
            "name one under `hardware` in --config.file",
        )
    untyped = [host for host in hosts if not host.location.instance_type]
    if any(host.policy.tariff.rule(gpu) is None for host in untyped for gpu in host.gpus):
        yield Absence(
            f"the instance type of {_names(untyped)}",
            "GPUs without a configured price have that of the market",
            "name prices in --config.file, or let kube-state-metrics have "
            "--metric-labels-allowlist=nodes=[node.kubernetes.io/instance-type,topology.kubernetes.io/region]",
        )
    if reckoning.merged:
        yield Absence(
            f"one name of {_few(sorted({host.host or host.cluster for host in reckoning.merged}))}",
            "their GPUs were read under another name at once, and count once",
            "let all exporters name a host and its cluster alike",
        )
    if reckoning.namesakes:
        yield Absence(
            f"the cluster of {_few(sorted(host.host for host in reckoning.namesakes))}",
            "hosts of one name at once are one here: their servers and prices are mixed",
            _NAME_CLUSTERS,
        )
    fewer = [host for host in hosts if (host.policy.tariff.instance_gpus or 0) > len(host.cost_state.gpus)]
    if fewer:
        yield Absence(
            f"GPUs of {_names(fewer)}, whose instance type has more",
            "what is not scraped costs nothing here",
            "scrape all GPUs of the host",
        )
    gaps = [host for host in hosts if host.uncharged]
    if gaps:
        yield Absence(
            f"samples of {_names(gaps)} for hours",
            "time without samples is charged up to an hour, and not beyond",
            "none: the host was off, or was not scraped",
        )


def _names(hosts: Sequence[PastHost]) -> str:
    return _few(sorted(host.key.host for host in hosts))


def _few(names: list[str]) -> str:
    return few(names, NAMED_MAX)

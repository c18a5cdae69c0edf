"""What the doctor finds: each finding once, with what to do, however many GPUs it is about."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import combinations, groupby
from typing import Final

from exporter.config.settings import DEFAULT_BUDGETS, Config
from exporter.config.values import plain
from exporter.cost.inventory import Inventory
from exporter.cost.policy import Terms
from exporter.cost.postings import UNALLOCATED
from exporter.readings import GpuReading, ServerReading, masked, unread_reason
from exporter.reports.comparison import comparison_findings
from exporter.reports.diagnosis import Answer, Asked, Finding, GpuLine, ServerLine, Severity
from exporter.reports.gateways import gateway_findings
from exporter.reports.plausibility import SeenHardware, plausibility_findings
from exporter.reports.prices import price_findings
from exporter.reports.sights import sight_findings
from exporter.reports.unmet import unmet_hardware, unmet_servers
from exporter.sources.configured import returned_gpus, unknown_gpus
from exporter.tariff.tariff import Tariff
from exporter.units import Instant

BUSY_RATIO: Final = 0.01
"""Above it a GPU is at work; at most as busy is idle."""

TWINS_RATIO: Final = 0.01
"""By how much one counter may have moved between the reads of two endpoints that show it."""


def findings(
    config: Config,
    asked: Asked,
    gpus: tuple[GpuLine, ...],
    servers: tuple[ServerLine, ...],
    terms: Terms,
    now: Instant,
) -> Iterable[Finding]:
    """All of them: of the host, of its GPUs, of its servers."""
    yield from _of_the_host(config, asked)
    yield from _of_the_place(config, asked)
    yield from _of_the_node(config, asked)
    yield from _of_the_clock(asked)
    yield from _of_budgets(config, gpus)
    yield from _of_lost(gpus)
    yield from unmet_hardware(terms.tariff, (reading.gpu for reading in asked.gpus or ()))
    yield from price_findings(terms, asked.gpus or (), gpus, now)
    yield from plausibility_findings(config, now, _seen_hardware(terms.tariff, asked.gpus or ()))
    yield from _of_holders(gpus)
    yield from sight_findings(asked.found, {gpu.uuid: gpu.index for gpu in gpus})
    yield from unmet_servers(config, asked.found, (answer.reading.key for answer in asked.servers))
    yield from _of_servers(servers)
    yield from _of_twins(asked.servers)
    yield from gateway_findings(asked.gateways, asked.servers)
    yield from comparison_findings(config, servers, terms.tariff.catalogue)
    for gone in returned_gpus(config.retired, now, (reading.gpu for reading in asked.gpus or ())):
        yield Finding(
            "warning",
            f"GPU {gone.uuid} is here and charged, though `retired` says that it left on {gone.since_text}: "
            "correct its uuid or `from`, or take the entry out.",
        )
    for name, absent in unknown_gpus(config.servers, asked.gpus or ()).items():
        if asked.gpus is not None:
            told = ", ".join(map(str, absent))
            yield Finding("error", f"server {name}: this host shows no GPU {told}: correct its `gpus`.")


def count_findings(found: Inventory, terms: Terms) -> Iterable[Finding]:
    """More or fewer GPUs paid for than NVML lists."""
    count, visible = found.stated, found.visible
    missing = len(found.lost) + sum(gpu.count for gpu in found.unseen.values())
    if missing:
        are = "is" if missing == 1 else "are"
        named = ", ".join([*found.lost, *(["unseen"] if found.unseen else [])])
        yield Finding(
            "warning",
            f"NVML lists {visible} GPUs, and {missing} more {are} paid for ({named}): look at nvidia-smi and "
            "the kernel's log. Where the host has fewer, correct `gpus_per_host`, or name those that left "
            "under `retired`; where this exporter is given some of them, set `discovery: {gpus: visible}`.",
        )
    if not count or not visible:
        return
    if visible > count:
        yield Finding(
            "warning",
            f"NVML lists {visible} GPUs, and the host has {count} by its price: each is charged 1/{count} of "
            "that. Correct `gpus_per_host`.",
        )
    elif visible + missing < count and not terms.all_gpus:
        yield Finding(
            "note",
            f"NVML lists {visible} of the host's {count} GPUs, and this exporter may be given no others: "
            f"`discovery: {{gpus: visible}}` is in force, and each is charged 1/{count} of the price. "
            "Where no other exporter charges the rest, set `{gpus: all}`.",
        )


def _seen_hardware(tariff: Tariff, readings: tuple[GpuReading, ...]) -> dict[str, SeenHardware]:
    """The GPUs here that each rule of `hardware` prices, by its source."""
    models: dict[str, dict[str, None]] = {}
    for reading in readings:
        if (rule := tariff.rule(reading.gpu)) is not None:
            models.setdefault(rule.source, {})[reading.gpu.gpu_model] = None
    return {source: SeenHardware(tuple(names), len(readings)) for source, names in models.items()}


def _of_the_host(config: Config, asked: Asked) -> Iterable[Finding]:
    if asked.gpus is None:
        yield Finding("error", f"NVML cannot be read: {asked.gpu_problem}")
    elif not asked.gpus:
        yield Finding("error", "NVML shows no GPU on this host.")
    if asked.ledger_problem:
        yield Finding("warning", f"ledger: {asked.ledger_problem}")
    if config.path is None:
        yield Finding("note", "no configuration file: give one with --config.file.")
    if not config.servers and not config.processes and not asked.found.holders:
        yield Finding(
            "warning",
            "no server is configured, and processes are not looked at: all GPU money would be `unallocated`. "
            "Set `discovery: {processes: true}`, or add:\n"
            '    servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]',
        )


def _of_the_place(config: Config, asked: Asked) -> Iterable[Finding]:
    if config.cloud == "off":
        yield Finding("note", "nobody is asked where this host runs, since `discovery.cloud` is off.")
    if asked.place_problem:
        # With an instance type the price is known but for its region and lifecycle.
        severity: Severity = "note" if asked.place.instance_type else "warning"
        yield Finding(
            severity,
            f"{asked.place.cloud} does not tell where this host runs: {asked.place_problem}. "
            "Let the exporter reach it, or set `discovery: {cloud: off}`.",
        )


def _of_the_node(config: Config, asked: Asked) -> Iterable[Finding]:
    rules = [rule.source for rule in config.hardware if rule.match.node_label]
    labels = asked.place.node_labels
    if asked.label_problem:
        severity: Severity = "error" if rules and labels is None else "warning"
        waits = f" What {rules[0]} and the rules behind it price waits." if severity == "error" else ""
        yield Finding(severity, f"node labels: {asked.label_problem}.{waits}")
    elif rules and labels == ():
        yield Finding(
            "warning",
            f"{rules[0]} goes by node_label, and there are no labels here: a pod needs a service account "
            "that may read its node (deploy/kubernetes/node-labels.yaml), other hosts have none.",
        )


def _of_the_clock(asked: Asked) -> Iterable[Finding]:
    # A note: after a boot it takes some hosts a while, and a guest may be set by its hypervisor unknown to
    # its kernel. The alert waits six hours.
    if not asked.synchronized:
        yield Finding(
            "note",
            "the kernel says that the clock is not synchronized. Where months and days begin, from when a "
            "dated price holds, and how long the host was down go by it; what an hour costs does not. After "
            "a reboot totals wait for it, two minutes at most. Let chrony or systemd-timesyncd set it.",
        )


def hourly_rates(gpus: Iterable[GpuLine]) -> dict[tuple[str, float], int]:
    """The priced GPUs of a host by model and dollars per hour, to the microdollar that is printed."""
    rates: dict[tuple[str, float], int] = {}
    for gpu in gpus:
        if gpu.prices:
            kind = gpu.gpu_model, round(gpu.dollars_per_hour, 6)
            rates[kind] = rates.get(kind, 0) + 1
    return rates


def host_dollars_per_hour(gpus: Iterable[GpuLine]) -> float:
    """What the priced GPUs of a host cost an hour, summed as it is printed."""
    return sum(count * hourly for (_model, hourly), count in hourly_rates(gpus).items())


def _of_budgets(config: Config, gpus: Iterable[GpuLine]) -> Iterable[Finding]:
    if config.budgets is DEFAULT_BUDGETS:
        (budget,) = DEFAULT_BUDGETS
        yield Finding(
            "note",
            f"no budget is configured: the default of {plain(budget.dollars_per_month)} dollars a month for "
            "the whole fleet is in force, and alerts and dashboards compare with it. Write yours:\n"
            "    budgets: [{name: fleet, dollars_per_month: AMOUNT}]",
        )
        return
    month = Decimal(f"{host_dollars_per_hour(gpus) * float(config.hours_per_month):.2f}")
    for budget in config.budgets:
        # What a product's servers cost is known once they have run.
        if not budget.product and month > budget.dollars_per_month:
            yield Finding(
                "warning",
                f"this host alone costs {month:,.2f} dollars a month at the prices of now, more than budget "
                f"{budget.name} of {plain(budget.dollars_per_month)}: raise it, or correct the prices.",
            )


def _of_lost(gpus: tuple[GpuLine, ...]) -> Iterable[Finding]:
    lost = [gpu.index for gpu in gpus if not gpu.up]
    if lost:
        yield Finding("warning", f"{_named(lost)} cannot be read: paid for, as idle.")


def _of_holders(gpus: tuple[GpuLine, ...]) -> Iterable[Finding]:
    alone = [gpu for gpu in gpus if UNALLOCATED in gpu.holders]
    busy = [gpu.index for gpu in alone if (gpu.utilization_ratio or 0.0) > BUSY_RATIO]
    idle = [gpu.index for gpu in alone if gpu.index not in busy]
    if busy:
        at_work = "are busy and" if len(busy) > 1 else "is busy and"
        yield Finding(
            "warning",
            f"{_named(busy)} {at_work} held by nobody that is known: `unallocated`. "
            "Add whoever works there to `servers`, or correct the `gpus` of one.",
        )
    if idle:
        are = "are" if len(idle) > 1 else "is"
        yield Finding("note", f"{_named(idle)} {are} held by nobody: `unallocated`.")


def _of_servers(servers: Iterable[ServerLine]) -> Iterable[Finding]:
    for server in servers:
        if server.up:
            if not server.tokens:
                yield Finding(
                    "warning", f"server {server.server} tells no tokens: its busy money is `other`."
                )
        else:
            reason = unread_reason(server.reason)
            problem = server.problem.removesuffix(".") or reason.problem
            yield Finding("warning", f"server {server.server} is not read: {problem}. {reason.remedy}.")


def _of_twins(answers: Iterable[Answer]) -> Iterable[Finding]:
    """Endpoints that show one process: the same start, the same series, and nearly the same counts.

    KServe's queue proxy repeats the page of its container, so may a service's address that of a pod.
    """
    told = [answer.reading for answer in answers if answer.reading.identity and answer.reading.counters]
    for one, other in combinations(told, 2):
        if one.identity == other.identity and _alike(one, other):
            yield Finding(
                "warning",
                f"{masked(one.url)} and {masked(other.url)} seem to show the counters of one process, "
                "which would be counted twice: remove one of them.",
            )


def _alike(one: ServerReading, other: ServerReading) -> bool:
    counts = [
        {(counter.series, counter.quantity): counter.value for counter in reading.counters}
        for reading in (one, other)
    ]
    return (
        counts[0].keys() == counts[1].keys()
        and any(counts[0].values())
        and all(
            abs(value - counts[1][series]) <= TWINS_RATIO * max(value, counts[1][series])
            for series, value in counts[0].items()
        )
    )


def _named(indices: list[int]) -> str:
    """GPU 3; GPUs 2 to 7; GPUs 0, 1, 4 to 7."""
    runs = []
    for _, run in groupby(enumerate(sorted(indices)), key=lambda pair: pair[1] - pair[0]):
        first, *rest = (index for _, index in run)
        runs.append(f"{first} to {rest[-1]}" if len(rest) > 1 else ", ".join(map(str, (first, *rest))))
    return f"GPU{'s' * (len(indices) > 1)} {', '.join(runs)}"

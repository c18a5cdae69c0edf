"""Findings of the doctor on a host: each once, with a remedy, however many GPUs it concerns. Pure."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from typing import Final

from exporter.config.settings import DEFAULT_BUDGETS
from exporter.config.values import plain
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.inventory import UNCOUNTED_TEXT
from exporter.cost.money import WHOLE
from exporter.readings import ServerKey
from exporter.reports import price_findings, server_findings
from exporter.reports.amount_checks import Subject
from exporter.reports.diagnosis import DoctorGpu, ExaminedHost, Finding, error, note, shares_of, warning
from exporter.reports.plausibility import plausibility_findings
from exporter.sources.configured import missing_gpus, returned_gpus
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.hosted import Offer

SHARES_MAX: Final = 1.0 + 1e-9
"""Sum of the shares of a GPU, with a margin for the addition of floats."""


def share_findings(host: ExaminedHost) -> Iterator[Finding]:
    """GPUs and GPU instances whose configured shares exceed 1 in total.

    The configuration refuses that for configured servers. The GPUs of discovered ones are known only here.
    """
    shares: dict[tuple[str, str], dict[ServerKey, list[float]]] = {}
    for holder in host.allocation:
        if holder.share_ratio is not None:
            of_gpu = shares.setdefault((holder.uuid, holder.instance), {})
            of_gpu.setdefault(holder.key, []).append(holder.share_ratio)
    for (uuid, instance), by_server in sorted(shares.items()):
        sums = {key: math.fsum(ratios) for key, ratios in by_server.items()}
        total = math.fsum(sums.values())
        if total > SHARES_MAX:
            where = f"GPU {host.indices.get(uuid, uuid)}" + (f", instance {instance}" if instance else "")
            parts = ", ".join(f"{key.server} {ratio:g}" for key, ratio in sorted(sums.items()))
            yield warning(
                f"{where}: the configured shares come to {total:g} ({parts}): each is divided by that sum, "
                "and servers without a share pay nothing. Make `gpu_share_ratio` at most 1 in total.",
            )


MOST_OFFERS: Final = 3
"""Lines that are suggested for one model: the cheapest."""

_PATTERN = re.compile(r"[*?\[\]\"\\]")
"""Characters that mean more than themselves in a pattern, or in quotes."""

_NAME = re.compile(r"[^a-z0-9.]+")


def comparison_findings(host: ExaminedHost) -> Iterator[Finding]:
    """A note for each served model with hosted offers that `compare` does not name."""
    served = {(model, server.server) for server in host.servers for model in server.models}
    compared = {
        model for model, server in served if any(offer.covers(server, model) for offer in host.config.compare)
    }
    for model in sorted({model for model, _server in served} - compared):
        if _PATTERN.search(model):
            continue
        try:
            offers = host.policy.tariff.catalogue.hosted(model)
        except CatalogueError:
            return  # a damaged catalogue has a finding of its own
        if offers:
            # Two routes of one provider to one model share a name: the cheaper stands for both.
            cheapest: dict[str, Offer] = {}
            for offer in offers:
                name = f"{offer.provider}-{offer.model.rpartition('/')[2]}"
                cheapest.setdefault(_NAME.sub("-", name.casefold()), offer)
            lines: list[str] = []
            for name, offer in list(cheapest.items())[:MOST_OFFERS]:
                prices = {
                    "prompt": offer.prompt,
                    "cached_prompt": offer.cached_prompt,
                    "generation": offer.generation,
                }
                amounts = ", ".join(
                    f"{kind}_dollars_per_million_tokens: {plain(price)}"
                    for kind, price in prices.items()
                    if price is not None
                )
                match = f'{{model: "{model}"}}'
                lines.append(f"      - {{name: {name}, match: {match}, as_of: {offer.as_of}, {amounts}}}")
            suggestion = "\n".join(lines)
            several = f"{len(offers)} offers of it are" if len(offers) > 1 else "an offer of it is"
            fewer = f", the {MOST_OFFERS} cheapest providers below" if len(cheapest) > MOST_OFFERS else ""
            yield note(
                f"model {model} is compared with no hosted price; {several} known{fewer} "
                f"(list prices of {offers[0].as_of}, an upper bound of a bill). "
                f"To count what its tokens would cost there, add:\n    compare:\n{suggestion}",
            )


def presence_findings(host: ExaminedHost) -> Iterator[Finding]:
    """A host without a GPU, a ledger, a configuration or a server."""
    inputs = host.inputs
    if not host.inventory.gpu_host:
        passed = inputs.evidence.passed_through
        boards = f"the {passed} on the PCI bus belong to VMs (vfio-pci)" if passed else "the PCI bus has none"
        yield note(
            "this host shows no GPU, and nothing is charged: the ledger never read one, NVML's library does "
            f"not load, {boards}, no instance type with GPUs is known, and no price rule names this host.",
        )
    elif inputs.gpus is None:
        yield error(f"NVML cannot be read: {inputs.gpu_problem}")
    elif not inputs.gpus:
        yield error("NVML shows no GPU on this host.")
    if not inputs.gpus:
        demo = "`inference-cost-exporter demo` shows a simulated host."
        yield note(f"only GPUs are charged, and no server on the CPU. {demo}")
    if inputs.ledger_problem:
        yield warning(f"ledger: {inputs.ledger_problem}")
    if host.config.path is None:
        yield note("no configuration file: give one with --config.file.")
    if not host.config.servers and not host.config.processes and not inputs.discovery.holders:
        yield warning(
            "no server is configured, and process discovery is off: all GPU cost is `unallocated`. "
            "Set `discovery: {processes: true}`, or add:\n"
            '    servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]',
        )


def location_findings(host: ExaminedHost) -> Iterator[Finding]:
    """A location or labels of a node that cannot be read, and a wall clock that nothing sets."""
    location, labels = host.inputs.location, host.inputs.location.node_labels
    if host.config.cloud == "off":
        yield note("the host's location is not requested, since `discovery.cloud` is off.")
    if host.inputs.location_problem:
        # With an instance type the price is known but for its region and lifecycle.
        yield Finding(
            "note" if location.instance_type else "warning",
            f"{location.cloud} does not report the host's location: {host.inputs.location_problem}. "
            "Let the exporter reach it, or set `discovery: {cloud: off}`.",
        )
    rules = [rule.source for rule in host.config.hardware if rule.match.node_label]
    if host.inputs.label_problem and rules and labels is None:
        waits = f"What {rules[0]} and the rules behind it price waits."
        yield error(f"node labels: {host.inputs.label_problem}. {waits}")
    elif host.inputs.label_problem:
        yield warning(f"node labels: {host.inputs.label_problem}.")
    elif rules and labels == ():
        yield warning(
            f"{rules[0]} matches by node_label, and this host has no labels: a pod needs a service account "
            "that may read its node (deploy/kubernetes/node-labels.yaml), other hosts have none.",
        )
    # A note: after a boot it takes some hosts a while, and a guest may be set by its hypervisor unknown to
    # its kernel. The alert waits six hours.
    if not host.inputs.synchronized:
        yield note(
            "the kernel says that the clock is not synchronized. The starts of months, days and dated "
            "prices, and the length of downtime, depend on it; cost per hour does not. After a reboot "
            "totals wait for it, two minutes at most. Let chrony or systemd-timesyncd set it.",
        )


def amount_findings(host: ExaminedHost) -> Iterator[Finding]:
    """Suspicious amounts, those of `hardware` for the GPUs here that each rule prices."""
    present: dict[str, list[Subject]] = {}
    for reading in host.readings:
        rule = host.policy.tariff.rule(reading.gpu)
        subject = Subject(reading.gpu.gpu_model, (len(host.readings),))
        if rule is not None and subject not in present.setdefault(rule.source, []):
            present[rule.source].append(subject)
    return plausibility_findings(host.config, host.now, present)


def gpu_list_findings(host: ExaminedHost) -> Iterator[Finding]:
    """GPUs that cannot be read, that `retired` names, or that only the `gpus` of a server name."""
    lost = [gpu.index for gpu in host.gpus if not gpu.up]
    if lost:
        yield warning(f"{_gpus_text(lost)} cannot be read: charged as idle.")
    for gone in returned_gpus(host.config.retired, host.now, (reading.gpu for reading in host.readings)):
        yield warning(
            f"GPU {gone.uuid} is here and charged, though `retired` says that it left on {gone.since_text}: "
            "correct its uuid or `from`, or take the entry out.",
        )
    if host.inputs.gpus is not None:
        for name, absent in missing_gpus(host.config.servers, host.inputs.gpus).items():
            indices = ", ".join(map(str, absent))
            yield error(f"server {name}: this host shows no GPU {indices}: correct its `gpus`.")


def count_findings(host: ExaminedHost) -> Iterator[Finding]:
    """More or fewer GPUs paid for than NVML lists."""
    inventory = host.inventory
    count, visible = inventory.stated_count, inventory.visible
    if inventory.uncounted:
        yield error(UNCOUNTED_TEXT)
        return
    missing = len(inventory.lost) + sum(gpu.count for gpu in inventory.unseen.values())
    named = ", ".join([*inventory.lost, *(["unseen"] if inventory.unseen else [])])
    if missing and visible is None:
        stay = "GPU stays" if missing == 1 else "GPUs stay"
        yield warning(f"{missing} {stay} charged while NVML cannot be read ({named}).")
    elif missing:
        are = "is" if missing == 1 else "are"
        yield warning(
            f"NVML lists {visible} GPUs, and {missing} more {are} paid for ({named}): look at nvidia-smi and "
            "the kernel's log. Where the host has fewer, correct `gpus_per_host`, or name those that left "
            "under `retired`; where this exporter is given some of them, set `discovery: {gpus: visible}`.",
        )
    if not count or not visible:
        return
    if visible > count:
        yield warning(
            f"NVML lists {visible} GPUs, and the host has {count} by its price: each is charged 1/{count} of "
            "that. Correct `gpus_per_host`.",
        )
    elif visible + missing < count and not host.policy.all_gpus:
        yield note(
            f"NVML lists {visible} of the host's {count} GPUs, and this exporter may be given no others: "
            f"`discovery: {{gpus: visible}}` is in force, and each is charged 1/{count} of the price. "
            "Where no other exporter charges the rest, set `{gpus: all}`.",
        )


def hourly_rates(gpus: Iterable[DoctorGpu]) -> dict[tuple[str, float], int]:
    """The priced GPUs of a host by model and dollars per hour, to the microdollar that is printed."""
    rates: dict[tuple[str, float], int] = {}
    for gpu in gpus:
        if gpu.prices:
            kind = gpu.gpu_model, round(gpu.dollars_per_hour, 6)
            rates[kind] = rates.get(kind, 0) + 1
    return rates


def host_dollars_per_hour(gpus: Iterable[DoctorGpu]) -> float:
    """What the priced GPUs of a host cost an hour, summed as it is printed."""
    return sum(count * hourly for (_model, hourly), count in hourly_rates(gpus).items())


def budget_findings(host: ExaminedHost) -> Iterator[Finding]:
    """A budget that nobody wrote, or that this host exceeds alone."""
    config = host.config
    if config.budgets is DEFAULT_BUDGETS:
        (budget,) = DEFAULT_BUDGETS
        yield note(
            f"no budget is configured: the default of {plain(budget.dollars_per_month)} dollars a month for "
            "the whole fleet is in force, and alerts and dashboards compare with it. Write yours:\n"
            "    budgets: [{name: fleet, dollars_per_month: AMOUNT}]",
        )
        return
    month = Decimal(f"{host_dollars_per_hour(host.paid_gpus) * float(config.hours_per_month):.2f}")
    for budget in config.budgets:
        # What a product's servers cost is known once they have run.
        if not budget.product and month > budget.dollars_per_month:
            yield warning(
                f"this host alone costs {month:,.2f} dollars a month at current prices, more than budget "
                f"{budget.name} of {plain(budget.dollars_per_month)}: raise it, or correct the prices.",
            )


BUSY_RATIO: Final = 0.01
"""Utilization above which a GPU is busy."""


def unallocated_findings(host: ExaminedHost) -> Iterator[Finding]:
    """GPUs that no server holds, and GPUs with instances that none holds."""
    busy: list[int] = []
    idle: list[int] = []
    partly: list[int] = []
    for reading in host.readings:
        shares = shares_of(reading, host.allocation)
        free = sum(share.idle_part for share in shares if share.key == UNALLOCATED_KEY)
        if free == WHOLE:
            is_busy = (reading.utilization_ratio or 0.0) > BUSY_RATIO
            (busy if is_busy else idle).append(reading.index)
        elif free:
            partly.append(reading.index)
    if busy:
        at_work = "are busy and" if len(busy) > 1 else "is busy and"
        yield warning(
            f"{_gpus_text(busy)} {at_work} used by no known server: `unallocated`. "
            "Add the program to `servers`, or correct the `gpus` of a server.",
        )
    if idle:
        are = "are" if len(idle) > 1 else "is"
        yield note(f"{_gpus_text(idle)} {are} used by no server: `unallocated`.")
    if partly:
        yield note(f"parts of {_gpus_text(partly)} are used by no server: `unallocated`.")


def _gpus_text(indices: list[int]) -> str:
    """GPU 3; GPUs 2 to 7; GPUs 0, 1, 4 to 7."""
    runs = []
    for _, run in groupby(enumerate(sorted(indices)), key=lambda pair: pair[1] - pair[0]):
        first, *rest = (index for _, index in run)
        runs.append(f"{first} to {rest[-1]}" if len(rest) > 1 else ", ".join(map(str, (first, *rest))))
    return f"GPU{'s' * (len(indices) > 1)} {', '.join(runs)}"


CHECKS: Final[tuple[Callable[[ExaminedHost], Iterator[Finding]], ...]] = (
    presence_findings,
    location_findings,
    budget_findings,
    price_findings.damage_findings,
    price_findings.unmatched_rule_findings,
    price_findings.unpriced_findings,
    price_findings.zero_findings,
    price_findings.quote_findings,
    price_findings.catalogue_findings,
    amount_findings,
    unallocated_findings,
    server_findings.discovery_findings,
    server_findings.unmatched_server_findings,
    server_findings.unread_server_findings,
    server_findings.gateway_findings,
    server_findings.level_findings,
    server_findings.role_findings,
    comparison_findings,
    gpu_list_findings,
    count_findings,
    share_findings,
)
"""All checks of the doctor, in the order of their findings."""

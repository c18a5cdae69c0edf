"""The doctor: GPUs, servers and prices of this host, and findings on whether cost would be right. Pure."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import groupby

from exporter.config.settings import Config
from exporter.cost.attribution import GpuShare
from exporter.cost.inventory import take_inventory
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy
from exporter.cost.projection import energy_dollars_per_hour
from exporter.readings import KINDS, Frame, GpuReading, Holder, HostLocation, masked, unread_reason
from exporter.reports.diagnosis import (
    Diagnosis,
    DoctorGpu,
    DoctorInput,
    DoctorServer,
    ExaminedHost,
    PriceLine,
    ServerAnswer,
    shares_of,
)
from exporter.reports.host_findings import CHECKS, host_dollars_per_hour, hourly_rates
from exporter.reports.server_findings import discovered_lines, gateway_line, gateway_words
from exporter.sources.configured import holders
from exporter.tariff.calendar import month_of
from exporter.units import Instant


def diagnose(config: Config, policy: CostPolicy, inputs: DoctorInput, now: Instant) -> Diagnosis:
    """Examine a host."""
    readings = inputs.gpus or ()
    allocation = (*holders(config.servers, readings), *inputs.discovery.holders)
    policy = policy.following(inputs.remembered.predecessors)
    # As the daemon's next tick would count them.
    counted = take_inventory(inputs.remembered, Frame(0, now, inputs.gpus, evidence=inputs.evidence), policy)
    # GPUs that are paid for and not listed, one by one: lost ones, and those that never were.
    unseen = () if counted.uncounted else (gpu for gpu in counted.unseen.values() for _ in range(gpu.count))
    absent = [GpuReading(gpu.gpu, gpu.index, up=False) for gpu in (*counted.lost.values(), *unseen)]
    count = len(readings) + len(absent)
    gpus = tuple(
        _line(reading, tuple(_holder_names(reading, allocation)), policy, now, count) for reading in readings
    )
    missing = tuple(_line(reading, ("unallocated",), policy, now, count) for reading in absent)
    servers = tuple(_server(answer, allocation, readings) for answer in inputs.servers)
    host = ExaminedHost(
        config=config,
        policy=policy,
        inputs=inputs,
        now=now,
        inventory=counted,
        gpus=gpus,
        missing=missing,
        servers=servers,
        allocation=allocation,
    )
    # Arithmetic that a person can repeat: what the GPUs cost an hour, and a month at that rate.
    sums: tuple[str, ...] = ()
    rates = hourly_rates(host.paid_gpus)
    if rates:
        total = host_dollars_per_hour(host.paid_gpus)
        hours = float(config.hours_per_month)
        sums = (
            *(
                f"{count} x {model} at {hourly:.6f} = {count * hourly:.6f} dollars per hour"
                for (model, hourly), count in rates.items()
            ),
            f"{total:.6f} dollars per hour x {hours:g} hours = {total * hours:,.2f} dollars a month",
        )
    return Diagnosis(
        gpus=gpus,
        servers=servers,
        sums=sums,
        findings=tuple(finding for check in CHECKS for finding in check(host)),
        ledger=inputs.ledger,
        host=policy.tariff.host,
        place=inputs.location,
        sights=inputs.discovery.servers,
        gateways=tuple(gateway_line(answer, inputs.servers) for answer in inputs.gateways),
        missing=missing,
    )


def _line(
    reading: GpuReading, holders: tuple[str, ...], policy: CostPolicy, now: Instant, gpus_on_host: int
) -> DoctorGpu:
    price = policy.tariff.price(reading.gpu, now, month_of(now, policy.zone), gpus_on_host)
    lines = [
        PriceLine(
            component=rate.component,
            dollars_per_hour=rate.rate.dollars_per_hour(),
            source=rate.provenance.source,
            as_of=rate.provenance.as_of,
            price_basis=rate.provenance.price_basis,
        )
        for rate in price.rates
    ]
    if price.energy is not None:
        watts = reading.power_watts
        lines.append(
            PriceLine(
                component="energy",
                dollars_per_hour=energy_dollars_per_hour(price, watts),
                source=price.energy.provenance.source,
                as_of="",
                note="no power reading" if watts is None else f"at {watts:.0f} W",
            )
        )
    return DoctorGpu(
        index=reading.index,
        gpu_model=reading.gpu.gpu_model,
        uuid=reading.gpu.uuid,
        up=reading.up,
        holders=holders,
        prices=tuple(lines),
        priced=price.priced,
        utilization_ratio=reading.utilization_ratio,
    )


def _holder_names(reading: GpuReading, allocation: Iterable[Holder]) -> Iterable[str]:
    """Who holds a GPU, how much of it and by what, instances together; a whole GPU needs no number."""
    sums: dict[GpuShare, GpuShare] = {}
    """The sum of the parts that one server holds by the same methods, by such a share without parts."""
    for share in shares_of(reading, allocation):
        kind = replace(share, busy_part=0, idle_part=0, instance="")
        before = sums.get(kind, kind)
        busy_part = before.busy_part + share.busy_part
        sums[kind] = replace(kind, busy_part=busy_part, idle_part=before.idle_part + share.idle_part)
    for share in sums.values():
        name = share.key.server
        busy, idle = (f"{100 * part / WHOLE:.0f} %" for part in (share.busy_part, share.idle_part))
        if share.idle_part == WHOLE and share.idle_method in {"whole", "none"}:
            yield name
        elif share.busy_method == share.idle_method:
            yield f"{name} {idle} ({share.idle_method})"
        else:
            yield f"{name} {busy} of the work ({share.busy_method}), {idle} of the rest ({share.idle_method})"


def _server(answer: ServerAnswer, allocation: Iterable[Holder], gpus: tuple[GpuReading, ...]) -> DoctorServer:
    reading = answer.reading
    tokens: dict[str, int] = {
        kind: round(sum(c.sign * c.value for c in reading.counters if c.quantity == kind))
        for kind in KINDS
        if any(counter.quantity == kind for counter in reading.counters)
    }
    index = {gpu.gpu.uuid: gpu.index for gpu in gpus}
    mine = sorted({index[holder.uuid] for holder in allocation if holder.key == reading.key})
    return DoctorServer(
        server=reading.key.server,
        url=masked(reading.url),
        up=reading.up,
        engine=reading.engine,
        models=reading.models,
        tokens=tokens,
        gpus=tuple(mine),
        reason=answer.reason,
        problem=answer.problem,
    )


def text(diagnosis: Diagnosis) -> str:
    """The answer for a terminal."""
    lines = ["Host", f"  {diagnosis.host}  {location_words(diagnosis.place)}", "GPUs"]
    for gpu in diagnosis.gpus:
        state = ("" if gpu.priced else "  no price") + ("" if gpu.up else "  CANNOT BE READ")
        lines.append(f"  {gpu.index}  {gpu.gpu_model}  {gpu.uuid}  held by {', '.join(gpu.holders)}{state}")
        for price in gpu.prices:
            amount = "unknown" if price.dollars_per_hour is None else f"{price.dollars_per_hour:.6f}"
            basis = "" if price.price_basis == "configured" else f"{price.price_basis.upper()}:"
            origin = " ".join(filter(None, (basis, price.source, price.as_of, price.note)))
            lines.append(f"       {price.component:<14}{amount:>12} dollars per hour   {origin}")
    for uuid, alike in groupby(diagnosis.missing, lambda gpu: gpu.uuid):
        one, *others = alike
        several = f" x {1 + len(others)}" if others else ""
        lines.append(f"  -  {one.gpu_model}  {uuid}{several}  PAID FOR AND NOT LISTED")
    lines.append("Servers")
    for server in diagnosis.servers:
        gpus = ", ".join(map(str, server.gpus)) or "none"
        engine = server.engine or "unknown engine"
        state = engine if server.up else f"NOT READ ({unread_reason(server.reason)})"
        lines.append(f"  {server.server}  {server.url}  {state}  GPUs {gpus}")
        if server.models:
            lines.append(f"       models: {', '.join(server.models)}")
        if server.tokens:
            tokens = ", ".join(f"{kind} {count:,}" for kind, count in server.tokens.items())
            lines.append(f"       tokens since it started: {tokens}")
    if diagnosis.gateways:
        lines.append("Gateways")
        lines.extend(line for gateway in diagnosis.gateways for line in gateway_words(gateway))
    if diagnosis.sights:
        lines.append("Found")
        lines.extend(discovered_lines(diagnosis.sights, {gpu.uuid: gpu.index for gpu in diagnosis.gpus}))
    lines.extend(["Ledger", f"  {diagnosis.ledger}", "Check by hand"])
    lines.extend(f"  {line}" for line in diagnosis.sums or ("nothing is priced",))
    lines.append("Findings")
    lines.extend(f"  {finding.severity}: {finding.text}" for finding in diagnosis.findings)
    if not diagnosis.findings:
        lines.append("  none")
    return "\n".join(lines) + "\n"


def location_words(location: HostLocation) -> str:
    """Where a host runs, and the source of that."""
    if not location.cloud:
        return "in no known cloud"
    words = [location.instance_type or "an unknown instance type", "of", location.cloud]
    if location.region:
        words += ["in", location.region, *([f"(zone {location.zone})"] if location.zone else [])]
    else:
        words += ["in an unknown region"]
    lifecycle = location.lifecycle.replace("_", " ") or "unknown whether on demand or spot"
    return f"{' '.join(words)}, {lifecycle}; source: {location.source}"


def as_json(diagnosis: Diagnosis) -> str:
    """The answer for a machine."""
    return json.dumps({"status": diagnosis.status, **asdict(diagnosis)}, indent=2) + "\n"

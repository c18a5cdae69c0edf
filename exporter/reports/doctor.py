"""What would be metered, at which price and from where, and whether the money would be right. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

from exporter.config.settings import Config
from exporter.cost import attribution
from exporter.cost.policy import Terms
from exporter.cost.projection import energy_dollars_per_hour
from exporter.readings import KINDS, GpuReading, Holder, ServerReading
from exporter.sources.configured import holders, unknown_gpus
from exporter.tariff.calendar import month_of
from exporter.units import Instant

Severity = Literal["note", "warning", "error"]
EXIT_STATUS: Final[Mapping[Severity, int]] = {"note": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know (`note`), to look at (`warning`), or that makes money wrong (`error`)."""

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class PriceLine:
    """What an hour of one GPU costs under one component, and where that comes from."""

    component: str
    dollars_per_hour: float | None
    source: str
    as_of: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class GpuLine:
    """One GPU: what it is, who holds it, what it costs."""

    index: int
    gpu_model: str
    uuid: str
    up: bool
    holders: tuple[str, ...]
    prices: tuple[PriceLine, ...]
    priced: bool

    @property
    def dollars_per_hour(self) -> float:
        """All that is known of its price."""
        return sum(price.dollars_per_hour or 0.0 for price in self.prices)


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One endpoint: whether it answers, and the tokens its counters hold."""

    server: str
    url: str
    up: bool
    engine: str
    models: tuple[str, ...]
    tokens: Mapping[str, int]
    gpus: tuple[int, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What the doctor was told by the sources; problems are in words, empty where there was none."""

    gpus: tuple[GpuReading, ...] | None
    gpu_problem: str
    servers: tuple[tuple[ServerReading, str], ...]
    ledger: str
    ledger_problem: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The doctor's answer."""

    gpus: tuple[GpuLine, ...]
    servers: tuple[ServerLine, ...]
    sums: tuple[str, ...]
    findings: tuple[Finding, ...]
    ledger: str

    @property
    def status(self) -> int:
        """0 fine, 1 warnings, 2 money would be wrong."""
        return max((EXIT_STATUS[finding.severity] for finding in self.findings), default=0)


def diagnose(config: Config, terms: Terms, asked: Asked, now: Instant) -> Diagnosis:
    """Examine a host."""
    readings = asked.gpus or ()
    held = holders(config.servers, readings)
    gpus = tuple(_gpus(readings, held, terms, now))
    servers = tuple(_server(reading, problem, held, readings) for reading, problem in asked.servers)
    findings = [*_host(config, asked), *_about_gpus(gpus, terms.tariff.host), *_about_servers(servers)]
    for name, absent in unknown_gpus(config.servers, readings).items():
        if asked.gpus is not None:
            told = ", ".join(map(str, absent))
            findings.append(
                Finding("error", f"server {name}: this host shows no GPU {told}: correct its `gpus`.")
            )
    return Diagnosis(gpus, servers, tuple(_sums(gpus, config)), tuple(findings), asked.ledger)


def _gpus(
    readings: tuple[GpuReading, ...], held: Iterable[Holder], terms: Terms, now: Instant
) -> Iterable[GpuLine]:
    held = tuple(held)
    month = month_of(now, terms.zone)
    for reading in readings:
        price = terms.tariff.price(reading.gpu, now, month, len(readings))
        lines = [
            PriceLine(
                rate.component, rate.rate.dollars_per_hour(), rate.provenance.source, rate.provenance.as_of
            )
            for rate in price.rates
        ]
        if price.energy is not None:
            at = reading.power_watts
            energy = energy_dollars_per_hour(price, at)
            note = "no power reading" if at is None else f"at {at:.0f} W"
            lines.append(PriceLine("energy", energy, price.energy.provenance.source, "", note))
        shares = attribution.shares(holder for holder in held if holder.uuid == reading.gpu.uuid)
        yield GpuLine(
            reading.index,
            reading.gpu.gpu_model,
            reading.gpu.uuid,
            reading.up,
            tuple(
                share.key.server
                if share.method in {"whole", "none"}
                else f"{share.key.server} {share.part / 1e7:.0f} % ({share.method})"
                for share in shares
            ),
            tuple(lines),
            price.priced,
        )


def _server(
    reading: ServerReading, problem: str, held: Iterable[Holder], gpus: tuple[GpuReading, ...]
) -> ServerLine:
    tokens: dict[str, int] = {
        kind: round(sum(c.sign * c.value for c in reading.counters if c.quantity == kind))
        for kind in KINDS
        if any(counter.quantity == kind for counter in reading.counters)
    }
    index = {gpu.gpu.uuid: gpu.index for gpu in gpus}
    mine = sorted(index[holder.uuid] for holder in held if holder.key == reading.key)
    return ServerLine(
        reading.key.server,
        reading.url,
        reading.up,
        reading.engine,
        reading.models,
        tokens,
        tuple(mine),
        problem,
    )


def _host(config: Config, asked: Asked) -> Iterable[Finding]:
    if asked.gpus is None:
        yield Finding("error", f"NVML cannot be read: {asked.gpu_problem}")
    elif not asked.gpus:
        yield Finding("error", "NVML shows no GPU on this host.")
    if asked.ledger_problem:
        yield Finding("warning", f"ledger: {asked.ledger_problem}")
    if config.path is None:
        yield Finding("note", "no configuration file: give one with --config.file.")
    if not config.servers:
        yield Finding(
            "warning",
            "no server is configured: all GPU money would be `unallocated`. Add:\n"
            '    servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: all}]',
        )


def _about_gpus(gpus: Iterable[GpuLine], host: str) -> Iterable[Finding]:
    for gpu in gpus:
        if not gpu.up:
            yield Finding("warning", f"GPU {gpu.index} cannot be read: it is paid for, as idle.")
        if not gpu.priced:
            yield Finding(
                "error",
                f"GPU {gpu.index} ({gpu.gpu_model}) has no price on host {host}: its cost is absent. Add:\n"
                f'    hardware: [{{match: {{gpu_model: "{gpu.gpu_model}"}}, '
                "rented: {dollars_per_gpu_hour: PRICE}}]",
            )
        if "unallocated" in gpu.holders:
            yield Finding("note", f"GPU {gpu.index} is held by no configured server: `unallocated`.")


def _about_servers(servers: Iterable[ServerLine]) -> Iterable[Finding]:
    for server in servers:
        if not server.up:
            yield Finding("warning", f"server {server.server} does not answer: {server.problem}")
        elif not server.tokens:
            yield Finding("warning", f"server {server.server} tells no tokens: its busy money is `other`.")


def _sums(gpus: tuple[GpuLine, ...], config: Config) -> Iterable[str]:
    """Arithmetic that a person can repeat: what the host's GPUs cost an hour, and a month at that rate."""
    if not any(gpu.prices for gpu in gpus):
        return
    alike: dict[tuple[str, float], int] = {}
    for gpu in gpus:
        if gpu.prices:
            kind = gpu.gpu_model, round(gpu.dollars_per_hour, 6)
            alike[kind] = alike.get(kind, 0) + 1
    total = 0.0
    for (model, hourly), count in alike.items():
        total += count * hourly
        yield f"{count} x {model} at {hourly:.6f} = {count * hourly:.6f} dollars per hour"
    hours = float(config.hours_per_month)
    yield f"{total:.6f} dollars per hour x {hours:g} hours = {total * hours:,.2f} dollars a month"


def text(diagnosis: Diagnosis) -> str:
    """The answer for a terminal."""
    lines = ["GPUs"]
    for gpu in diagnosis.gpus:
        state = "" if gpu.up else "  CANNOT BE READ"
        lines.append(f"  {gpu.index}  {gpu.gpu_model}  {gpu.uuid}  held by {', '.join(gpu.holders)}{state}")
        for price in gpu.prices:
            amount = "unknown" if price.dollars_per_hour is None else f"{price.dollars_per_hour:.6f}"
            origin = " ".join(filter(None, (price.source, price.as_of, price.note)))
            lines.append(f"       {price.component:<14}{amount:>12} dollars per hour   {origin}")
        if not gpu.priced:
            lines.append("       no price")
    lines.append("Servers")
    for server in diagnosis.servers:
        gpus = ", ".join(map(str, server.gpus)) or "none"
        state = server.engine or "unknown engine" if server.up else "DOES NOT ANSWER"
        lines.append(f"  {server.server}  {server.url}  {state}  GPUs {gpus}")
        if server.models:
            lines.append(f"       models: {', '.join(server.models)}")
        if server.tokens:
            told = ", ".join(f"{kind} {count:,}" for kind, count in server.tokens.items())
            lines.append(f"       tokens since it started: {told}")
    lines.extend(["Ledger", f"  {diagnosis.ledger}", "Check by hand"])
    lines.extend(f"  {line}" for line in diagnosis.sums or ("nothing is priced",))
    lines.append("Findings")
    lines.extend(f"  {finding.severity}: {finding.text}" for finding in diagnosis.findings)
    if not diagnosis.findings:
        lines.append("  none")
    return "\n".join(lines) + "\n"


def as_json(diagnosis: Diagnosis) -> str:
    """The answer for a machine."""
    return json.dumps({"status": diagnosis.status, **asdict(diagnosis)}, indent=2) + "\n"

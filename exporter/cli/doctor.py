"""The doctor's wiring: reads every source once, as a tick does, and hands the answers to `reports.doctor`."""

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from exporter.cli import status
from exporter.cli.build import host_name, lists_all_gpus
from exporter.cli.terminal import complain, tell, waiting
from exporter.clock import Clock, SystemClock
from exporter.config import Config, ConfigError, load
from exporter.config.settings import cost_policy
from exporter.ledger.maintenance import inspect
from exporter.readings import MustRestartError
from exporter.reports import doctor as report
from exporter.reports.diagnosis import DoctorInput, GatewayAnswer, ServerAnswer
from exporter.sampler.frame_reader import FrameRead, FrameReader
from exporter.sources.cloud import CloudSource
from exporter.sources.discovery import discovery
from exporter.sources.endpoints import EndpointSources, GatewaySources, configured
from exporter.sources.gather import Gatherer
from exporter.sources.location import merged_location, node_source
from exporter.sources.nvml.source import NvmlSource
from exporter.units import NANOSECONDS_PER_SECOND

DEADLINE: Final = 10 * NANOSECONDS_PER_SECOND

SERVERS_AT_ONCE: Final = 16
"""Servers that are asked at the same time: it asks each once, and none of them is known to be quick."""


def doctor(config_file: Path | None, ledger_path: Path | None, *, as_json: bool) -> int:
    """Examine this host; returns 0 (fine), 1 (warnings) or 2 (money would be wrong)."""
    clock = SystemClock()
    try:
        config = load(config_file)
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    with waiting("reading every source once"):
        asked = _asked(clock, config, ledger_path or config.ledger_path)
    terms = cost_policy(config, host_name(), asked.place, all_gpus=lists_all_gpus())
    diagnosis = report.diagnose(config, terms, asked, clock.wall())
    tell(report.as_json(diagnosis) if as_json else report.text(diagnosis))
    return diagnosis.status


def _asked(clock: Clock, config: Config, ledger: Path) -> DoctorInput:
    with closing(Gatherer(clock, DEADLINE, SERVERS_AT_ONCE)) as gatherer:
        cloud, node = CloudSource(clock, config.cloud), node_source(clock, config)
        place, labels = gatherer((cloud, node))
        where, contradiction = merged_location(cloud, place, node, labels)
        told = _round(clock, config, gatherer)
    kept = inspect(ledger)
    asked = DoctorInput(
        gpus=None,
        gpu_problem="",
        servers=(),
        ledger=kept.state,
        ledger_problem=kept.problem,
        place=where,
        place_problem=place.problem or cloud.problem,
        synchronized=clock.synchronized(),
        label_problem=labels.problem or contradiction,
        remembered=kept.remembered,
    )
    return replace(asked, gpu_problem=told) if isinstance(told, str) else _with_answers(asked, told)


def _round(clock: Clock, config: Config, gatherer: Gatherer) -> FrameRead | str:
    """What a tick of the daemon would read, or why only a new process can read."""
    with ExitStack() as held:
        endpoints = held.enter_context(closing(EndpointSources(clock)))
        gateways = held.enter_context(closing(GatewaySources(clock)))
        lookout = held.enter_context(closing(discovery(clock, config)))
        nvml = held.enter_context(closing(NvmlSource(clock)))
        body_bytes = config.limits.body_bytes
        try:
            return FrameReader(clock, gatherer, nvml, lookout).round(
                config,
                endpoints.of(configured(config.servers), body_bytes),
                None,
                gateways.of(config.divides(), body_bytes),
            )
        except MustRestartError as error:
            return str(error)


def _with_answers(asked: DoctorInput, told: FrameRead) -> DoctorInput:
    servers = zip(told.frame.servers, told.servers, strict=True)
    gateways = zip(told.frame.gateways, told.gateways, strict=True)
    return replace(
        asked,
        gpus=told.frame.gpus,
        gpu_problem=told.nvml.problem,
        servers=tuple(
            ServerAnswer(reading, answer.health.reason, answer.problem) for reading, answer in servers
        ),
        found=told.found,
        gateways=tuple(GatewayAnswer(reading, answer.problem) for reading, answer in gateways),
    )

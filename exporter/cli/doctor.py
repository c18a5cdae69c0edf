"""The doctor's wiring: asks every source once and hands the answers to `reports.doctor`."""

from pathlib import Path
from typing import Final

from exporter.cli import status
from exporter.cli.build import host_name
from exporter.cli.serve import terms_of
from exporter.cli.terminal import complain, tell, waiting
from exporter.cli.whereabouts import node_source, whereabouts
from exporter.clock import SystemClock
from exporter.config import ConfigError, load
from exporter.ledger.inspection import inspect
from exporter.readings import GatewayReading, MustRestartError, ServerReading
from exporter.reports import doctor as report
from exporter.reports.diagnosis import Answer, Asked, GatewayAnswer
from exporter.sources.cloud import CloudSource
from exporter.sources.discovery import Found, discovery
from exporter.sources.endpoints import Endpoints, configured
from exporter.sources.gateways import Gateways
from exporter.sources.gather import Gatherer
from exporter.sources.nvml import NvmlSource
from exporter.units import NANOSECONDS_PER_SECOND

DEADLINE: Final = 10 * NANOSECONDS_PER_SECOND


def doctor(config_file: Path | None, ledger_path: Path | None, *, as_json: bool) -> int:
    """Examine this host; returns 0 (fine), 1 (warnings) or 2 (money would be wrong)."""
    clock = SystemClock()
    try:
        config = load(config_file)
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    kept = Endpoints(clock)
    endpoints = kept.of(configured(config.servers), config.limits.body_bytes)
    before = Gateways(clock)
    gateways = before.of(config.divides(), config.limits.body_bytes)
    lookout = discovery(clock, config)
    nvml = NvmlSource(clock)
    cloud = CloudSource(clock, config.cloud)
    node = node_source(clock, config)
    gatherer = Gatherer(clock, DEADLINE)
    unknown, unlabeled = "", ""
    found = Found()
    with waiting("reading every source once"):
        try:
            sources = lookout.sources()
            told, place, labels, *answers = gatherer((nvml, cloud, node, *sources, *gateways, *endpoints))
            gpus, problem = told.reading, told.problem
            seen, answers = answers[: len(sources)], answers[len(sources) :]
            counted, answers = answers[: len(gateways)], answers[len(gateways) :]
            if gpus is not None:
                found = lookout.look(config, gpus, seen, gatherer, None)
                endpoints, answers = (
                    (*endpoints, *lookout.endpoints),
                    [*answers, *gatherer(lookout.endpoints)],
                )
            where, contradiction = whereabouts(cloud, place, node, labels)
            unknown, unlabeled = place.problem or cloud.problem, labels.problem or contradiction
        except MustRestartError as error:
            gpus, problem, answers, where, counted = None, str(error), [], cloud.known, []
    servers = tuple(
        Answer(
            answer.reading or ServerReading(endpoint.key, endpoint.url, up=False),
            "" if answer.health.up else answer.health.reason,
            answer.problem,
        )
        for endpoint, answer in zip(endpoints, answers, strict=False)
    )
    ledger = inspect(ledger_path or config.ledger_path)
    asked = Asked(
        gpus,
        problem,
        servers,
        ledger.state,
        ledger.problem,
        where,
        unknown,
        clock.synchronized(),
        unlabeled,
        found,
        tuple(
            GatewayAnswer(answer.reading or GatewayReading(gateway.url, up=False), answer.problem)
            for gateway, answer in zip(gateways, counted, strict=False)
        ),
    )
    diagnosis = report.diagnose(config, terms_of(config, host_name(), where), asked, clock.wall())
    tell(report.as_json(diagnosis) if as_json else report.text(diagnosis))
    gatherer.close()
    nvml.close()
    kept.close()
    before.close()
    lookout.close()
    return diagnosis.status

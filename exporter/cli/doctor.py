"""`doctor`: reads every source once, as a tick does, and has `reports.doctor` examine the answers."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exporter.cli import flags
from exporter.cli.build import host_name, lists_all_gpus
from exporter.cli.flags import LedgerFlags
from exporter.cli.terminal import columns, fitted, waiting, write_colored
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.config import Config, load
from exporter.config.settings import cost_policy
from exporter.cost.state import State
from exporter.ledger.maintenance import inspect
from exporter.readings import FailureReason, GpuEvidence, MustRestartError
from exporter.reports import doctor as report
from exporter.reports.diagnosis import DoctorInput, GatewayAnswer, ServerAnswer
from exporter.sampler.frame_reader import FrameRead, FrameReader
from exporter.sources.cloud import CloudSource
from exporter.sources.discovery import discovery
from exporter.sources.endpoints import EndpointSources, GatewaySources, configured_targets
from exporter.sources.gather import Gatherer
from exporter.sources.gpus import gpu_sources
from exporter.sources.location import merged_location, node_source
from exporter.sources.pci import display_devices
from exporter.units import NANOSECONDS_PER_SECOND

DEADLINE: Final = 10 * NANOSECONDS_PER_SECOND

SERVERS_AT_ONCE: Final = 16
"""Servers read at the same time: which of them are slow is not known yet."""


@dataclass(frozen=True, slots=True)
class DoctorFlags(LedgerFlags):
    """The daemon that is examined."""

    as_json: bool = flags.json_flag("print the findings as JSON")


@verb(
    "doctor",
    "check this host: GPUs, prices, servers, sources and ledger",
    examples=(
        ("", "without a configuration"),
        ("--config.file=/etc/ice.yaml", "with a configuration"),
        ("--config.file=/etc/ice.yaml --json", "the same for programs"),
    ),
    exits=Exits("all is well", "warnings", "the configuration or a flag is wrong, or money would be"),
    options=DoctorFlags,
)
def doctor(options: DoctorFlags) -> int:
    """Examine this host; returns 0 (fine), 1 (warnings) or 2 (money would be wrong)."""
    clock = SystemClock()
    config = load(options.config_file)
    with waiting("reading every source once"):
        inspected = inspect_host(clock, config, options.ledger_path or config.ledger_path)
    policy = cost_policy(config, host_name(), inspected.location, all_gpus=lists_all_gpus())
    diagnosis = report.diagnose(config, policy, inspected, clock.wall())
    write_colored(report.as_json(diagnosis) if options.as_json else fitted(report.text(diagnosis), columns()))
    return diagnosis.status


def inspect_host(clock: Clock, config: Config, ledger: Path) -> DoctorInput:
    """One reading of every source."""
    contents = inspect(ledger)
    with closing(Gatherer(clock, DEADLINE, SERVERS_AT_ONCE)) as gatherer:
        cloud, node = CloudSource(clock, config.cloud), node_source(clock, config)
        metadata, labels = gatherer((cloud, node))
        location, contradiction = merged_location(cloud, metadata, node, labels)
        host = DoctorInput(
            gpus=None,
            gpu_problem="",
            servers=(),
            ledger=contents.state,
            ledger_problem=contents.problem,
            location=location,
            location_problem=metadata.problem or cloud.problem,
            synchronized=clock.synchronized(),
            label_problem=labels.problem or contradiction,
            remembered=contents.remembered,
        )
        try:
            read = _read_frame(clock, config, gatherer, contents.remembered)
        except MustRestartError as error:
            # NVML's library says so, or a container that had GPUs.
            return replace(host, gpu_problem=str(error), evidence=GpuEvidence(library=True))
    servers = zip(read.frame.servers, read.servers, strict=True)
    gateways = zip(read.frame.gateways, read.gateways, strict=True)
    return replace(
        host,
        gpus=read.frame.gpus,
        evidence=read.frame.evidence,
        gpu_problem=read.gpus.problem,
        servers=tuple(
            ServerAnswer(reading, answer.health.reason, answer.problem) for reading, answer in servers
        ),
        discovery=read.discovered,
        gateways=tuple(GatewayAnswer(reading, answer.problem) for reading, answer in gateways),
    )


def _read_frame(clock: Clock, config: Config, gatherer: Gatherer, remembered: State) -> FrameRead:
    """The readings of one tick of the daemon, which remembers this state.

    Raises:
        MustRestartError: only a new process can read.
    """
    with ExitStack() as sources:
        endpoints = sources.enter_context(closing(EndpointSources(clock)))
        gateways = sources.enter_context(closing(GatewaySources(clock)))
        servers = sources.enter_context(closing(discovery(clock, config)))
        gpus = [sources.enter_context(closing(source)) for source in gpu_sources(clock)]
        body_bytes = config.limits.body_bytes
        read = FrameReader(clock, gatherer, tuple(gpus), servers, displays=display_devices).read(
            config,
            endpoints.of(configured_targets(config.servers), body_bytes, described=config.engines),
            None,
            gateways.of(config.divides(), body_bytes),
            remembered,
        )
        if read.frame.gpus is not None:
            return read
        # Somebody with a server on the CPU asks for it, and the daemon does not scan without GPUs.
        discovered = servers.look(config, (), (), gatherer, None).servers
    unread = tuple(
        # It may hold a GPU, and is not read.
        replace(server, url="", skip_reason=FailureReason.GPU_UNKNOWN)
        if server.skip_reason in {None, FailureReason.NO_GPU}
        else server
        for server in discovered
    )
    return replace(read, discovered=replace(read.discovered, servers=unread))

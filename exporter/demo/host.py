"""Simulated host: load by the hour, GPUs that follow it, and vLLM pages that count it."""

import math
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from exporter import readings, units
from exporter.demo.timeline import RESTART_LASTS, Timeline
from exporter.engines.catalogue import EVERYTHING, recognize
from exporter.engines.exposition import read
from exporter.engines.interpretation import interpret
from exporter.engines.spec import latency_series
from exporter.vendors import NVIDIA, GpuVendor

MODEL: Final = "NVIDIA H100 80GB HBM3"
GPUS: Final = 8
MEMORY_BYTES: Final = 85_520_809_984
IDLE_WATTS: Final = 72.0
BUSY_WATTS: Final = 590.0
LIMIT_WATTS: Final = 700.0
HOURS_PER_DAY: Final = 24
SUBSTEP: Final[units.Nanoseconds] = 5 * units.NANOSECONDS_PER_MINUTE
WEEK: Final = 7
THURSDAY: Final = 3
"""The weekday of the epoch's first day, Monday being 0."""
SATURDAY: Final = 5
CROWDED: Final = 0.8
"""Part of the KV cache in use from which on requests are preempted."""

PREEMPTED_RATIO: Final = 0.002
"""Requests that are preempted then, of all."""

DAILY_SPREAD: Final = 0.08
"""Largest difference of a day's load from its weekday's, as a ratio."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Load of one simulated server."""

    server: str
    model: str
    gpus: tuple[int, ...]
    """Indices of its GPUs."""
    peak: float
    """Requests a second at the day's peak."""
    busy_at_peak: float
    """Utilization of its GPUs then."""
    prompt: int
    """Prompt tokens of a request."""
    cached_ratio: float
    """The cached part of them."""
    generation: int
    """Generated tokens of a request."""
    prefill_seconds: float
    decode_seconds: float
    """Both of one request."""
    weekend: float
    """Load on a Saturday or Sunday, as a ratio of that on other days."""
    cache_at_peak: float
    """The part of its KV cache that is in use at the day's peak."""


CHAT: Final = Traffic(
    server="chat-70b",
    model="meta-llama/Llama-3.3-70B-Instruct",
    gpus=(0, 1, 2, 3),
    peak=6.0,
    busy_at_peak=0.92,
    prompt=1100,
    cached_ratio=0.55,
    generation=340,
    prefill_seconds=0.21,
    decode_seconds=9.5,
    weekend=0.55,
    cache_at_peak=0.97,
)
SEARCH: Final = Traffic(
    server="search-8b",
    model="Qwen/Qwen3-8B",
    gpus=(4,),
    peak=11.0,
    busy_at_peak=0.61,
    prompt=2600,
    cached_ratio=0.20,
    generation=60,
    prefill_seconds=0.09,
    decode_seconds=0.9,
    weekend=0.7,
    cache_at_peak=0.44,
)
ARCHIVE: Final = Traffic(
    server="archive-13b",
    model="acme/archive-13b",
    gpus=(6,),
    peak=0.4,
    busy_at_peak=0.35,
    prompt=700,
    cached_ratio=0.0,
    generation=180,
    prefill_seconds=0.12,
    decode_seconds=4.1,
    weekend=0.2,
    cache_at_peak=0.12,
)
TRIAL: Final = Traffic(
    server="trial-8b",
    model="mistralai/Ministral-8B-Instruct-2410",
    gpus=(5,),
    peak=0.3,
    busy_at_peak=0.08,
    prompt=900,
    cached_ratio=0.1,
    generation=250,
    prefill_seconds=0.08,
    decode_seconds=2.2,
    weekend=0.9,
    cache_at_peak=0.05,
)
TRAFFIC: Final = (CHAT, SEARCH, ARCHIVE, TRIAL)


LATENCIES: Final[dict[str, dict[str, float]]] = {
    "time_to_first_token_seconds": {"0.1": 0.4, "0.25": 0.88, "0.5": 0.97, "1.0": 0.995, "+Inf": 1.0},
    "request_time_per_output_token_seconds": {"0.025": 0.5, "0.05": 0.985, "0.1": 1.0, "+Inf": 1.0},
}
"""Share of requests up to each bucket's bound, the same at any load."""


@dataclass(slots=True)
class _Counters:
    """Counters of one process of a server, in full precision."""

    started: units.Instant
    requests: float = 0.0
    computed: float = 0.0
    cached: float = 0.0
    generation: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    running: float = 0.0
    cache: float = 0.0
    preempted: float = 0.0


class SimulatedHost:
    """The whole host at one moment. `advance` moves it on: the same timeline and seed give the same host."""

    def __init__(self, timeline: Timeline, seed: int = 0) -> None:
        self._timeline = timeline
        self._seed = seed
        self._now = timeline.begins
        self._counters = {traffic.server: _Counters(timeline.begins) for traffic in TRAFFIC}
        self._energy = [float(1000 * gpu) for gpu in range(GPUS)]
        self._busy = [0.0] * GPUS

    def advance(self, now: units.Instant) -> None:
        """Serve the requests since the last call, step by step; utilization is the mean over that time."""
        began, busy_seconds = self._now, [0.0] * GPUS
        while self._now < now:
            until = min(now, self._now + SUBSTEP)
            lasted = units.seconds(until - self._now)
            self._now = until
            self._busy = [0.0] * GPUS
            for traffic in TRAFFIC:
                counters = self._counters[traffic.server]
                if self.down(traffic.server):
                    self._counters[traffic.server] = _Counters(self._now)
                    continue
                # By the hour, less on a weekend, and different on each day.
                day = self._now // units.NANOSECONDS_PER_DAY
                week = traffic.weekend if (day + THURSDAY) % WEEK >= SATURDAY else 1.0
                load = min(1.0, day_curve(self._now) * week * _daily_factor(self._seed, day, traffic.server))
                if traffic is ARCHIVE and self._now >= self._timeline.deserted:
                    load = 0.0
                requests = traffic.peak * load * lasted
                counters.requests += requests
                counters.computed += requests * traffic.prompt * (1 - traffic.cached_ratio)
                counters.cached += requests * traffic.prompt * traffic.cached_ratio
                counters.generation += requests * traffic.generation
                counters.prefill_seconds += requests * traffic.prefill_seconds
                counters.decode_seconds += requests * traffic.decode_seconds
                counters.running = traffic.peak * load * (traffic.prefill_seconds + traffic.decode_seconds)
                counters.cache = traffic.cache_at_peak * load
                if counters.cache > CROWDED:
                    counters.preempted += requests * PREEMPTED_RATIO
                for gpu in traffic.gpus:
                    self._busy[gpu] = min(1.0, traffic.busy_at_peak * load)
            for gpu, busy in enumerate(self._busy):
                self._energy[gpu] += _watts(busy) * lasted
                busy_seconds[gpu] += busy * lasted
        if self._now > began:
            self._busy = [busy / units.seconds(self._now - began) for busy in busy_seconds]

    def boot(self, now: units.Instant) -> None:
        """Boot at an instant, after an absence since the last `advance`: every counter is at zero."""
        self._now = now
        self._counters = {traffic.server: _Counters(now) for traffic in TRAFFIC}
        self._energy = [0.0] * GPUS
        self._busy = [0.0] * GPUS

    def down(self, server: str) -> bool:
        """Whether a server's process is absent now."""
        if server == TRIAL.server:
            return self._now < self._timeline.tried
        return server == CHAT.server and 0 <= self._now - self._timeline.restarted < RESTART_LASTS

    def gpus(self) -> tuple[readings.GpuReading, ...]:
        """Readings as NVML would give them."""
        allocated = {gpu for traffic in TRAFFIC if not self.down(traffic.server) for gpu in traffic.gpus}
        return tuple(
            readings.GpuReading(
                gpu=readings.Gpu(f"GPU-de300000-0000-4000-8000-00000000000{gpu}", MODEL),
                index=gpu,
                pci_bus_id=f"00000000:{gpu + 16:02X}:00.0",
                driver_version="580.95.05",
                utilization_ratio=busy,
                memory_used_bytes=round(MEMORY_BYTES * (0.9 if gpu in allocated else 0.001)),
                memory_total_bytes=MEMORY_BYTES,
                power_watts=_watts(busy),
                power_limit_watts=LIMIT_WATTS,
                energy=round(self._energy[gpu] * units.MILLIJOULES_PER_JOULE),
            )
            for gpu, busy in enumerate(self._busy)
        )

    def page(self, server: str) -> bytes:
        """A server's metrics page, as vLLM 0.33 prints it."""
        traffic = next(traffic for traffic in TRAFFIC if traffic.server == server)
        counters = self._counters[server]
        labels = f'engine="0",model_name="{traffic.model}"'
        computed, cached = int(counters.computed), int(counters.cached)
        finished = int(counters.requests)
        lines = [
            f"process_start_time_seconds {units.seconds(counters.started):.2f}",
            f"vllm:num_requests_running{{{labels}}} {math.floor(counters.running + 0.5)}.0",
            f"vllm:num_requests_waiting{{{labels}}} 0.0",
            f"vllm:kv_cache_usage_perc{{{labels}}} {counters.cache}",
            f"vllm:num_preemptions_total{{{labels}}} {int(counters.preempted)}.0",
            f"vllm:prompt_tokens_total{{{labels}}} {computed + cached}.0",
            f'vllm:prompt_tokens_by_source_total{{{labels},source="local_compute"}} {computed}.0',
            f'vllm:prompt_tokens_by_source_total{{{labels},source="local_cache_hit"}} {cached}.0',
            f'vllm:prompt_tokens_by_source_total{{{labels},source="external_kv_transfer"}} 0.0',
            f"vllm:generation_tokens_total{{{labels}}} {int(counters.generation)}.0",
            f'vllm:request_success_total{{{labels},finished_reason="stop"}} {finished - finished // 9}.0',
            f'vllm:request_success_total{{{labels},finished_reason="length"}} {finished // 9}.0',
            f"vllm:request_prefill_time_seconds_sum{{{labels}}} {counters.prefill_seconds}",
            f"vllm:request_prefill_time_seconds_count{{{labels}}} {finished}.0",
            f"vllm:request_decode_time_seconds_sum{{{labels}}} {counters.decode_seconds}",
            f"vllm:request_decode_time_seconds_count{{{labels}}} {finished}.0",
        ]
        for name, shares in LATENCIES.items():
            for bound, share in shares.items():
                lines.append(f'vllm:{name}_bucket{{{labels},le="{bound}"}} {int(finished * share)}.0')
        return "".join(f"{line}\n" for line in lines).encode()


@lru_cache(maxsize=256)
def _daily_factor(seed: int, day: int, server: str) -> float:
    """Load of a day relative to its weekday: drawn by the seed, the same on every machine."""
    drawn = blake2b(f"{seed}/{day}/{server}".encode(), digest_size=4).digest()
    return 1 - DAILY_SPREAD * int.from_bytes(drawn) / 2**32


def day_curve(now: units.Instant) -> float:
    """Load over the day, 0 to 1: a night of a fifth of the peak, a broad afternoon, and a ripple."""
    hour = now / units.NANOSECONDS_PER_HOUR % HOURS_PER_DAY
    sun = max(0.0, math.sin(math.pi * (hour - 6) / 15)) if 6 <= hour <= 21 else 0.0
    ripple = 0.04 * math.sin(now / units.NANOSECONDS_PER_MINUTE / 7) + 0.02 * math.sin(
        now / units.NANOSECONDS_PER_MINUTE
    )
    return min(1.0, max(0.0, 0.2 + 0.74 * sun + ripple))


def _watts(busy: float) -> float:
    return IDLE_WATTS + (BUSY_WATTS - IDLE_WATTS) * busy


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedNvml(readings.QuickSource):
    """Reads the GPUs of the simulated host."""

    host: SimulatedHost
    vendor: GpuVendor = NVIDIA
    name: str = NVIDIA.source

    def read(self) -> tuple[readings.GpuReading, ...]:
        """All GPUs, as they are now."""
        return self.host.gpus()


class SimulatedServer(readings.QuickSource):
    """Reads a page of the simulated host, as bytes, through the engines' own reader."""

    def __init__(
        self, host: SimulatedHost, key: readings.ServerKey, url: str, slo: readings.ServiceLevel | None = None
    ) -> None:
        self._host = host
        self._slo = slo
        self.key = key
        self.url = url
        self.name = f"server:{key.server}"

    def read(self) -> readings.ServerReading:
        """The server's page.

        Raises:
            ReadFailedError: its process is absent now, or the page is not an engine's.
        """
        if self._host.down(self.key.server):
            raise readings.ReadFailedError(
                readings.FailureReason.CONNECTION, f"{self.url}: connection refused"
            )
        body = self._host.page(self.key.server)
        page = read(body, EVERYTHING)
        engine = recognize(page)
        if engine is None:
            raise readings.ReadFailedError(
                readings.FailureReason.NOT_RECOGNIZED, f"{self.url}: the simulated page is no engine's"
            )
        histograms = None if self._slo is None else read(body, latency_series(engine))
        interpretation = interpret(engine, page, slo=self._slo, histograms=histograms)
        return readings.ServerReading(
            self.key,
            self.url,
            up=True,
            engine=engine.name,
            identity=interpretation.identity,
            started=interpretation.started,
            counters=interpretation.counters,
            loads=interpretation.loads,
            models=interpretation.models,
            slo=self._slo,
            latencies=interpretation.latencies,
        )

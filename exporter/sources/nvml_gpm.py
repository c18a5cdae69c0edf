"""Utilization by GPM, NVIDIA's performance monitoring for Hopper and later: of a card, or of a MIG instance.

The driver fills one sample at each read; two of them give the mean of the time between.
It is exact where the ring of samples looks six times a second, and the only figure that a MIG instance has.
A read that nobody waited for takes its sample as well: the next mean is then of the time since that one.
Every function is called from one thread: calls for several GPUs at once have crashed.
"""

import logging
import math
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from exporter.clock import Clock
from exporter.readings import Gpu, MigInstance, ratio
from exporter.sources.nvml_answers import UNTOLD, Answers
from exporter.sources.nvml_inventory import LOST
from exporter.sources.nvml_library import ENDED, NO_PERMISSION, CallFailedError, Library, reason
from exporter.sources.nvml_mig import Layout, Layouts
from exporter.units import NANOSECONDS_PER_MINUTE, NANOSECONDS_PER_SECOND, Nanoseconds

GRAPHICS_UTIL: Final = 1
"""nvmlGpmMetricId_t: percent of the time in which anything ran, what the ring tells too."""

METRICS_VERSION: Final = 1
"""NVML_GPM_METRICS_GET_VERSION."""

SHORTEST: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 10
"""nvml.h: samples nearer to each other are refused."""

LONGEST: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""A mean over more is not one of the time since the last read."""

ROUNDING: Final = 0.005
"""So much above 1 is 1."""

FAILURES: Final = 2
"""So many of one scope without a mean in between, and its GPU is not asked again."""

log = logging.getLogger(__name__)

Scope: TypeAlias = tuple[str, tuple[str, ...]]
"""The UUID of a card, and those of the instances in one GPU instance, whose number goes to others later."""


@dataclass(slots=True)
class _Window:
    """The two samples of a scope, in turns the older one, and when that was taken."""

    older: Any
    newer: Any
    taken: Nanoseconds | None = None


class Gpm:
    """Samples are allocated once for a scope and given back when it goes, or before NVML is closed."""

    def __init__(self, library: Library, answers: Answers, layouts: Layouts, clock: Clock) -> None:
        self._library = library
        self._answers = answers
        self._layouts = layouts
        self._clock = clock
        self._windows: dict[Scope, _Window] = {}
        self._supported: dict[str, bool] = {}
        self._failures: dict[Scope, int] = {}
        self._off: set[str] = set()
        self._request: Any = None
        library.closing.append(self._free)

    def expire(self) -> None:
        """NVML was opened again: what failed may work now."""
        self._supported.clear()
        self._failures.clear()
        self._off.clear()

    def retain(self, uuids: set[str]) -> None:
        """Forget all other cards."""
        for uuid in self._supported.keys() - uuids:
            del self._supported[uuid]
        self._off &= uuids
        self._forget({scope for scope in self._scopes() if scope[0] not in uuids})

    def card(self, gpu: Gpu, handle: Any) -> float | None:
        """The mean utilization of a whole card since the last read, `None` where GPM does not tell it.

        Raises:
            CallFailedError: the card does not answer any more, or NVML has ended.
        """
        scope = (gpu.uuid, ())
        self._forget(self._scopes(gpu) - {scope})
        return self._mean(gpu, scope, "nvmlGpmSampleGet", handle)

    def instances(self, gpu: Gpu, handle: Any, layout: Layout) -> tuple[MigInstance, ...] | None:
        """The instances of a card with their utilization; those of one GPU instance share its figure.

        Raises:
            CallFailedError: the card does not answer any more, or NVML has ended.
        """
        if layout.instances is None:
            return None
        members: dict[int, tuple[str, ...]] = {}
        for instance in layout.instances:
            members[instance.gpu_instance] = (*members.get(instance.gpu_instance, ()), instance.uuid)
        scopes = {gi: (gpu.uuid, uuids) for gi, uuids in members.items()}
        self._forget(self._scopes(gpu) - set(scopes.values()))
        means = {
            gi: self._mean(gpu, scope, "nvmlGpmMigSampleGet", handle, gi) for gi, scope in scopes.items()
        }
        return tuple(
            replace(instance, utilization_ratio=means[instance.gpu_instance]) for instance in layout.instances
        )

    def _mean(self, gpu: Gpu, scope: Scope, function: str, *whom: object) -> float | None:
        if gpu.uuid in self._off:
            return None
        try:
            if not self._supports(gpu, whom[0]):
                return None
            told = self._sampled(scope, function, *whom)
        except CallFailedError as error:
            if error.code in ENDED or error.code in LOST:
                raise
            self._fail(gpu, scope, error)
            return None
        if told is not None:
            self._failures.pop(scope, None)
        return told

    def _supports(self, gpu: Gpu, handle: Any) -> bool:
        if gpu.uuid not in self._supported:
            try:
                told = self._library.call("nvmlGpmQueryDeviceSupport", handle)
            except CallFailedError as error:
                if error.code not in UNTOLD or error.code == NO_PERMISSION:
                    raise
                self._supported[gpu.uuid] = False  # a driver or a GPU before Hopper: no failure
            else:
                self._supported[gpu.uuid] = bool(told.isSupportedDevice)
        return self._supported[gpu.uuid]

    def _sampled(self, scope: Scope, function: str, *whom: object) -> float | None:
        """Take a sample; the mean since the one before, `None` where that is too near, too far or none."""
        window = self._windows.get(scope)
        if window is None:
            window = self._windows[scope] = self._allocated()
        now = self._clock.elapsed()
        since = None if window.taken is None else now - window.taken
        if since is not None and since < SHORTEST:
            return None
        self._library.call(function, *whom, window.newer)
        window.older, window.newer, window.taken = window.newer, window.older, now
        if since is None or since > LONGEST:
            return None
        return self._utilization(window.newer, window.older)

    def _allocated(self) -> _Window:
        first = self._library.call("nvmlGpmSampleAlloc")
        try:
            return _Window(first, self._library.call("nvmlGpmSampleAlloc"))
        except CallFailedError:
            self._give_back(first)
            raise

    def _utilization(self, first: Any, second: Any) -> float | None:
        if self._request is None:  # 19 kB: made once
            self._request = self._library.structure("c_nvmlGpmMetricsGet_t")
        request = self._request
        request.version, request.numMetrics = METRICS_VERSION, 1
        request.sample1, request.sample2 = first, second
        metric = request.metrics[0]
        metric.metricId, metric.nvmlReturn, metric.value = GRAPHICS_UTIL, 0, math.nan
        self._library.call("nvmlGpmMetricsGet", request)
        if metric.nvmlReturn != 0:
            raise CallFailedError("nvmlGpmMetricsGet", metric.nvmlReturn)
        told = metric.value / 100
        return 1.0 if 1.0 < told <= 1.0 + ROUNDING else ratio(told)

    def _fail(self, gpu: Gpu, scope: Scope, error: CallFailedError) -> None:
        """One failure may be a layout that has just changed; what will not change is not asked again."""
        self._answers.errors.append(reason(error.code))
        self._drop({scope})
        if scope[1]:
            self._layouts.look_again(gpu)
        failures = self._failures[scope] = self._failures.get(scope, 0) + 1
        if failures >= FAILURES or error.code in UNTOLD:
            self._off.add(gpu.uuid)
            log.warning("GPU %s: %s; utilization by GPM is not asked again", gpu.uuid, error)
            self._forget(self._scopes(gpu))

    def _scopes(self, gpu: Gpu | None = None) -> set[Scope]:
        """Of what is remembered, about one card or all."""
        known = self._windows.keys() | self._failures.keys()
        return {scope for scope in known if gpu is None or scope[0] == gpu.uuid}

    def _forget(self, scopes: set[Scope]) -> None:
        self._drop(scopes)
        for scope in scopes:
            self._failures.pop(scope, None)

    def _drop(self, scopes: set[Scope]) -> None:
        for scope in scopes & self._windows.keys():
            window = self._windows.pop(scope)
            self._give_back(window.older)
            self._give_back(window.newer)

    def _give_back(self, sample: Any) -> None:
        try:
            self._library.call("nvmlGpmSampleFree", sample)
        except CallFailedError as error:  # the driver is gone, and with it what was to be freed
            log.debug("%s", error)

    def _free(self) -> None:
        self._drop(self._scopes())

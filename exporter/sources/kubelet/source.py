"""Asks the kubelet of this host who was given which GPU."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.readings import ReadFailedError
from exporter.sources.exchange import Deadline
from exporter.sources.kubelet.allocations import Allocations, allocations, located
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds

NAME: Final = "kubelet"

SOCKET: Final = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
"""Made again by each start of the kubelet: what is mounted into a container is its directory."""

METHOD: Final = "/v1.PodResourcesLister/List"

TIMEOUT_SECONDS: Final = 3.0
REPLY_BYTES_MAX: Final = 16 * 1024 * 1024

KEEP: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""How long an answer is given again."""

FIRST_PAUSE: Final[Nanoseconds] = 10 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final[Nanoseconds] = 300 * NANOSECONDS_PER_SECOND
"""Pauses after a kubelet said that it is asked too often, doubled each time. All who ask share 100 questions
a second (kubernetes#116459): somebody else is then the one who asks too much."""


def is_here(path: Path) -> bool:
    """Whether a kubelet has its folder on this host: one that this user may not look for has.

    It is asked then, and the answer is `denied`, which is told; nothing at all would read as no kubelet.
    """
    try:
        path.parent.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


class PodResourcesSource:
    """The kubelet's pod resources, read from its socket; each question has a connection of its own.

    `minors` tells the UUID of each GPU by its minor number, and is asked at every read: GKE and DRA name GPUs
    by number. `keep` is how long an answer is given again without asking; after a failure nothing is kept, so
    that who needs the last answer through a restart of the kubelet has to hold it.
    """

    def __init__(
        self,
        clock: Clock,
        minors: Callable[[], Mapping[int, str]] = dict,
        *,
        path: Path = SOCKET,
        timeout: float = TIMEOUT_SECONDS,
        keep: Nanoseconds = KEEP,
    ) -> None:
        self._clock = clock
        self._minors = minors
        self._path = path
        self._timeout = timeout
        self._keep = keep
        self._kept: Allocations | None = None
        self._asked: Nanoseconds = 0
        self._pause: Nanoseconds = 0
        self._errors: tuple[tuple[str, int], ...] = ()

    @property
    def path(self) -> Path:
        """The socket."""
        return self._path

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        return NAME

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Devices whose ids were not understood, of a read that asked: `unknown_device`."""
        return self._errors

    def read(self) -> Allocations:
        """Who was given which GPU, at most `keep` ago.

        Raises:
            ReadFailedError: `absent`, there is no socket; `denied`, not for us; `refused`, nobody listens;
                `timeout`; `connection`, it broke off; `not_kubelet`, something else answers; `malformed`;
                `too_large`; `exhausted`, asked too often, or not asked again yet; `starting`, it does not
                know yet; `unimplemented`; `grpc_status`, any other refusal.
        """
        self._errors = ()
        now = self._clock.elapsed()
        if self._kept is None or now - self._asked >= self._keep:
            self._kept = None
            if self._pause and now - self._asked < self._pause:
                pause = f"{seconds(self._pause):g} s"
                raise ReadFailedError("exhausted", f"{self._path}: asked too often, and again after {pause}")
            self._asked = now
            self._kept = self._ask()
            if self._kept.unknown_count:
                self._errors = (("unknown_device", self._kept.unknown_count),)
        return located(self._kept, self._minors())

    def close(self) -> None:
        """Nothing is held between reads."""

    def _ask(self) -> Allocations:
        from exporter.sources.kubelet.call import call  # noqa: PLC0415 - HTTP/2 takes memory: on first use

        deadline = Deadline(self._clock, self._timeout)
        try:
            told = allocations(call(self._path, METHOD, deadline, REPLY_BYTES_MAX))
        except ReadFailedError as failure:
            exhausted = failure.reason == "exhausted"
            self._pause = min(2 * self._pause or FIRST_PAUSE, LONGEST_PAUSE) if exhausted else 0
            raise
        self._pause = 0
        return told

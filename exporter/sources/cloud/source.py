"""Where this host runs: what its firmware says, and what its cloud's metadata service adds."""

from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.config.settings import CloudChoice
from exporter.readings import Place, ReadFailedError
from exporter.sources.cloud import dmi
from exporter.sources.cloud.metadata import LINK_LOCAL, ask
from exporter.sources.cloud.services import SERVICES
from exporter.sources.exchange import Deadline
from exporter.sources.server import lean_client

TIMEOUT_SECONDS: Final = 1.0
"""For all requests of one read together. On bare metal nothing answers there, not even a refusal."""

NAME: Final = "cloud"
CONFIGURATION: Final = "configuration"


class CloudSource:
    """Asks one metadata service, each question once a read; caching is the caller's.

    `choice` is `auto` (the cloud that the firmware names, and nobody without such a sign), `off`, or a cloud.
    `root` is where the files of the host are found, `address` where the services listen.
    """

    def __init__(
        self,
        clock: Clock,
        choice: CloudChoice = "auto",
        *,
        root: Path = Path("/"),
        address: str = LINK_LOCAL,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._clock = clock
        self._address = address
        self._timeout = timeout
        self._known = _known(choice, root)
        self._errors: tuple[tuple[str, int], ...] = ()
        self._problem = ""

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        return NAME

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Why the last reading is the firmware's alone, by reason."""
        return self._errors

    @property
    def problem(self) -> str:
        """What `errors` counts, for people."""
        return self._problem

    @property
    def asks(self) -> bool:
        """Whether there is a cloud to ask."""
        return bool(self._known.cloud)

    @property
    def known(self) -> Place:
        """What is known without asking: the cloud to ask, and on AWS the instance type; empty for nobody."""
        return self._known

    def read(self) -> Place:
        """Where this host runs. Without a cloud to ask an empty place, and no request.

        Where the metadata service fails and the firmware told the instance type, that is the reading.

        Raises:
            ReadFailedError: as `metadata.ask`; or `contradiction`, the firmware names another instance type.
        """
        self._errors, self._problem = (), ""
        known = self._known
        if not known.cloud:
            return known
        try:
            told = self._ask()
        except ReadFailedError as failure:
            if not known.instance_type:
                raise
            self._errors, self._problem = ((failure.reason, 1),), str(failure)
            return known
        if known.instance_type not in ("", told.instance_type):
            raise ReadFailedError(
                "contradiction",
                f"the firmware says that this is a {known.instance_type}, "
                f"{told.source} at {self._address} that it is a {told.instance_type}",
            )
        return told

    def close(self) -> None:
        """Nothing is held between reads."""

    def _ask(self) -> Place:
        deadline = Deadline(self._clock, self._timeout)
        return ask(SERVICES[self._known.cloud], lean_client(), self._address, deadline)


def _known(choice: CloudChoice, root: Path) -> Place:
    if choice == "off":
        return Place()
    told = dmi.sign(root)
    if choice in ("auto", told.cloud):
        return told
    return Place(choice, source=CONFIGURATION)

"""What stands where a pager would: it keeps what the Alertmanager posts to it."""

import json
from dataclasses import dataclass
from typing import Any

from tests.e2e.fleet.loopback import Loopback, Quiet


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert of one notification."""

    receiver: str
    """Whom the Alertmanager told: the last part of the address, and what the notification says of itself."""
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    began: str
    """RFC 3339."""


class Receiver(Loopback):
    """A webhook on loopback, until it is left."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        notices = self.notices

        class Handler(Quiet):
            def do_POST(self) -> None:  # noqa: N802
                told: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == f"/{told['receiver']}"
                notices.extend(
                    Notice(
                        told["receiver"],
                        alert["status"],
                        alert["labels"],
                        alert["annotations"],
                        alert["startsAt"],
                    )
                    for alert in told["alerts"]
                )
                self.answer(200, b"")

        super().__init__(Handler)
        self.url = f"http://{self.address}"

    def told(self, status: str, **labels: str) -> list[Notice]:
        """What came with a status and these labels."""
        return [
            notice
            for notice in self.notices
            if notice.status == status and labels.items() <= notice.labels.items()
        ]

"""What stands where a pager would: it keeps what the Alertmanager posts to it."""

import json
from dataclasses import dataclass
from typing import Any

from tests.e2e.fleet.loopback import Loopback, Quiet


@dataclass(frozen=True, slots=True)
class Notification:
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
        self.notifications: list[Notification] = []
        notifications = self.notifications

        class ReceiverHandler(Quiet):
            def do_POST(self) -> None:  # noqa: N802
                payload: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == f"/{payload['receiver']}"
                notifications.extend(
                    Notification(
                        payload["receiver"],
                        alert["status"],
                        alert["labels"],
                        alert["annotations"],
                        alert["startsAt"],
                    )
                    for alert in payload["alerts"]
                )
                self.answer(200, b"")

        super().__init__(ReceiverHandler)
        self.url = f"http://{self.address}"

    def matching(self, status: str, **labels: str) -> list[Notification]:
        """What came with a status and these labels."""
        return [
            notice
            for notice in self.notifications
            if notice.status == status and labels.items() <= notice.labels.items()
        ]

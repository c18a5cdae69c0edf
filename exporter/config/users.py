"""Users of the host, by name or by uid."""

import pwd
import re
from dataclasses import dataclass
from typing import Final

from exporter.config.document import Node
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Walk
from exporter.config.values import scalar

LARGEST_UID: Final = 4_294_967_294
"""One below (uid_t) -1, which names nobody (chown(2))."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}[$]?", re.ASCII)
"""What useradd(8) and directories take, and no pattern: a user is matched exactly."""


@dataclass(frozen=True, slots=True)
class User:
    """A user's name or uid."""

    words: str = "name of a user, or uid"

    def read(self, node: Node, path: str, walk: Walk) -> str:
        """As `Shape.read`."""
        del path, walk
        text = scalar(node, self.words).text
        if text.isascii() and text.isdigit():
            if len(text) > len(str(LARGEST_UID)) or int(text) > LARGEST_UID:
                raise RefusedError(f"{shown(text)} is no uid: write 0 to {LARGEST_UID}")
            return str(int(text))
        if not _NAME.fullmatch(text):
            raise RefusedError(f"{shown(text)} is no user; write one name or uid, no pattern")
        return text


def uid_of(user: str) -> int | None:
    """The uid of a user; `None` for a name that this machine does not know."""
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None

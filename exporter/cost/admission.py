"""Admission of servers and models: which have rows of their own, and which are added up as `other`. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from exporter.cost.postings import OTHER
from exporter.cost.state import ServerState
from exporter.readings import Frame, ServerKey

MODELS_EACH: Final = 2
"""Models of each server that have a row whatever others ask for."""

OTHERS_MAX: Final = 10
"""Rows of `other` on one host. Principals beyond them share the last one."""

OTHER_SERVERS: Final = ServerKey("", OTHER)
"""The key of servers beyond the limit whose principal has no row of `other`."""


class RowQuota:
    """Rows that the principals of a host share, first come first served.

    A principal is who runs a server: a namespace or a user. One gets at most half of the rows once another
    has one or asks for one.
    """

    def __init__(self, limit: int, taken: Mapping[str, int], asking: Collection[str]) -> None:
        self._left = limit - sum(taken.values())
        self._taken = Counter(taken)
        shared = len({*taken, *asking}) > 1
        self._most = max(1, limit // 2) if shared else limit

    def take(self, principal: str) -> bool:
        """Take one row; false where none is left for this principal."""
        if self._left <= 0 or self._taken[principal] >= self._most:
            return False
        self._left -= 1
        self._taken[principal] += 1
        return True


def principal_of(key: ServerKey, users: Mapping[ServerKey, int]) -> str:
    """Who runs a server: its namespace, else its user, else it is its own."""
    if key.namespace:
        return f"namespace {key.namespace}"
    return f"user {users[key]}" if key in users else f"server {key.server}"


def is_other(key: ServerKey) -> bool:
    """Whether a key is of servers beyond the limit."""
    return key.server == OTHER or key.server.startswith(f"{OTHER}:")


def servers_beyond(
    servers: Mapping[ServerKey, ServerState], frame: Frame, limit: int
) -> dict[ServerKey, ServerKey]:
    """The servers of a frame that get no row of their own, each with the key of `other` that counts it."""
    keys = [*(reading.key for reading in frame.servers), *(holder.key for holder in frame.holders)]
    new = {key: principal_of(key, frame.users) for key in keys if key not in servers}
    taken = Counter(server.principal for key, server in servers.items() if not is_other(key))
    quota = RowQuota(limit, taken, new.values())
    others = {key for key in servers if is_other(key)}
    beyond: dict[ServerKey, ServerKey] = {}
    for key, principal in new.items():
        if quota.take(principal):
            continue
        other = ServerKey(key.namespace, OTHER)
        if not key.namespace and key in frame.users:
            other = ServerKey("", f"{OTHER}:user-{frame.users[key]}")
        if other not in others and len(others) >= OTHERS_MAX - 1:
            other = OTHER_SERVERS
        others.add(other)
        beyond[key] = other
    return beyond


class ModelAdmission:
    """Admission of the models of a tick. A model that has a row keeps it.

    Args:
        servers: the servers of the last tick.
        named: models that each server names in this tick.
        principals: of these servers.
        limit: of the host, beyond the first models of each server.
    """

    def __init__(
        self,
        servers: Mapping[ServerKey, ServerState],
        named: Mapping[ServerKey, Iterable[str]],
        principals: Mapping[ServerKey, str],
        limit: int,
    ) -> None:
        self._rows = {key: dict.fromkeys(server.models) for key, server in servers.items()}
        self._principals = principals
        taken: Counter[str] = Counter()
        for server in servers.values():
            beyond = len(server.models.keys() - {OTHER}) - MODELS_EACH
            if beyond > 0:
                taken[server.principal] += beyond
        asking = {
            principals[key]
            for key, models in named.items()
            if len({*self._rows.get(key, ()), *models} - {OTHER}) > MODELS_EACH
        }
        self._quota = RowQuota(limit, taken, asking)

    def admit(self, key: ServerKey, named: Iterable[str]) -> dict[str, str]:
        """The name under which each model of a server is counted: its own or `other`."""
        admitted = {model: model for model in self._rows.get(key, ())}
        own_rows = len(admitted.keys() - {OTHER})
        for model in named:
            if model in admitted:
                continue
            has_row = model != OTHER and (own_rows < MODELS_EACH or self._quota.take(self._principals[key]))
            own_rows += has_row
            admitted[model] = model if has_row else OTHER
        return admitted

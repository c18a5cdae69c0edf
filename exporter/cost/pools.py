"""The servers that one gateway leads the same requests to: what it counts is compared with their sum.

Only an entry of the configuration says that a gateway leads to a server, and only servers of this host are
known. Which of them share a count is seen by the counts that the gateway has: by what model and deployment.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from exporter.cost.policy import matches
from exporter.cost.state import GatewayState
from exporter.readings import Division, Kind, ServerKey


@dataclass(frozen=True, slots=True)
class Member:
    """A server that a gateway divides, in one tick: the models that it serves, and its tokens of each."""

    key: ServerKey
    division: Division
    served: Collection[str]
    tokens: Mapping[str, Mapping[Kind, int]]


class Pools:
    """Who is compared together with whom in one tick."""

    def __init__(self, members: Iterable[Member], gateways: Mapping[str, GatewayState]) -> None:
        self._members = {member.key: member for member in members}
        self._named: dict[str, set[str]] = {}
        by_gateway: dict[str, list[Member]] = {}
        for member in self._members.values():
            url = member.division.gateway
            self._named.setdefault(url, set()).update(member.division.deployments)
            by_gateway.setdefault(url, []).append(member)
        self._together: dict[tuple[ServerKey, str], set[tuple[ServerKey, str]]] = {}
        for url, here in by_gateway.items():
            if len(here) > 1:
                self._join(here, gateways.get(url, GatewayState()))

    def named(self, gateway: str) -> Collection[str]:
        """The deployments of a gateway that some server's entry names as its own."""
        return self._named.get(gateway, ())

    def beside(self, key: ServerKey, model: str) -> list[Mapping[Kind, int]]:
        """What the others counted in this tick that a server's model is compared together with."""
        others = self._together.get((key, model), set()) - {(key, model)}
        return [self._members[other].tokens.get(name, {}) for other, name in sorted(others)]

    def _join(self, members: Iterable[Member], gateway: GatewayState) -> None:
        named = self.named(next(iter(members)).division.gateway)
        for model, deployment in sorted({(model, deployment) for model, deployment, _ in gateway.counts}):
            led = set()
            for member in members:
                found = leads(member.division, model, deployment, member.served, named)
                if found is not None:
                    led.add((member.key, found))
            for one in led:
                self._together.setdefault(one, set()).update(led)


def leads(
    division: Division, model: str, deployment: str, served: Collection[str], named: Collection[str]
) -> str | None:
    """The model of a server that requests for a gateway's model and deployment come to, `None`: none.

    Args:
        division: what the server is divided by.
        model: as the gateway calls it.
        deployment: its id, empty where none is told.
        served: the models that the server serves.
        named: deployments that servers name as theirs; they lead to no server that names none.
    """
    if deployment not in division.deployments if division.deployments else deployment in named:
        return None
    if model in served:
        return model
    if len(served) == 1 and any(matches(pattern, model) for pattern in division.models):
        return next(iter(served))
    return None

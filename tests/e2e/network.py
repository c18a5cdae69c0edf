"""A network of their own for some processes, as container runtimes make one: a namespace, a pair of links."""

import os
import subprocess
from ipaddress import IPv4Network
from types import TracebackType
from typing import Self

ADDRESSES = IPv4Network("10.203.0.0/16")
"""That no host of these tests has: four for each process that tests."""


class Network:
    """A network namespace whose only neighbor is this host. It takes root and `ip` (iproute2) to make one."""

    def __init__(self) -> None:
        self.name = f"ice-{os.getpid()}"
        self._link = f"ice{os.getpid()}"
        networks = tuple(ADDRESSES.subnets(new_prefix=30))
        here, there = networks[os.getpid() % len(networks)].hosts()
        self._here = f"{here}/30"
        self._there = f"{there}/30"
        self.host = str(there)
        """Where its processes are reached."""
        self.neighbor = str(here)
        """This host's own address in it."""

    def __enter__(self) -> Self:
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _ip("address", "add", self._here, "dev", self._link)
            _ip("link", "set", self._link, "up")
            for action in (f"address add {self._there} dev eth0", "link set eth0 up", "link set lo up"):
                _ip("-n", self.name, *action.split())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Both ends of the link end with the namespace."""
        _ip("netns", "delete", self.name)

    def command(self, *argv: str) -> list[str]:
        """The command, begun in this network; it is the same process."""
        return ["ip", "netns", "exec", self.name, *argv]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)

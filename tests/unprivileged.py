"""Runs commands for which file modes count, also where tests run as root.

As our systemd unit and our DaemonSet run the daemon: as root without the capability to pass over modes.
"""

import os
import sys

_DROP = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""


_DROP_ALL = """
import ctypes, os, sys
PR_CAPBSET_DROP = 24
for capability in range(64):  # a number that this kernel does not know is refused
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def without_capabilities(*argv: str) -> list[str]:
    """The command, begun with no capability at all, as our DaemonSet runs the daemon."""
    return [sys.executable, "-c", _DROP_ALL, *argv] if os.geteuid() == 0 else [*argv]


def command(*argv: str) -> list[str]:
    """The command, begun so that it may write only where its user may."""
    return [sys.executable, "-c", _DROP, *argv] if os.geteuid() == 0 else [*argv]


def powerless(*argv: str) -> list[str]:
    """The command, begun as our DaemonSet runs the daemon: as this user without any capability."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *argv] if os.geteuid() == 0 else [*argv]


STRANGER = 65534
"""The user and the group of nobody."""


def as_nobody(*argv: str) -> list[str]:
    """The command, begun by root for a user who has no rights and owns nothing."""
    return ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *argv]


def stranger(*argv: str) -> list[str]:
    """As `nobody`, for a user who sees no processes but their own.

    The proc tree is mounted anew, for this command only, as hardened hosts have it (proc(5), hidepid).
    """
    mount = 'mount -t proc -o hidepid=invisible proc /proc && exec "$0" "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, *as_nobody(*argv)]

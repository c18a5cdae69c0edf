"""Live processes that look like an inference server, and readers with fewer rights than the tests have.

Nothing is waited for by time: a process says on its output that it is ready, and ends when its input does.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from exporter.sources.processes import ProcessGroup, ProcessReading
from tests import unprivileged

ROOT = Path(__file__).parents[3]

SERVER = '''\
"""Listens, and has a worker that writes a title over its command line, as setproctitle does."""
import ctypes, os, socket, sys
listening = os.environ.get("LISTENING")
listener = socket.socket(fileno=int(listening)) if listening else socket.create_server(("0.0.0.0", 8000))
alive, held = os.pipe()
told, tell = os.pipe()
if os.fork() == 0:
    os.close(held)
    fields = open("/proc/self/stat").read().rpartition(") ")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, b"VLLM::EngineCore"[: end - start - 1], min(16, end - start - 1))
    os.write(tell, b"%d" % os.getpid())
    os.read(alive, 1)
    os._exit(0)
print(os.read(told, 20).decode(), flush=True)
sys.stdin.read()
os.close(held)
os.wait()
'''

READER = '''\
"""Prints what is read of some processes, as nobody where the first argument says so."""
import ctypes, json, os, sys
from dataclasses import asdict
from pathlib import Path
from exporter.clock import SystemClock
from exporter.sources.processes import ProcessSource
import encodings.idna, encodings.ascii  # nobody may not read where these are
rights, *pids = sys.argv[1:]
if rights == "nobody" and os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: a daemon that is started as nobody is dumpable
source = ProcessSource(SystemClock())
reading = source.read(map(int, pids))
print(json.dumps({"reading": asdict(reading), "errors": dict(source.errors), "problem": source.problem}))
'''


@dataclass(frozen=True)
class Started:
    """A server and its worker."""

    server: int
    worker: int
    port: int


@cache
def separable() -> bool:
    """Whether these tests may make namespaces of networks, mounts and processes, and be another user."""
    apart = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "true"]
    try:
        return os.geteuid() == 0 and subprocess.run(apart, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextmanager
def started(
    folder: Path, *arguments: str, port: int | None = None, prefix: Sequence[str] = ()
) -> Iterator[Started]:
    """A server that is called vllm. Without a port it listens on loopback, on a free one that it is told."""
    script = folder / "vllm"
    script.write_text(SERVER, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bound = port or listener.getsockname()[1]
        environment = {**os.environ, "LISTENING": "" if port else str(listener.fileno())}
        with subprocess.Popen(
            [*prefix, sys.executable, str(script), "serve", "tiny/model", *arguments, "--port", str(bound)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            pass_fds=() if port else (listener.fileno(),),
        ) as process:
            listener.close()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                worker = int(process.stdout.readline())
                yield Started(process.pid, worker, bound)
            finally:
                process.stdin.close()
                process.wait(30)


def of(reading: ProcessReading, worker: int) -> ProcessGroup:
    """The group in which a process computes."""
    (group,) = (group for group in reading.groups if worker in [member.pid for member in group.computing])
    return group


def read_as(rights: str, *pids: int, prefix: Sequence[str] = ()) -> dict[str, Any]:
    """What another process reads: as `nobody`, as root without `capabilities`, or with all `rights`."""
    argv = [*prefix, sys.executable, "-c", READER, rights, *map(str, pids)]
    argv = unprivileged.without_capabilities(*argv) if rights == "capabilities" else argv
    ran = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def server_of(answer: dict[str, Any], worker: int) -> dict[str, Any]:
    """The server that another process found for a worker."""
    (server,) = (
        group["server"]
        for group in answer["reading"]["groups"]
        if worker in [pid for pid, _ in group["computing"]]
    )
    api_server: dict[str, Any] = server
    return api_server

"""Who is on a host beside a server: processes that hold GPUs, and the fake NVML that lists them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.llama import Llama
from tests.e2e.network import Network
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Process, Scenario

GIGABYTE = 10**9


class RemoteLlama(Llama):
    """A llama.cpp in a network of its own, on all addresses of it."""

    def __init__(self, log: Path, network: Network) -> None:
        self.host = network.host
        super().__init__(log)
        self._network = network

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("--host") + 1] = "0.0.0.0"  # noqa: S104 - of its own network
        return self._network.command(*words)


class GpuProgram:
    """Some program that waits until it is ended."""

    def __init__(
        self,
        argv: Sequence[str | bytes],
        environment: Mapping[str, str] = os.environ,
        executable: str | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            argv,
            executable=executable,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdin is not None
        self.process.stdin.close()

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid


def trainer(folder: Path, *words: str, secret: str = "") -> GpuProgram:
    """A training job: a script that serves nobody, started with words that are nobody's business."""
    script = folder / "train.py"
    script.write_text("import sys\nsys.stdin.read()\n", encoding="utf-8")
    return GpuProgram([sys.executable, str(script), *words], {**os.environ, "SECRET": secret})


def compute(gpus: FakeNvml, *pids: int | None) -> None:
    """From now on NVML lists these processes, one for each GPU; `None` for a GPU that nobody computes on."""
    listed = tuple(
        replace(gpu, processes=() if pid is None else (Process(pid, 20 * GIGABYTE),))
        for gpu, pid in zip(gpus.scenario.gpus, pids, strict=True)
    )
    gpus.set(Scenario(listed))


def waiting(folder: Path) -> str:
    """A program that waits, whatever its command line says."""
    program = folder / "wait"
    if not program.exists():
        source = "#include <unistd.h>\nint main(void) { char c; return (int)read(0, &c, 1); }\n"
        subprocess.run(["cc", "-xc", "-", "-o", program], input=source.encode(), check=True)
    return str(program)

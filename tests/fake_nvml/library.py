"""Builds the fake library, and puts it before a child process or before `pynvml` in this one."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pynvml

from tests.fake_nvml.scenario import Scenario

SOURCES = Path(__file__).parent
BUILDS = SOURCES.parents[1] / "build" / "fake_nvml"
LIBRARY = "libnvidia-ml.so.1"
COMPILE = ("-std=gnu11", "-O0", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra", f"-Wl,-soname,{LIBRARY}")


class NoCompilerError(Exception):
    """There is no C compiler; the message says in one line what to install."""


def build(missing_symbols: Sequence[str] = (), *, compiler: str = "cc", builds: Path = BUILDS) -> Path:
    """The library, built once per content of its sources.

    Args:
        missing_symbols: symbols that it does not have, as an old driver's.
        compiler: name or path of the C compiler.
        builds: where builds are kept.

    Raises:
        NoCompilerError: there is no such compiler.
    """
    digest = hashlib.sha256(repr((COMPILE, sorted(missing_symbols))).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(source.name.encode() + source.read_bytes())
    library = builds / digest.hexdigest()[:16] / LIBRARY
    if library.exists():
        return library
    if shutil.which(compiler) is None:
        message = (
            f"the fake NVML library needs a C compiler ({compiler}); on Debian: apt-get install gcc libc6-dev"
        )
        raise NoCompilerError(message)
    builds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=builds) as work:
        script = Path(work) / "symbols"
        hidden = "".join(f"{symbol}; " for symbol in missing_symbols)
        script.write_text(f"{{ global: nvml*; local: {hidden}*; }};\n", encoding="utf-8")
        built = Path(work) / LIBRARY
        subprocess.run(
            [compiler, *COMPILE, f"-Wl,--version-script={script}", "-o", built, *sorted(SOURCES.glob("*.c"))],
            check=True,
        )
        library.parent.mkdir(exist_ok=True)
        built.replace(library)  # two builders at once end with the same file
    return library


class FakeNvml:
    """One fake host: a folder with its scenario and the trace of the calls that were made."""

    def __init__(
        self, folder: Path, scenario: Scenario | None = None, *, missing_symbols: Sequence[str] = ()
    ) -> None:
        self.library = build(missing_symbols)
        self.scenario_path = folder / "scenario"
        self.trace_path = folder / "trace"
        self.scenario = scenario or Scenario()
        self.scenario.write(self.scenario_path)

    def set(self, scenario: Scenario) -> None:
        """Change the world; whoever has the library loaded sees it at the next call."""
        self.scenario = scenario
        scenario.write(self.scenario_path)

    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment to load this library as NVML."""
        return {
            "LD_LIBRARY_PATH": str(self.library.parent),
            "FAKE_NVML_SCENARIO": str(self.scenario_path),
            "FAKE_NVML_TRACE": str(self.trace_path),
        }

    def calls(self) -> list[str]:
        """The C calls made so far, in order: `nvmlDeviceGetUUID 0`, with the GPU's number in the scenario."""
        return self.trace_path.read_text(encoding="utf-8").splitlines() if self.trace_path.exists() else []

    def forget_calls(self) -> None:
        """Empty the trace."""
        os.truncate(self.trace_path, 0)

    @contextmanager
    def loaded(self) -> Iterator["FakeNvml"]:
        """Be the library that `pynvml` uses in this process, which must not have NVML open.

        `pynvml` keeps its library and its function pointers in globals; both are put back.
        """
        loaded_before = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)
        environment = {key: os.environ.get(key) for key in ("FAKE_NVML_SCENARIO", "FAKE_NVML_TRACE")}
        os.environ.update({key: self.environment()[key] for key in environment})
        pynvml.nvmlLib = ctypes.CDLL(str(self.library))
        pynvml._nvmlGetFunctionPointer_cache.clear()
        try:
            yield self
        finally:
            self.set(Scenario())  # lets hung calls go
            for _ in range(8):  # whatever a test left open
                if pynvml.nvmlLib.nvmlShutdown() != pynvml.NVML_SUCCESS:
                    break
            for key, value in environment.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value
            pynvml.nvmlLib = loaded_before[0]
            pynvml._nvmlGetFunctionPointer_cache.clear()
            pynvml._nvmlGetFunctionPointer_cache.update(loaded_before[1])

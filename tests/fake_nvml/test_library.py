"""The fake library is built once, told of in one line where it cannot be, and found by a child process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_nvml.library import SOURCES, FakeNvml, NoCompilerError, build
from tests.fake_nvml.scenario import Gpu, Scenario

ROOT = SOURCES.parents[1]

COUNT = """
import pynvml
pynvml.nvmlInit()
handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
print([pynvml.nvmlDeviceGetUUID(handle) for handle in handles])
"""


def test_a_build_is_kept_until_its_sources_change() -> None:
    """A second build of the same sources is the same file, untouched; another set of symbols is another."""
    library = build()
    built = library.stat().st_mtime_ns
    assert build().stat().st_mtime_ns == built
    assert build(missing_symbols=("nvmlDeviceGetSamples",)) != library


def test_without_a_compiler_one_line_says_what_to_install(tmp_path: Path) -> None:
    """The message names the package."""
    with pytest.raises(
        NoCompilerError, match=r"needs a C compiler \(no-such-cc\); on Debian: apt-get install gcc"
    ):
        build(compiler="no-such-cc", builds=tmp_path)


def test_a_child_process_finds_the_library_by_its_name(tmp_path: Path) -> None:
    """With LD_LIBRARY_PATH the dynamic linker takes the fake for the driver's library."""
    fake = FakeNvml(tmp_path, Scenario((Gpu("GPU-a"), Gpu("GPU-b"))))
    child = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**os.environ, **fake.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "['GPU-a', 'GPU-b']\n"
    assert fake.calls()[0] == "nvmlInitWithFlags"


def test_the_command_line_prints_an_environment(tmp_path: Path) -> None:
    """The documented shell line gives a host of fake H100s."""
    line = f'eval "$({sys.executable} -m tests.fake_nvml {tmp_path} --gpus 3)" && {sys.executable} -c "$CODE"'
    child = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=ROOT,
        env={**os.environ, "CODE": COUNT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.count("GPU-0000000") == 3


def test_the_command_line_takes_a_model(tmp_path: Path) -> None:
    """A host of other GPUs, such as those that a price rule misses."""
    options = ["--gpus", "2", "--model", "NVIDIA R100"]
    command = [sys.executable, "-m", "tests.fake_nvml", str(tmp_path), *options]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)

    assert (tmp_path / "scenario").read_text().count("name NVIDIA R100") == 2

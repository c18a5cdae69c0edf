"""Prints the environment of a host of fake GPUs: `eval "$(python -m tests.fake_nvml FOLDER)"`."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from tests.fake_nvml.library import FakeNvml, NoCompilerError
from tests.fake_nvml.scenario import Gpu, Scenario, h100s


def main() -> int:
    """Write the scenario and print the `export` lines that make NVML of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fake_nvml", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the scenario and the trace go")
    parser.add_argument("--gpus", type=int, default=8, help="how many (8)")
    parser.add_argument("--model", default=Gpu("").name, help="their model in NVML (%(default)s)")
    parser.add_argument("--utilization", type=int, default=60, help="percent (60)")
    parser.add_argument("--watts", type=int, default=500, help="per GPU (500)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    gpus = tuple(
        replace(gpu, name=arguments.model)
        for gpu in h100s(arguments.gpus, utilization=arguments.utilization, power_mw=arguments.watts * 1000)
    )
    try:
        fake = FakeNvml(arguments.folder.absolute(), Scenario(gpus))
    except NoCompilerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    exported = {key: value for key, value in fake.environment().items() if key != "FAKE_NVML_TRACE"}
    sys.stdout.write("".join(f"export {key}={shlex.quote(value)}\n" for key, value in exported.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

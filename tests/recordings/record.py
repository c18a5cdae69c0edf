"""Run real engines on the CPU, one after the other, and record each at work.

    python tests/recordings/record.py build/recordings [max xinference ...]

Each is installed into an environment of its own in `.cache/engines`, started, asked by clients, read
meanwhile by the verb `record`, and ended. Run by `tools/captures`.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.recordings.engines import CACHE, PORT, ROOT, RUNNABLE, TORCH, Runnable

PATIENCE_SECONDS = 3600
"""Some compile their model for a quarter of an hour on two cores."""
KEPT_CHARACTERS = 400
"""Of what pip or a server said last."""
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}


class CaptureError(RuntimeError):
    """Why there is no recording of an engine: it cannot be installed, does not start, or counts nothing."""


def install(name: str, steps: tuple[tuple[str, ...], ...]) -> Path:
    """An environment with these packages, made once; the folder of its programs."""
    folder = CACHE / name
    words = [word for step in steps for word in (*step, ",")][:-1]
    made = subprocess.run(
        ["tools/environment", str(folder), "--packages", *words],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHON": "python3.11"},  # which the packages are built for
        stderr=subprocess.PIPE,
        text=True,
    )
    if made.returncode:
        raise CaptureError(f"cannot be installed: {last_error(made.stderr)}")
    # Neither is needed to serve text, and their compiled parts want another torch.
    uninstall = ("uninstall", "--quiet", "--yes", "torchaudio", "torchcodec")
    subprocess.run([str(folder / "bin/pip"), *uninstall], check=True, stderr=subprocess.DEVNULL)
    return folder / "bin"


def last_error(text: str) -> str:
    """The last error that a program wrote, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error", line, re.IGNORECASE)]
    return (errors or lines or ["it says nothing"])[-1][:KEPT_CHARACTERS]


def tiny(kind: str) -> Path:
    """The model of `tests/vllm`, in this type of number, or the one that makes embeddings."""
    folder = CACHE / f"tiny-{kind}"
    if not (folder / "config.json").exists():
        programs = install("model", ((TORCH, "transformers==5.19.0"),))
        script = str(ROOT / "tests/vllm/tiny_model.py")
        subprocess.run([str(programs / "python"), script, str(folder), kind], check=True)
    return folder


def start(command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that what it starts ends with it."""
    return subprocess.Popen(
        command,
        env={**os.environ, **OFFLINE, **environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def await_answer(server: subprocess.Popen[bytes], path: str, log: Path) -> None:
    """Until the server answers, or ends, or an hour is over."""
    for _ in range(PATIENCE_SECONDS):
        if answers(path):
            return
        if server.poll() is not None:
            last = last_error(log.read_text(encoding="utf-8", errors="replace"))
            raise CaptureError(f"ended with {server.returncode} before it served: {last} (see {log})")
        time.sleep(1)
    raise CaptureError(f"{path} does not answer after {PATIENCE_SECONDS} s, see {log}")


def answers(path: str) -> bool:
    """Whether the server serves."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def record(runnable: Runnable, folder: Path) -> None:
    """Read the server while it is asked; three pages are left."""
    flags = (f"--url={runnable.metrics}", f"--engine={runnable.engine}", f"--output={folder}")
    verb = (sys.executable, "-m", "exporter", "record", *flags, "--times=1000", "--every=2s")
    recorder = subprocess.Popen(verb, cwd=ROOT)
    try:
        while not (_partial(folder) / "0001.prom").exists():
            if recorder.poll() is not None:
                raise CaptureError(f"{runnable.metrics} cannot be recorded: see what the verb said above")
            time.sleep(0.2)
        runnable.work()
        time.sleep(runnable.settle_seconds)
        recorder.send_signal(signal.SIGINT)
        if status := recorder.wait(60):
            raise CaptureError(f"the verb ended with {status}: see what it said above")
    finally:
        recorder.kill()
        recorder.wait()
    thin(folder)


def _partial(folder: Path) -> Path:
    """Where the verb writes until it ends."""
    return folder.with_name(f"{folder.name}.partial")


def thin(folder: Path) -> None:
    """Keep the first page, one between and the last, without bounds of histograms."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    first, *between, last = manifest["pages"]
    if first["counted"] == last["counted"]:
        raise CaptureError(f"nothing was counted while it was asked, see {folder}")
    moved = [page for page in between if page["counted"] not in (first["counted"], last["counted"])]
    rest = [first, *(moved or between)[:1], last]
    for page in manifest["pages"]:
        if page not in rest:
            (folder / page["file"]).unlink()
    for number, page in enumerate(rest, 1):
        name = f"{number:04}.prom"
        lines = (folder / page["file"]).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / page["file"]).unlink()
        (folder / name).write_text(
            "".join(line for line in lines if "_bucket{" not in line), encoding="utf-8"
        )
        page["file"] = name
    manifest["pages"] = rest
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def capture(runnable: Runnable, folder: Path) -> None:
    """Install, start, ask, record and end one engine; a folder of before is written anew."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in (folder, _partial(folder)):
        shutil.rmtree(old, ignore_errors=True)
    # Whoever needs the same packages has one environment.
    home = next(other.engine for other in RUNNABLE if other.packages == runnable.packages)
    programs, model = install(home, runnable.packages), tiny(runnable.model)
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as written:
        server = start(runnable.command(programs, model), runnable.environment, written)
        try:
            await_answer(server, runnable.ready, log)
            runnable.prepare()
            record(runnable, folder)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def main(output: str, *names: str) -> None:
    """Those engines, or all of them; one that fails is named, and ends no other."""
    # A shell's background ignores it, and so would the verb.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    known = {runnable.engine: runnable for runnable in RUNNABLE}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"{', '.join(unknown)}: no such engine; there are {', '.join(known)}")
    failures = {}
    for name in names or known:
        runnable = known[name]
        release = f"{name}-{runnable.version}"
        began = time.monotonic()
        try:
            capture(runnable, Path(output).resolve() / release)
        except Exception as why:  # noqa: BLE001 - whatever it is, the others are run
            failures[release] = str(why)
            print(f"{release}: not recorded: {why}", file=sys.stderr, flush=True)  # noqa: T201 - to a terminal
        else:
            print(f"{release}: recorded in {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201 - as above
    if failures:
        reasons = [f"  {release}: {why}" for release, why in failures.items()]
        raise SystemExit("\n".join(["not recorded:", *reasons]))


if __name__ == "__main__":
    main(*sys.argv[1:])

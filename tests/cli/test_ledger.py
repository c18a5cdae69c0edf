"""`ledger adopt` as people run it: in a process of its own, beside a daemon or without one."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.ledger.ledger import Ledger

ROOT = Path(__file__).parents[2]

HOLDS_THE_LEDGER = """
import sys
from pathlib import Path
from exporter.clock import SystemClock
from exporter.ledger.ledger import Ledger

ledger = Ledger.open(Path(sys.argv[1]), SystemClock())
print("open", flush=True)
sys.stdin.readline()
"""


def adopt(*flags: str) -> tuple[int, str, str]:
    """Status, output and errors of the verb."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "ledger", "adopt", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def ledger(tmp_path: Path) -> tuple[Path, str]:
    """A ledger that nobody has open, and its id."""
    path = tmp_path / "ledger.db"
    made = Ledger.open(path, SystemClock())
    made.close()
    return path, made.id


@pytest.fixture
def daemon(ledger: tuple[Path, str]) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the ledger open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LEDGER, str(ledger[0])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def test_it_says_what_it_did(ledger: tuple[Path, str]) -> None:
    """The id, and what the next start will do."""
    path, name = ledger

    message = (
        f"{path}: ledger {name} was not bound to a machine. The next start of the daemon binds it to the "
        "machine and the GPUs that it finds, and goes on with its id and totals.\n"
    )

    assert adopt(f"--ledger.path={path}") == (0, message, "")


def test_the_configuration_says_where_the_ledger_is(tmp_path: Path, ledger: tuple[Path, str]) -> None:
    """Without the flag, the daemon's own configuration is asked."""
    path, name = ledger
    file = tmp_path / "ice.yaml"
    file.write_text(f"ledger: {{path: {path}}}\n")
    status, output, errors = adopt(f"--config.file={file}")

    assert (status, errors) == (0, "")
    assert output.startswith(f"{path}: ledger {name} ")


def test_it_refuses_while_the_daemon_runs(ledger: tuple[Path, str], daemon: subprocess.Popen[str]) -> None:
    """At once, naming the process."""
    path, _name = ledger

    assert adopt(f"--ledger.path={path}") == (
        1,
        "",
        f"{path} is in use by process {daemon.pid}: stop the daemon, adopt, and start it again\n",
    )


def test_it_says_what_is_no_ledger(tmp_path: Path) -> None:
    """A wrong path, and a file that is something else: one line each, no trace."""
    nowhere, notes = tmp_path / "nowhere.db", tmp_path / "notes.txt"
    notes.write_text("these are no books\n")
    name_it = "name the daemon's ledger with --ledger.path or --config.file"

    assert adopt(f"--ledger.path={nowhere}") == (1, "", f"{nowhere}: there is no ledger here; {name_it}\n")
    assert adopt(f"--ledger.path={notes}") == (
        1,
        "",
        f"{notes} is no ledger that can be adopted: file is not a database; {name_it}\n",
    )

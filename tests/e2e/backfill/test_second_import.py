"""An import after another: the commands that the verb prints leave the second, and what others imported."""

import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exporter.finance.history.past_records import import_commands, ledger_of
from tests.e2e.backfill.stores import RETENTION, import_blocks
from tests.e2e.fleet.programs import FleetPrometheus, Queried, Victoria

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("backfill-import")]

NOVEMBER = 1_793_491_200
SPEND = "inference:spend_dollars_per_hour"
LEDGER, OTHER = ledger_of("http://a.example"), ledger_of("http://b.example")


def past(path: Path, ledger: str, **dollars: int) -> Path:
    """A file with an hour of the spend of clusters."""
    lines = [
        f'{SPEND}{{cluster="{cluster}",ledger="{ledger}"}} {value} {at}\n'
        for cluster, value in dollars.items()
        for at in range(NOVEMBER, NOVEMBER + 3600, 300)
    ]
    path.write_text(f"# TYPE {SPEND} gauge\n{''.join(lines)}# EOF\n")
    return path


def delete(store: Queried, server: str) -> None:
    """Do what the first command for a server says."""
    command = next(command for name, command in import_commands("", LEDGER) if name.startswith(server))
    curl, flag, body, url = shlex.split(command)
    assert (curl, flag) == ("curl", "-d")
    store.request(urlsplit(url).path, body.encode())


def spend(store: Queried) -> dict[str, float]:
    """Dollars in the middle of the hour by cluster, of whatever ledger."""
    return store.query(f"sum by (cluster) ({SPEND})", NOVEMBER + 1800)


def with_prometheus(folder: Path, before: list[Path], last: Path) -> tuple[dict[str, float], ...]:
    """What a Prometheus says before and after it is told to delete, and once it has the last file."""
    program = FleetPrometheus(folder / "prometheus", "{}", ("--web.enable-admin-api",), retention=RETENTION)
    for file in before:
        import_blocks(file, program.data)
    with program:
        answers = [spend(program)]
        delete(program, "Prometheus")
        answers.append(spend(program))
    import_blocks(last, program.data)
    with program:
        return *answers, spend(program)


def with_victoria(folder: Path, before: list[Path], last: Path) -> tuple[dict[str, float], ...]:
    """The same of a VictoriaMetrics, which takes files while it runs."""
    with Victoria(folder / "victoria", retention=RETENTION) as program:
        for file in before:
            program.take(file.read_bytes())
        answers = [spend(program)]
        delete(program, "VictoriaMetrics")
        answers.append(spend(program))
        program.take(last.read_bytes())
        return *answers, spend(program)


@pytest.mark.parametrize("store", [with_prometheus, with_victoria])
def test_a_second_import_takes_the_place_of_the_first(
    store: Callable[[Path, list[Path], Path], tuple[dict[str, float], ...]], tmp_path: Path
) -> None:
    """South is west now, and east costs less; north was imported from another server."""
    first = past(tmp_path / "first.om", LEDGER, east=4, south=2)
    other = past(tmp_path / "other.om", OTHER, north=1)
    second = past(tmp_path / "second.om", LEDGER, east=3, west=2)

    assert store(tmp_path, [first, other], second) == (
        {'{cluster="east"}': 4, '{cluster="south"}': 2, '{cluster="north"}': 1},
        {'{cluster="north"}': 1},
        {'{cluster="east"}': 3, '{cluster="west"}': 2, '{cluster="north"}': 1},
    )

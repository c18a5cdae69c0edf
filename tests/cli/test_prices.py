"""`prices show` and `prices update`: what they print and refuse, and that no half file is ever read."""

import json
import os
import stat
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.serve import ServeFlags, _Daemon
from exporter.clock import SystemClock
from exporter.config import ConfigError, load
from exporter.config.settings import DEFAULT_PRICES, cost_policy
from exporter.readings import Gpu, HostLocation
from exporter.tariff.price_file import HEADER
from exporter.tariff.quotes import Quote

HEAD = ",".join(HEADER)
ROW = "aws,p5.48xlarge,H100-SXM5-80GB,8,eu-north-1,{},,USD,listed,2026-11-24,price-list"
NOVEMBER = 1_795_824_000 * 10**9
"""2026-11-28T00:00:00Z."""
H100 = Gpu("GPU-a", "NVIDIA H100 80GB HBM3")
NORTH = HostLocation("aws", "p5.48xlarge", "eu-north-1")


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "wall", lambda _: NOVEMBER)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose price file is not there yet."""
    file = tmp_path / "ice.yaml"
    file.write_text(f"prices: {{path: {tmp_path}/prices.csv}}\n")
    return file


def fetched(tmp_path: Path, *prices: str) -> Path:
    """A price file as an operator fetched it."""
    file = tmp_path / "fetched.csv"
    file.write_text("\n".join((HEAD, *(ROW.format(price) for price in prices))) + "\n")
    return file


def test_an_update_is_checked_written_and_used(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is readable for the daemon's user; the price is a list's from then on."""
    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 0

    output = capsys.readouterr().out
    target = tmp_path / "prices.csv"
    assert output == (
        "ok: 1 rows, newest list 2026-11-24\n"
        "warning: it has no price of azure, gcp, nebius, oci: their hosts would be estimated\n"
        f"written to {target}; the daemon uses it after a reload (SIGHUP or POST /-/reload) or a restart\n"
    )
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fetched.csv", "ice.yaml", "prices.csv"]
    quote = cost_policy(load(config), "h", NORTH).tariff.quote(H100)
    assert isinstance(quote, Quote)
    assert (quote.price_basis, float(quote.dollars_per_hour)) == ("catalogue", 61.0)


def test_a_dry_run_writes_nothing(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says where it would."""
    assert (
        main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}", "--dry-run"]) == 0
    )
    assert capsys.readouterr().out.endswith(f"nothing written; it would be {tmp_path}/prices.csv\n")
    assert not (tmp_path / "prices.csv").exists()


def test_standard_input_is_a_file_too(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `kubectl exec -i` needs no copy in the container."""
    data = fetched(tmp_path, "61").read_bytes()
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(data)))

    assert main(["prices", "update", "-", f"--config.file={config}"]) == 0
    assert (tmp_path / "prices.csv").read_bytes() == data


@pytest.mark.parametrize(
    ("price", "why"),
    [
        ("0", "line 2, on_demand: '0' is no price above 0"),
        # 55.04 x 730
        ("40179.2", "of a month? Divide by 730"),
        ("0.1", "check its unit"),
    ],
)
def test_a_bad_file_changes_nothing(
    price: str, why: str, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one before stays, byte by byte."""
    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 0
    before = (tmp_path / "prices.csv").read_bytes()
    capsys.readouterr()

    assert main(["prices", "update", str(fetched(tmp_path, price)), f"--config.file={config}"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"{tmp_path}/fetched.csv: line 2, on_demand: ")
    assert why in errors
    assert (tmp_path / "prices.csv").read_bytes() == before


def test_a_broken_file_can_be_replaced(tmp_path: Path, config: Path) -> None:
    """No verb but this one goes on while the price file is damaged."""
    (tmp_path / "prices.csv").write_text("broken")
    assert main(["prices", "show", f"--config.file={config}"]) == 2
    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 0
    assert main(["prices", "show", f"--config.file={config}"]) == 0


def test_what_cannot_be_read_or_written_says_so(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there, a folder in its place, a folder that is missing, a wrong configuration."""
    gone = tmp_path / "gone.csv"
    assert main(["prices", "update", str(gone), f"--config.file={config}"]) == 2
    assert capsys.readouterr().err == f"{gone}: cannot be read: No such file or directory\n"
    assert main(["prices", "update", str(tmp_path), f"--config.file={config}"]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: cannot be read: Is a directory\n"
    config.write_text(f"prices: {{path: {tmp_path}/missing/prices.csv}}\n")
    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}/missing/prices.csv: cannot be written: No such file or directory; prices.path names "
        "another file\n"
    )
    config.write_text("prices: [\n")
    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 2


def test_a_write_that_fails_leaves_the_file_before(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file is never seen under its name, and none is left beside it."""
    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 0
    before = (tmp_path / "prices.csv").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["prices", "update", str(fetched(tmp_path, "62")), f"--config.file={config}"]) == 1
    assert (tmp_path / "prices.csv").read_bytes() == before
    assert not list(tmp_path.glob(".prices.csv.*"))


def test_show_says_what_is_in_use_and_how_old_it_is(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the package 64 days, of the file 4; counts by cloud."""
    assert main(["prices", "show"]) == 0
    bundled = capsys.readouterr().out
    assert bundled.startswith("list prices: bundled\nnewest list: 2026-09-25, 64 days old\n")
    assert "\naws          75      126      635         1  2025-04-05 to 2026-07-20\n" in bundled

    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 0
    capsys.readouterr()
    assert main(["prices", "show", "--json", f"--config.file={config}"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["file"], document["newest"], document["age_days"]) == (
        f"{tmp_path}/prices.csv",
        "2026-11-24",
        4,
    )
    assert document["clouds"]["aws"] == {
        "types": 1,
        "listed": 1,
        "scaled": 0,
        "without_price": 0,
        "oldest": "2026-11-24",
        "newest": "2026-11-24",
    }


def test_show_says_what_a_type_costs_and_on_what_basis(capsys: pytest.CaptureFixture[str]) -> None:
    """Listed, scaled, of another cloud, and not known."""
    for words, expected in (
        (("aws", "p5.48xlarge", "us-east-1"), "price basis: catalogue\n"),
        (
            ("aws", "p5.48xlarge", "ap-southeast-3"),
            "75.9552 dollars per hour / 8 GPUs = 9.4944 dollars per GPU",
        ),
        (
            ("gcp", "a3-ultragpu-8g", "us-central1"),
            "63.296 dollars per hour / 8 GPUs = 7.912 dollars per GPU",
        ),
    ):
        cloud, instance_type, region = words
        arguments = [f"--cloud={cloud}", f"--instance-type={instance_type}", f"--region={region}"]
        assert main(["prices", "show", *arguments]) == 0
        assert expected in capsys.readouterr().out

    assert main(["prices", "show", "--cloud=gcp", "--instance-type=a9", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "asked": "gcp a9",
        "reason": "it does not have the gcp instance type a9",
    }
    with pytest.raises(SystemExit):
        main(["prices", "show", "--cloud=gcp"])


def test_a_daemon_uses_a_new_file_after_a_reload(tmp_path: Path, config: Path) -> None:
    """Not before; a file that was damaged meanwhile is refused, and the prices in force stay."""
    assert main(["prices", "update", str(fetched(tmp_path, "61")), f"--config.file={config}"]) == 0
    daemon = _Daemon(ServeFlags(config, "127.0.0.1:0", None), load(config), SystemClock())

    def hourly() -> float:
        quote = cost_policy(daemon._config, "h", NORTH).tariff.quote(H100)
        assert isinstance(quote, Quote)
        return float(quote.dollars_per_hour)

    assert main(["prices", "update", str(fetched(tmp_path, "62")), f"--config.file={config}"]) == 0
    assert hourly() == 61
    daemon.reload()
    assert hourly() == 62
    (tmp_path / "prices.csv").write_text("broken")
    with pytest.raises(ConfigError, match=r"prices\.csv: line 1: the header must be"):
        daemon.reload()
    assert hourly() == 62


def test_a_price_file_that_is_named_must_be_there(config: Path, tmp_path: Path) -> None:
    """The default one need not: then the bundled prices are used."""
    with pytest.raises(ConfigError) as refused:
        load(config)

    assert str(refused.value) == (
        f"{tmp_path}/prices.csv: cannot be read: No such file or directory; write it with `prices update`, "
        "or remove prices.path"
    )
    assert not DEFAULT_PRICES.exists()
    assert load(None).catalogue.bundled


def test_the_default_file_is_found_without_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file and no flag is a supported install; one that is damaged is an error there too."""
    monkeypatch.setattr(sys.modules["exporter.config.load"], "DEFAULT_PRICES", tmp_path / "prices.csv")
    assert load(None).catalogue.bundled
    (tmp_path / "prices.csv").write_text(fetched(tmp_path, "61").read_text())
    assert not load(None).catalogue.bundled
    (tmp_path / "prices.csv").write_text("broken")
    with pytest.raises(ConfigError):
        load(None)
    (tmp_path / "prices.csv").unlink()
    os.mkfifo(tmp_path / "prices.csv")
    with pytest.raises(ConfigError, match="it is no regular file"):
        load(None)


def test_a_type_that_only_the_file_has_may_be_named(tmp_path: Path, config: Path) -> None:
    """The configuration is checked against the list prices in use."""
    (tmp_path / "prices.csv").write_text(
        f"{HEAD}\naws,p7.48xlarge,R200,8,us-east-1,200,,USD,listed,2026-11,price-list\n"
    )
    rule = "hardware: [{rented: {catalogue: aws, instance_type: p7.48xlarge, region: us-east-1}}]\n"
    config.write_text(f"{config.read_text()}{rule}")

    assert load(config).hardware
    config.write_text(rule)
    with pytest.raises(ConfigError, match=r'"p7\.48xlarge" is not in the catalogue of aws'):
        load(config)

"""A ConfigMap that changes under the running daemon, as the kubelet brings it into a pod."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.daemon import NO_CLOUD, Daemon, Page, get
from tests.fake_nvml.library import FakeNvml

RENT = '{match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: %s}}'
PRICED = f"interval: 1s\nhardware: [{RENT}]\n"


def swap(mount: Path, version: str, text: str) -> None:
    """A new folder, and a link to it that takes the old one's place at once."""
    (mount / version).mkdir()
    (mount / version / "config.yaml").write_text(text + NO_CLOUD, encoding="utf-8")
    (mount / "..data_tmp").symlink_to(version)
    (mount / "..data_tmp").rename(mount / "..data")


def price(page: Page) -> set[float]:
    """What an hour of each GPU costs."""
    return set(page.matching("inference_gpu_price_dollars_per_hour", component="rent"))


def test_a_changed_config_map_is_in_force_without_a_restart(tmp_path: Path, gpus: FakeNvml) -> None:
    """A wrong one is not, and is told; the next right one is, and the process is the same all the while."""
    daemon = Daemon(tmp_path, PRICED % "2.50", gpus.environment())
    swap(tmp_path, "..1", PRICED % "2.50")
    daemon.config.unlink()
    daemon.config.symlink_to("..data/config.yaml")
    daemon.begin = lambda *command: [*command, "--config.watch"]
    with daemon:
        begun = daemon.until(lambda page: price(page) == {2.5}, "the first price")
        swap(tmp_path, "..2", "intervall: 1s\n")
        daemon.until(lambda page: page.value("inference_config_last_reload_success") == 0, "a refusal")
        swap(tmp_path, "..3", PRICED % "2.00")
        after = daemon.until(lambda page: price(page) == {2.0}, "the second price")

        assert after.value("inference_config_last_reload_success") == 1
        name = "process_start_time_seconds"
        assert after.value(name) == begun.value(name)
        log = daemon.log.read_text(encoding="utf-8")
        assert log.count("configuration reloaded") == 1
        assert log.count("configuration reload failed; keeping the previous one") == 1
        assert "intervall: unknown key" in log


@pytest.mark.parametrize("cut", [0.6, 0.0], ids=["cut at 60 %", "emptied"])
@pytest.mark.parametrize("way", ["signal", "request", "watch"])
def test_an_emptied_file_keeps_the_configuration(
    tmp_path: Path, gpus: FakeNvml, way: str, cut: float
) -> None:
    """As a file that is cut within a price. Two H100 at 2.50 dollars; without a price, their list price."""
    daemon = Daemon(tmp_path, PRICED % "2.50", gpus.environment())
    if way == "watch":
        daemon.begin = lambda *command: [*command, "--config.watch"]
    with daemon:
        daemon.until(lambda page: price(page) == {2.5}, "the first price")
        whole = (PRICED % "2.50" + NO_CLOUD).encode()
        daemon.config.write_bytes(whole[: int(len(whole) * cut)])
        if way == "signal":
            os.kill(daemon.pid, signal.SIGHUP)
        elif way == "request":
            status, body = get(daemon.port, "/-/reload", method="POST")
            assert status == 500
            assert cut or body.endswith(b": has no key; to run without a configuration, restart\n")
        daemon.until(lambda page: page.value("inference_config_last_reload_success") == 0, "a refusal")
        assert price(daemon.settled()) == {2.5}
        log = daemon.log.read_text(encoding="utf-8")
        assert log.count("configuration reload failed; keeping the previous one") == 1
        assert "configuration reloaded" not in log

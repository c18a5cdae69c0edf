"""The page of the running demo in a real browser: what it shows, loads, asks for, and who can use it."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.report import Report
from exporter.web.server import WebServer
from exporter.web.wording import ABSENT
from tests.e2e.daemon import ROOT, Page, free_port, get, until
from tests.nightly import daily
from tests.web import conftest as host
from tests.web.scenes import BUILD, EXPLAINED, EXPLANATION, PICTURES, SCENES, document, write_manifest
from tests.web.test_page import HOSTILE, hostile

PYTHON = ROOT / ".cache" / "browser" / "bin" / "python"
MOST_BYTES = 100_000
MOST_MILLISECONDS = 100
LEAST_TEXT_PIXELS = 12
MOST_PICTURE_BYTES = 100_000
FOLDED = {"eight", "forty"}
"""Hosts whose tables are compared."""
DEMO_SECONDS = 150
"""Beside other tests; how soon the demo answers is a test of its own."""

pytestmark = pytest.mark.timeout(400)


def look(folder: Path, *arguments: str) -> Any:
    """What the visitor saw; the arguments are addresses and flags."""
    if not PYTHON.exists():
        raise FileNotFoundError("no browser's driver: run the end-to-end tests with `make e2e`")
    out = folder / "seen.json"
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "e2e" / "browser_check.py", out, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures are."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def demo(folder: Path) -> Iterator[str]:
    """The address of a demo that runs."""
    port = free_port()
    with (folder / "demo.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "demo", f"--web.listen-address=127.0.0.1:{port}"],
            cwd=ROOT,
            env=os.environ,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: process.poll() is None and _answers(port), DEMO_SECONDS, "the demo's page")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return get(port, "/-/ready")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def demo_visit(demo: str, folder: Path) -> Any:
    """One visit."""
    return look(folder, demo)


@contextmanager
def served(report: Report) -> Iterator[str]:
    """The address of a page of one report."""
    server = WebServer("127.0.0.1:0", lambda: report, host.web_clock(), None, BUILD)
    server.start()
    try:
        yield server.url
    finally:
        server.close()


@pytest.fixture(scope="module")
def scenes(folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Visits to the hosts of the run's tests and the explanation of one, by their names, in one browser."""
    functions = (item for item in request.session.items if isinstance(item, pytest.Function))
    names = {item.callspec.params.get("name") for item in functions if hasattr(item, "callspec")}
    with ExitStack() as servers:
        urls = {
            name: servers.enter_context(served(make()))
            for name, make in SCENES.items()
            if name in names | FOLDED
        }
        urls[EXPLANATION] = f"{urls[EXPLAINED]}explain/"
        visits = look(folder, *urls.values(), "--scenes")
    return {name: visits[url] for name, url in urls.items()}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A visit to a host whose servers, models and products are named to break a page."""
    with served(hostile(host.report())) as url:
        return look(tmp_path_factory.mktemp("names"), url, "--names")


def dollars(figure: float) -> str:
    """To the cent, halves up, as anybody would write it."""
    cents = Decimal(repr(round(figure, 9))).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"${cents:,}"


def table(page: Any, label: str) -> Any:
    """Rows of the table whose label begins so."""
    (rows,) = [each["rows"] for each in page["tables"] if each["label"].startswith(label)]
    return rows


def test_nothing_goes_wrong_and_nothing_leaves_the_host(demo_visit: Any, demo: str) -> None:
    """No line on the console, no request that failed, none that is not to the daemon; explanations too."""
    for visit in (
        demo_visit["seen"],
        demo_visit["without_scripts"],
        demo_visit["refreshed"],
        *demo_visit["explained"],
    ):
        assert visit["console"] == []
        assert visit["failed"] == []
        assert [url for url in visit["requests"] if not url.startswith(demo)] == []
    servers = {line["server"] for line in demo_visit["document"]["host"]["servers"]}
    assert {each["link"] for each in demo_visit["explained"]} == {
        "explain/",
        *(f"explain/{name}" for name in servers),
    }


@pytest.mark.alone
def test_it_is_light_and_quick(folder: Path, measured: Callable[[str], None]) -> None:
    """Of a host of eight GPUs: less than 100 kB, whose first paint comes in less than 100 ms."""
    with served(SCENES["eight"]()) as url:
        loads = look(folder, url, "--loads")["loads"]

    assert {load["bytes"] < MOST_BYTES for load in loads} == {True}
    paint = min(load["paint"] for load in loads)
    measured(f"page of 8 servers: {loads[-1]['bytes']:,} bytes, first paint after {paint:.0f} ms")
    assert paint < MOST_MILLISECONDS


def test_figures_are_those_of_the_metrics(demo_visit: Any) -> None:
    """At the same tick: the page, the document and Prometheus' own reading of the metrics."""
    page, document = demo_visit["page"], demo_visit["document"]["host"]
    metrics = Page(demo_visit["metrics"].encode(), 0)
    month = document["month"]

    assert page["taken"] == document["taken"]
    now = metrics.sum("inference_cost_dollars_per_hour")
    spent = metrics.sum("inference_month_to_date_dollars", month=month)
    end = metrics.sum("inference_month_projected_dollars", month=month)
    assert document["dollars_per_hour"] == pytest.approx(now, rel=1e-9)
    assert document["month_to_date_dollars"] == pytest.approx(spent, rel=1e-9)
    assert document["month_projected_dollars"] == pytest.approx(end, rel=1e-9)
    assert document["budget_dollars"] == metrics.value("inference_budget_dollars", product="")
    assert document["monthly_run_rate_dollars"] == pytest.approx(
        metrics.value("inference_monthly_run_rate_dollars")
    )
    assert page["big"][:3] == [f"{dollars(now)} per hour", dollars(spent), dollars(end)]


def test_tables_are_those_of_the_metrics(demo_visit: Any) -> None:
    """Server by server and GPU by GPU, in cents."""
    page, document = demo_visit["page"], demo_visit["document"]["host"]
    metrics = Page(demo_visit["metrics"].encode(), 0)
    total, *lines = table(page, "Servers")
    rows = {(row[0], row[9]): row for row in lines}

    assert total[1] == dollars(metrics.sum("inference_cost_dollars_per_hour"))
    hourly = [line["dollars_per_hour"] for line in document["servers"]]
    assert math.fsum(hourly) == document["dollars_per_hour"]
    costs = [Decimal(row[1].strip("$").replace(",", "")) for row in lines]
    assert costs == sorted(costs, reverse=True)
    for line in document["servers"]:
        labels = {"server": line["server"], "model": line["model"]}
        row = rows[line["server"], line["model"] or ABSENT]
        assert row[1] == dollars(metrics.sum("inference_cost_dollars_per_hour", **labels))
        for column, kind in ((5, "all"), (6, "computed")):
            matching = metrics.matching(
                "inference_cost_dollars_per_million_tokens", kind=kind, basis="full", **labels
            )
            assert row[column] == ("".join(map(dollars, matching)) or ABSENT)
    assert len(rows) == len(document["servers"]) >= 4
    total, *lines = table(page, "GPUs")
    assert total[1] == dollars(metrics.sum("inference_gpu_price_dollars_per_hour"))
    for line, row in zip(document["gpus"], lines, strict=True):
        hourly = metrics.sum("inference_gpu_price_dollars_per_hour", uuid=line["uuid"])
        watts = metrics.value("inference_gpu_power_watts", uuid=line["uuid"])
        assert (row[1], row[4]) == (dollars(hourly), f"{watts:.0f}")
        assert line["utilization_ratio"] == metrics.value(
            "inference_gpu_utilization_ratio", uuid=line["uuid"]
        )
    whole = sum(line["dollars_per_hour"] for line in document["components"])
    assert whole == pytest.approx(document["dollars_per_hour"], rel=1e-9)


def test_savings_are_those_of_the_metrics(demo_visit: Any) -> None:
    """Finding by finding, the largest first; the demo has a deserted server and an unallocated GPU."""
    page, saved = demo_visit["page"], demo_visit["document"]["host"]["savings"]
    metrics = Page(demo_visit["metrics"].encode(), 0)

    assert {finding["kind"] for finding in saved["findings"]} >= {"deserted", "unallocated"}
    for finding, shown in zip(saved["findings"], page["findings"], strict=True):
        labels = {"kind": finding["kind"], "server": finding["server"] or "unallocated"}
        amount = metrics.sum("inference_saving_dollars_per_month", **labels)
        assert finding["dollars_per_month"] == pytest.approx(amount, rel=1e-9)
        first, second = shown.split("\n")
        assert first == f"{dollars(amount)} a month: {finding['text']}"
        assert second.endswith(f" {finding['evidence']}. Kind: {finding['kind']}.")
    total = metrics.sum("inference_saving_dollars_per_month")
    cash = metrics.sum("inference_saving_dollars_per_month", form="cash")
    assert saved["dollars_per_month"] == pytest.approx(total, rel=1e-9)
    assert saved["cash_dollars_per_month"] == pytest.approx(cash, rel=1e-9)
    assert f"{dollars(cash)} a month in cash, {dollars(total - cash)} as capacity" in page["text"]


def test_history_adds_up_to_the_figures(demo_visit: Any) -> None:
    """Hours to the last day and its idle part, days to the month, the last of them is today."""
    document = demo_visit["document"]["host"]
    phases = [hour["dollars_by_phase"] for hour in document["hours"]]

    assert sum(sum(each.values()) for each in phases) == pytest.approx(document["last_day"]["dollars"])
    assert sum(each.get("idle", 0) for each in phases) == pytest.approx(document["last_day"]["idle_dollars"])
    assert document["days"][-1]["month_to_date_dollars"] == document["month_to_date_dollars"]
    spent = [day["month_to_date_dollars"] for day in document["days"]]
    assert spent == sorted(spent)
    assert sum(day["dollars"] for day in document["days"]) == pytest.approx(spent[-1], abs=1e-6)
    assert document["today_dollars"] == document["days"][-1]["dollars"]
    assert f"{dollars(document['today_dollars'])} today" in demo_visit["page"]["text"]
    assert demo_visit["page"]["images"] == 2


def test_nobody_is_shut_out(demo_visit: Any, named: Any) -> None:
    """Axe finds no barrier: light, dark, narrow, explanations, and with names of every script."""
    barriers = {
        **demo_visit["barriers"],
        **{each["link"]: each["barriers"] for each in demo_visit["explained"]},
    }
    barriers |= {f"names {each['link']}": each["barriers"] for each in named["explained"]}

    assert {where: what for where, what in {**barriers, "names": named["barriers"]}.items() if what} == {}
    assert {"light", "dark", "narrow"} < barriers.keys()


def test_the_keyboard_reaches_everything(demo_visit: Any) -> None:
    """Tab comes to each link, table, button and summary, and it shows where it is; Enter opens."""
    keyboard = demo_visit["keyboard"]

    assert 20 < keyboard["reached"] == keyboard["expected"] < 40
    assert keyboard["without_outline"] == []
    assert keyboard["opens"] is True


def test_it_is_whole_without_scripts(demo_visit: Any) -> None:
    """All headings and figures; the button that pauses is the script's."""
    bare = demo_visit["without_scripts"]

    assert len(set(bare["requests"])) == 1
    assert bare["headings"] == demo_visit["page"]["headings"]
    assert len(bare["big"]) == 4
    assert (bare["buttons"], demo_visit["refreshed"]["button"]) == (0, "Resume refresh")


def test_the_script_refreshes_what_is_not_in_use(demo_visit: Any) -> None:
    """All figures come anew at once, under focus too; while text is selected or it is paused, none."""
    refreshed = demo_visit["refreshed"]

    assert refreshed["in_use"] != "old"
    assert refreshed["focused"] == ["summary", True]
    assert refreshed["focus"] == "figure figure"
    assert refreshed["selected"] == [True, "old"]
    assert refreshed["paused"] is True


def test_an_old_figure_is_never_shown_as_live(tmp_path: Path) -> None:
    """The daemon dies: the page says since when, and dims its figures; it comes back, and so do they."""
    report = host.report()
    clock = host.web_clock()
    server = WebServer("127.0.0.1:0", lambda: report, clock, None, report.build)
    server.start()
    address, out = server.url, tmp_path / "seen.json"
    visitor = subprocess.Popen(
        [PYTHON, ROOT / "tests" / "e2e" / "browser_check.py", out, address, "--dying"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert visitor.stdin is not None
    assert visitor.stdout is not None
    try:
        assert visitor.stdout.readline() == "dead\n"
        port = server.port
        server.close()
        visitor.stdin.write("\n")
        visitor.stdin.flush()
        assert visitor.stdout.readline() == "back\n"
        server = WebServer(f"127.0.0.1:{port}", lambda: report, clock, None, report.build)
        server.start()
        visitor.stdin.write("\n")
        visitor.stdin.flush()
        assert visitor.wait(60) == 0
    finally:
        server.close()
        visitor.kill()
        visitor.communicate()
    states = json.loads(out.read_text(encoding="utf-8"))
    taken = states["alive"]["taken"].split(" ")[1]

    assert states["alive"] == {"said": "", "taken": states["alive"]["taken"], "opacity": "1", "button": True}
    assert states["dead"] == {
        **states["alive"],
        "said": f"no answer since {taken}",
        "opacity": "0.4",
        "button": False,
    }
    assert states["back"] == states["alive"]


def test_it_fits_small_screens_and_paper(demo_visit: Any) -> None:
    """Nothing is wider than 320 pixels but tables, which scroll by themselves; paper has no button."""
    assert demo_visit["narrow_overflow"] == 0
    assert demo_visit["print"] == {"button": 0, "overflow": 0}
    assert {each["overflow"] for each in demo_visit["explained"]} == {0}


def test_hostile_names_are_text(named: Any) -> None:
    """No script of theirs runs, no request is theirs, and each is read as it is written."""
    for visit in (named, *named["explained"]):
        assert visit["console"] == []
        assert visit["failed"] == []
        assert [url for url in visit["requests"] if not url.startswith("http://127.0.0.1")] == []
    servers = {row[0].split("\n")[0] for row in table(named["page"], "Servers")}
    from_outside = {owner.server for owner in hostile(host.report()).rates}
    assert from_outside <= servers
    shown = [text.partition(" a month: ")[2] for text in named["page"]["findings"]]
    assert [text.partition(" costs more")[0] for text in shown[:3]] == list(HOSTILE[:3])
    titles = {line for each in named["explained"] for line in each["text"].split("\n")}
    assert {f"What {name} costs" for name in from_outside} <= titles
    assert named["overflow"] == 0


@pytest.mark.parametrize("name", daily((*SCENES, EXPLANATION), {*FOLDED, "minute", EXPLANATION}))
def test_every_host_can_be_read_by_everybody(name: str, scenes: dict[str, Any]) -> None:
    """In light and dark, wide and on a phone: no barrier, nothing cut, and no small text in a chart."""
    views = scenes[name]

    for how in ("wide light", "wide dark", "phone light", "phone dark"):
        each = views[how]
        assert (each["barriers"], each["console"], each["failed"]) == ([], [], [])
        assert len(set(each["requests"])) == 1
        assert each["overflow"] == 0
        assert each["silent_tables"] == 0
        assert each["chart_text"] is None or each["chart_text"] >= LEAST_TEXT_PIXELS
        assert each["bytes"] < MOST_BYTES
    if name in FOLDED:
        assert views["hints without scripts"] == 2


def test_each_server_is_one_stop(scenes: dict[str, Any], measured: Callable[[str], None]) -> None:
    """Of the keyboard; beyond ten there is a way past all."""
    few, many = scenes["eight"]["wide light"], scenes["forty"]["wide light"]
    measured(
        f"40 servers on 16 GPUs: {many['bytes']:,} bytes, {many['height']:,} pixels, {many['stops']} stops"
    )

    # Ten of 41 rows are above the fold; the way past them, and the checkbox.
    assert many["stops"] - few["stops"] == 10 - 8 - 1 + 2


def test_rows_below_the_fold_are_found(scenes: dict[str, Any]) -> None:
    """By the checkbox, also without scripts; by words, by order and on paper."""
    fold = scenes["forty"]["fold"]

    for how in ("scripts", "no scripts"):
        assert [fold[f"{how}, {when}"] for when in ("at first", "unfolded", "printed")] == [10, 41, 41]
    assert fold["last by words"] == [1, True]
    assert fold["sorted"] == [10, "Show 31 more rows, $31.85 per hour"]
    assert fold["refreshed"] == [41, True]


def test_servers_are_sorted_and_filtered_without_a_reload(demo_visit: Any) -> None:
    """By any column, either way, and by words; the next figures come into the same order."""
    arranged = demo_visit["arranged"]
    orders = arranged["orders"]
    every = sorted(orders["at first"])

    assert orders["at first"][0] == "chat-70b"
    assert orders["by name"] == every
    assert orders["reversed"] == every[::-1]
    tokens = {line["server"]: line["last_day_tokens"] for line in demo_visit["document"]["host"]["servers"]}
    assert orders["by tokens"] == sorted(
        every, key=lambda name: -(tokens[name] if tokens[name] is not None else -1)
    )
    known = [name for name in orders["fewest tokens first"] if tokens[name] is not None]
    assert known == sorted(known, key=lambda name: tokens[name])
    assert orders["fewest tokens first"][-1] == "unallocated"
    assert orders["of chat"] == orders["refreshed"] == ["chat-70b"]
    assert arranged["words"].startswith(f"1 of {len(every)} rows, $")
    assert arranged["sorted"] == [["Tokens", "ascending"]]
    assert (arranged["requests"], arranged["focus"]) == (1, "search")


@pytest.mark.nightly
def test_pictures_are_taken(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`tools/pictures` puts them into the docs."""
    wanted = request.config.getoption("--pictures") or tmp_path
    listed = []
    for picture in PICTURES:
        rendered = tmp_path / f"{picture.scene}.html"
        rendered.write_bytes(document(picture.scene))
        listed.append({"page": str(rendered), "picture": str(wanted / picture.file), "how": picture.how})
    (tmp_path / "list.json").write_text(json.dumps(listed), encoding="utf-8")
    look(tmp_path, str(tmp_path / "list.json"), "--pictures")

    assert {5_000 < (wanted / picture.file).stat().st_size < MOST_PICTURE_BYTES for picture in PICTURES} == {
        True
    }
    if wanted != tmp_path:
        write_manifest(wanted)

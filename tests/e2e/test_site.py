"""The site of docs/ is built without a dead link or a network, searched, and read on a phone."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import ROOT
from tests.e2e.test_page import PYTHON

READ = (
    *("alerts", "runbooks/InferenceBudgetExhausted", "engines/vllm"),
    *("fleet", "ledger", "finance", "cost-model"),
)

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this checkout; a dead link or a page that the navigation lacks stops it."""
    folder = tmp_path_factory.mktemp("site")
    offline = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [ROOT / "tools" / "site", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def visited(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A visit to the folder, without a server."""
    out = tmp_path_factory.mktemp("visit") / "visit.json"
    urls = [(built / f"{name}.html").as_uri() for name in ("index", *READ)]
    subprocess.run(
        [PYTHON, ROOT / "tests" / "e2e" / "browser_check.py", out, *urls, "--site"], check=True, timeout=240
    )
    return json.loads(out.read_text(encoding="utf-8"))


def test_search_finds_budget(visited: Any) -> None:
    """Pages that an operator with a budget looks for, from a folder of files."""
    assert {"Configuration", "Recording rules", "InferenceBudgetExhausted"} <= set(visited["search_results"])


def test_nothing_is_requested_elsewhere(visited: Any) -> None:
    """No font, script or index of another host, and no error on the console."""
    visits = visited["pages"].values()

    assert all(url.startswith(("file:", "data:", "blob:")) for visit in visits for url in visit["requests"])
    assert [(visit["console"], visit["failed"]) for visit in visits] == [([], [])] * (1 + len(READ))


def test_a_page_fits_a_phone(visited: Any) -> None:
    """Tables and blocks scroll in themselves."""
    phone = {
        Path(url).stem: visit["overflow"] for url, visit in visited["pages"].items() if "overflow" in visit
    }

    assert phone == {Path(name).stem: 0 for name in READ}


def test_diagrams_are_drawn(visited: Any) -> None:
    """On the pages that describe a flow."""
    drawn = {Path(url).stem for url, visit in visited["pages"].items() if visit.get("diagrams")}

    assert drawn == {"fleet", "ledger", "finance"}


def test_the_first_pages_lead_to_an_alert() -> None:
    """The navigation begins with demo, installation and first alert, below the index."""
    _, _, nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")

    assert re.findall(r"\S+\.md", nav)[:4] == ["README.md", "demo.md", "install.md", "alerts.md"]

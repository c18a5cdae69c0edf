"""Looks at pages with a real browser and writes down what it saw, as JSON.

Run by the Python of `.cache/browser`, which has its driver: `browser_check.py OUT URL` visits the demo's
page, with `--names` it only reads it, and with `--loads` it only loads it.
`browser_check.py OUT URL... --scenes` looks at any pages in light and dark, wide and on a phone.
`browser_check.py OUT LIST --pictures` takes pictures of files.
`browser_check.py OUT URL... --site` searches the first page of the docs, and reads the others on a phone.
"""

import json
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE = {"width": 1200, "height": 860}
NARROW = {"width": 360, "height": 780}
PHONE = {"width": 390, "height": 844}
SMALLEST = {"width": 320, "height": 640}
LOADS = 30
"""Of which the quickest counts: others may run on the same cores."""
EXAMINED = 3
"""The host's own explanation, and those of two servers."""
REFRESH_MILLISECONDS = 16_000
PICTURE_QUALITY = 80
"""Percent of WebP, whose pictures have a third of the bytes of PNG."""

READ = """() => { const texts = (what) => [...document.querySelectorAll(what)].map((one) => one.innerText);
  return { title: document.title, taken: document.querySelector('header time').dateTime,
    big: texts('dd.big'), notes: texts('.notes li'), headings: texts('h2'), text: document.body.innerText,
    findings: texts('.savings li'),
    images: document.querySelectorAll('main [role=img]').length,
    links: [...document.querySelectorAll('main a')].map((one) => one.getAttribute('href'))
      .filter((href) => !href.startsWith('#')),
    tables: [...document.querySelectorAll('table')].map((table) => ({
      label: table.parentElement.getAttribute('aria-label') ?? table.caption?.innerText ?? '',
      rows: [...table.querySelectorAll('tbody tr, tfoot tr')].map((row) =>
        [...row.cells].map((cell) => cell.innerText.trim())) })) }; }"""
TIMES = """() => { const entry = performance.getEntriesByType('navigation')[0];
  return { milliseconds: entry.duration, bytes: entry.encodedBodySize,
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null }; }"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint').length > 0"
TABBABLE = """() => [...document.querySelectorAll('a[href], button, summary, input, select, [tabindex="0"]')]
  .filter((one) => one.checkVisibility()).length"""
CHART_TEXT = """() => Math.min(...[...document.querySelectorAll('svg text')].map((one) =>
  parseFloat(getComputedStyle(one).fontSize) * (one.getScreenCTM()?.a ?? 1)))"""
SILENT_TABLES = """() => [...document.querySelectorAll('.table')].filter((one) =>
  one.checkVisibility() && one.scrollWidth > one.clientWidth &&
  !one.parentElement.querySelector('.hint')?.checkVisibility()).length"""
ORDER = """() => [...document.querySelectorAll('[data-part=servers] tbody:not(.total) tr')]
  .filter((one) => one.checkVisibility()).map((one) => one.cells[0].innerText.trim())"""
MARK = """() => { const one = document.activeElement; if (one === document.body) return null;
  one.dataset.reached = 'yes'; const style = getComputedStyle(one);
  return [one.tagName, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0]; }"""
REACHED = "() => document.querySelectorAll('[data-reached]').length"
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


class PageEvents:
    """What went on in a page beside what it shows."""

    def __init__(self, page: Page) -> None:
        self.console: list[str] = []
        self.requests: list[str] = []
        self.failed: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.console.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("response", lambda answer: self.failed.append(answer.url) if answer.status >= 400 else None)

    def document(self) -> dict[str, list[str]]:
        """For the JSON."""
        return {"console": self.console, "requests": self.requests, "failed": self.failed}


@contextmanager
def opened(browser: Browser, url: str, **how: Any) -> Iterator[tuple[Page, PageEvents]]:
    """A page in a profile of its own, loaded."""
    context = browser.new_context(**{"viewport": WIDE, **how})
    page = context.new_page()
    events = PageEvents(page)
    page.goto(url, wait_until="load")
    try:
        yield page, events
    finally:
        context.close()


def barriers(page: Page) -> list[str]:
    """What axe finds, all of its rules on: which rule, and where."""
    violations = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in violations for node in each["nodes"]]


def read(page: Page) -> dict[str, Any]:
    """What a page shows."""
    shown: dict[str, Any] = page.evaluate(READ)
    return shown


def looked(page: Page, events: PageEvents) -> dict[str, Any]:
    """What is asked of every page."""
    return {"barriers": barriers(page), "overflow": page.evaluate(WIDER), **read(page), **events.document()}


def same_tick(page: Page, url: str) -> dict[str, Any]:
    """The page, the document and the metrics of one tick: asked for again while they are of several."""
    for _ in range(10):
        page.goto(url, wait_until="load")
        document = page.request.get(f"{url}cost.json").text()
        metrics = page.request.get(f"{url}metrics").text()
        shown = read(page)
        again = json.loads(page.request.get(f"{url}cost.json").text())["host"]["taken"]
        if json.loads(document)["host"]["taken"] == shown["taken"] == again:
            return {"page": shown, "document": json.loads(document), "metrics": metrics}
    raise TimeoutError("no two answers of one tick")


def keyboard(page: Page) -> dict[str, Any]:
    """Press Tab until nothing new is reached; then open what opens, with Enter."""
    expected = page.evaluate(TABBABLE)
    unseen = []
    for _ in range(expected):
        page.keyboard.press("Tab")
        mark = page.evaluate(MARK)
        if mark is not None and not mark[1]:
            unseen.append(mark[0])
    reached = page.evaluate(REACHED)
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    opens = page.locator("details").first.get_attribute("open") is not None
    return {"expected": expected, "reached": reached, "without_outline": unseen, "opens": opens}


def explained(browser: Browser, url: str, links: list[str]) -> list[dict[str, Any]]:
    """Each page that links lead to, in one window; barriers are looked for on the first of each kind."""
    pages = []
    context = browser.new_context(viewport=WIDE)
    for number, link in enumerate(sorted({link.partition("#")[0] for link in links})):
        page = context.new_page()
        events = PageEvents(page)
        page.goto(f"{url}{link}", wait_until="load")
        shown = {"link": link, "overflow": page.evaluate(WIDER), **read(page), **events.document()}
        pages.append({**shown, "barriers": barriers(page) if number < EXAMINED else []})
        page.close()
    context.close()
    return pages


def refreshed(browser: Browser, url: str) -> dict[str, Any]:
    """Let the script's time pass: all is replaced, but not while text is selected or while it is paused."""
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    events = PageEvents(page)
    page.clock.install()
    page.goto(url, wait_until="load")
    page.evaluate("() => document.querySelectorAll('.big').forEach((one) => { one.textContent = 'old'; })")
    page.evaluate("() => { document.querySelector('dt').textContent = 'old'; }")
    page.locator("summary").first.click()
    with page.expect_response(url):
        page.clock.fast_forward(REFRESH_MILLISECONDS)
    page.wait_for_function("() => document.querySelector('.big').textContent !== 'old'")
    focused = page.evaluate(
        "() => [document.activeElement.localName, document.activeElement.parentElement.open]"
    )
    in_use = page.locator("dt").first.inner_text()
    page.locator(".cards a").last.focus()
    page.evaluate("() => { document.querySelector('[data-part=figures] dt').textContent = 'old'; }")
    focus = page.evaluate("() => document.activeElement.className")
    with page.expect_response(url):
        page.clock.fast_forward(REFRESH_MILLISECONDS)
    page.wait_for_function("() => document.querySelector('[data-part=figures] dt').textContent !== 'old'")
    focus += " " + page.evaluate("() => document.activeElement.className")
    page.locator("h2").first.select_text()
    page.evaluate("() => { document.querySelector('[data-part=about] time').textContent = 'old'; }")
    requests = len(events.requests)
    page.clock.fast_forward(REFRESH_MILLISECONDS)
    page.wait_for_load_state("networkidle")
    selected = [len(events.requests) == requests, page.locator("[data-part=about] time").inner_text()]
    page.get_by_role("button", name="Pause refresh").click()
    requests = len(events.requests)
    page.clock.fast_forward(REFRESH_MILLISECONDS)
    page.wait_for_load_state("networkidle")
    paused = len(events.requests) == requests
    result = {
        "in_use": in_use,
        "focused": focused,
        "focus": focus,
        "selected": selected,
        "paused": paused,
        "button": page.locator("#refresh button").inner_text(),
        **events.document(),
    }
    context.close()
    return result


def loads(browser: Browser, url: str) -> dict[str, Any]:
    """How long a page takes, time after time."""
    times = []
    with opened(browser, url) as (page, _):
        for _ in range(LOADS):
            page.reload(wait_until="load")
            page.wait_for_function(PAINTED)
            times.append(page.evaluate(TIMES))
    return {"loads": times}


def visit(browser: Browser, url: str) -> dict[str, Any]:
    """Everything that is looked at on the demo's page."""
    with opened(browser, url, color_scheme="light") as (page, events):
        result: dict[str, Any] = same_tick(page, url)
        result["barriers"] = {"light": barriers(page)}
        result["keyboard"] = keyboard(page)
        result["seen"] = events.document()
        page.emulate_media(media="print")
        result["print"] = {
            "button": page.locator("button:visible, input:visible, select:visible").count(),
            "overflow": page.evaluate(WIDER),
        }
    with opened(browser, url, color_scheme="dark") as (page, _):
        result["barriers"]["dark"] = barriers(page)
    with opened(browser, url, viewport=NARROW) as (page, _):
        result["barriers"]["narrow"] = barriers(page)
        page.set_viewport_size(SMALLEST)
        result["narrow_overflow"] = page.evaluate(WIDER)
    with opened(browser, url, java_script_enabled=False) as (page, events):
        result["without_scripts"] = {
            "headings": page.locator("h2").all_inner_texts(),
            "big": page.locator("dd.big").all_inner_texts(),
            "buttons": page.get_by_role("button").count(),
            **events.document(),
        }
    result["explained"] = explained(browser, url, result["page"]["links"])
    result["refreshed"] = refreshed(browser, url)
    result["arranged"] = arranged(browser, url)
    return result


def names(browser: Browser, url: str) -> dict[str, Any]:
    """A page whose names are made to break it, and what its links lead to."""
    with opened(browser, url) as (page, events):
        result = {
            "page": read(page),
            "barriers": barriers(page),
            "overflow": page.evaluate(WIDER),
            **events.document(),
        }
    result["explained"] = explained(browser, url, result["page"]["links"])
    return result


def scene(browser: Browser, url: str) -> dict[str, Any]:
    """A page as it is seen."""
    views: dict[str, Any] = {}
    for width, viewport in (("wide", WIDE), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            with opened(browser, url, viewport=viewport, color_scheme=scheme) as (page, events):
                views[f"{width} {scheme}"] = {
                    "barriers": barriers(page),
                    "overflow": page.evaluate(WIDER),
                    "chart_text": page.evaluate(CHART_TEXT) if page.locator("svg text").count() else None,
                    "silent_tables": page.evaluate(SILENT_TABLES),
                    "folds": page.locator("#unfolded").count(),
                    "stops": page.evaluate(TABBABLE),
                    "height": page.evaluate("() => document.documentElement.scrollHeight"),
                    **page.evaluate(TIMES),
                    **events.document(),
                }
    with opened(browser, url, java_script_enabled=False, viewport=PHONE) as (page, _):
        views["hints without scripts"] = page.locator(".hint:visible").count()
    if views["wide light"]["folds"]:
        views["fold"] = unfolded(browser, url)
    return views


def unfolded(browser: Browser, url: str) -> dict[str, Any]:
    """Visible rows of servers: folded and not, filtered, sorted, refreshed, printed, without scripts."""
    rows: dict[str, Any] = {}
    for name, scripts in (("scripts", True), ("no scripts", False)):
        with opened(browser, url, java_script_enabled=scripts) as (page, _):
            shown = page.locator("[data-part=servers] tbody:not(.total) tr:visible")
            rows[f"{name}, at first"] = shown.count()
            page.emulate_media(media="print")
            rows[f"{name}, printed"] = shown.count()
            page.emulate_media(media="screen")
            page.get_by_label("more rows").press("Space")
            rows[f"{name}, unfolded"] = shown.count()
    with opened(browser, url) as (page, _):
        page.clock.install()
        page.reload(wait_until="load")
        shown = page.locator("[data-part=servers] tbody:not(.total) tr:visible")
        last = page.locator("[data-part=servers] tbody:not(.total) tr").last.locator("a").text_content()
        page.get_by_label("Filter").fill(last or "")
        rows["last by words"] = [shown.count(), shown.first.locator("a").text_content() == last]
        page.get_by_label("Filter").fill("")
        page.get_by_label("Sort by").select_option("Last token")
        page.get_by_role("button", name="Reverse").click()
        rows["sorted"] = [shown.count(), page.locator(".unfold").inner_text().strip()]
        page.get_by_label("more rows").check()
        page.evaluate("() => { document.querySelector('[data-part=servers] td').textContent = 'old'; }")
        with page.expect_response(url):
            page.clock.fast_forward(REFRESH_MILLISECONDS)
        page.wait_for_load_state("networkidle")
        rows["refreshed"] = [shown.count(), page.get_by_label("more rows").is_checked()]
    return rows


def pictures(browser: Browser, wanted: Path) -> dict[str, Any]:
    """Takes pictures: a list in JSON has for each the page's file, the picture's, and how it is looked at."""
    for each in json.loads(wanted.read_text(encoding="utf-8")):
        width, scheme, *part = each["how"].split("-")
        viewport = PHONE if width == "phone" else WIDE
        with opened(browser, Path(each["page"]).as_uri(), viewport=viewport, color_scheme=scheme) as (
            page,
            _,
        ):
            for name in part:
                page.locator(f"[data-part={name}]").evaluate("(one) => one.parentElement.scrollIntoView()")
            Path(each["picture"]).write_bytes(picture(page))
    return {}


def picture(page: Page) -> bytes:
    """What is seen of a page; tried again, since a browser on a busy machine may have nothing drawn yet."""
    session = page.context.new_cdp_session(page)
    for again in (True, True, False):
        try:
            shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": PICTURE_QUALITY})
            return b64decode(shot["data"])
        except Error:
            if not again:
                raise
            page.wait_for_timeout(1_000)
    raise AssertionError


def arranged(browser: Browser, url: str) -> dict[str, Any]:
    """Sort and filter the servers by keyboard and by mouse; a refresh changes neither."""
    with opened(browser, url) as (page, events):
        page.clock.install()
        page.reload(wait_until="load")
        orders = {"at first": page.evaluate(ORDER)}
        page.get_by_label("Sort by").select_option("Server")
        orders["by name"] = page.evaluate(ORDER)
        page.get_by_role("button", name="Reverse").press("Enter")
        orders["reversed"] = page.evaluate(ORDER)
        page.locator("th", has_text="Tokens").click()
        orders["by tokens"] = page.evaluate(ORDER)
        page.locator("th", has_text="Tokens").click()
        orders["fewest tokens first"] = page.evaluate(ORDER)
        page.get_by_label("Filter").fill("CHAT")
        orders["of chat"] = page.evaluate(ORDER)
        words = page.locator("#tools [role=status]").inner_text()
        page.evaluate("() => { document.querySelector('[data-part=about] time').textContent = 'old'; }")
        requests = len(events.requests)
        with page.expect_response(url):
            page.clock.fast_forward(REFRESH_MILLISECONDS)
        page.wait_for_load_state("networkidle")
        orders["refreshed"] = page.evaluate(ORDER)
        return {
            "orders": orders,
            "words": words,
            "sorted": page.locator("th[aria-sort]").evaluate_all(
                "(heads) => heads.map((one) => [one.textContent, one.getAttribute('aria-sort')])"
            ),
            "requests": len(events.requests) - requests,
            "focus": page.evaluate("() => document.activeElement.type"),
        }


STATE: Final = """() => ({
  said: document.querySelector('#refresh [role=status]').textContent,
  taken: document.querySelector('[data-part=about] time').textContent,
  opacity: getComputedStyle(document.querySelector('main')).opacity,
  button: document.querySelector('#refresh button').checkVisibility(),
})"""


def dying(browser: Browser, url: str) -> dict[str, Any]:
    """A page whose daemon ends while it is looked at, and comes back: a line on each of stdout and stdin."""
    with browser.new_context(viewport=WIDE) as context:
        page = context.new_page()
        page.clock.install()
        page.goto(url, wait_until="load")
        result = {"alive": page.evaluate(STATE)}
        for name, opacity in (("dead", "0.4"), ("back", "1")):
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            sys.stdin.readline()
            page.clock.fast_forward(REFRESH_MILLISECONDS)
            wanted = f"() => getComputedStyle(document.querySelector('main')).opacity === '{opacity}'"
            page.wait_for_function(wanted)
            result[name] = page.evaluate(STATE)
        return result


def site(browser: Browser, urls: list[str]) -> dict[str, Any]:
    """What a search for `budget` finds, and each page on a phone, its diagrams drawn."""
    with opened(browser, urls[0]) as (page, events):
        page.get_by_placeholder("Search").fill("budget")
        page.locator(".md-search-result__item").first.wait_for()
        search_results = page.locator(".md-search-result__item h1").all_inner_texts()
        result: dict[str, Any] = {"search_results": search_results, "pages": {urls[0]: events.document()}}
    for url in urls[1:]:
        with opened(browser, url, viewport=PHONE) as (page, events):
            page.wait_for_function(
                "() => !document.querySelector('pre.mermaid')"
            )  # each is replaced once drawn
            result["pages"][url] = {
                "overflow": page.evaluate(WIDER),
                "diagrams": page.locator("div.mermaid").count(),
                **events.document(),
            }
    return result


def main() -> int:
    """Visit; returns 0."""
    out, url = Path(sys.argv[1]), sys.argv[2]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        if "--dying" in sys.argv:
            result = dying(browser, url)
        elif "--scenes" in sys.argv:
            result = {each: scene(browser, each) for each in sys.argv[2:] if not each.startswith("--")}
        elif "--site" in sys.argv:
            result = site(browser, [each for each in sys.argv[2:] if not each.startswith("--")])
        elif "--loads" in sys.argv:
            result = loads(browser, url)
        elif "--pictures" in sys.argv:
            result = pictures(browser, Path(url))
        elif "--names" in sys.argv:
            result = names(browser, url)
        else:
            result = visit(browser, url)
        browser.close()
    out.write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

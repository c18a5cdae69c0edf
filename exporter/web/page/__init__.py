"""The host's page, and the pages that explain its figures.

Each page is one document with its style and script, and loads nothing else. Imported with the first request
of a page.
"""

from urllib.parse import unquote_to_bytes

from exporter.cost.explanation import ExplanationError
from exporter.report import Build, Report
from exporter.units import Nanoseconds
from exporter.web.explanation import explain_server
from exporter.web.page.derivation import host_derivation, server_derivation
from exporter.web.page.layout import HEADERS, NAME, element, name, whole
from exporter.web.page.overview import host_facts, overview
from exporter.web.summary import summarize

__all__ = ["HEADERS", "explanation", "page"]

UP = "../"


def page(report: Report | None, elapsed: Nanoseconds, build: Build) -> bytes:
    """The host's page at a moment of boot time; the report is `None` before the first tick."""
    if report is None:
        main = [element("p", "Waiting for the first tick.")]
        return whole(NAME, NAME, (), main, build, "")
    summary = summarize(report, elapsed)
    host = summary.host
    heading = element("span", NAME, " on ", name(host)) if host else NAME
    return whole(
        f"{host} - {NAME}" if host else NAME, heading, host_facts(summary), overview(summary), build, ""
    )


def explanation(report: Report, elapsed: Nanoseconds, wanted: str, build: Build) -> bytes | None:
    """The explanation of a server named in the address, or of the host if the name is empty.

    `None`: there is no such server.
    """
    try:
        server = unquote_to_bytes(wanted).decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    summary = summarize(report, elapsed)
    back = element("a", "This host", href=UP)
    of_host = f"{summary.host} - {NAME}" if summary.host else NAME
    if not server:
        main = [element("div", host_derivation(report, summary), data_part="reckoning")]
        heading = "How the figures of this host are calculated"
        return whole(f"{heading} - {of_host}", heading, (back, ". ", *host_facts(summary)), main, build, UP)
    try:
        of_server = explain_server(report, server)
    except ExplanationError:
        return None
    if of_server is None or report.totals is None:
        main = [element("p", "No data to explain yet.")]
    else:
        main = [element("div", server_derivation(of_server, report.totals.history), data_part="servers")]
    server_heading = element("span", "What ", name(server.lstrip("/") or server), " costs")
    return whole(f"{server} - {of_host}", server_heading, (back, ". ", *host_facts(summary)), main, build, UP)

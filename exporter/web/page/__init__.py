"""What people look at: the host's page, and the explanation of each of its numbers.

Each is one file: style and a small script are in it, and nothing is loaded from anywhere. Imported when
somebody looks for the first time.
"""

from urllib.parse import unquote_to_bytes

from exporter.cost.explanation import ExplanationError
from exporter.report import Build, Report
from exporter.units import Nanoseconds
from exporter.web.explanation import explained
from exporter.web.page.derivation import reckoning, servers
from exporter.web.page.layout import HEADERS, NAME, element, name, whole
from exporter.web.page.overview import host_facts, overview
from exporter.web.summary import summarize

__all__ = ["HEADERS", "explanation", "page"]

UP = "../"


def page(report: Report | None, elapsed: Nanoseconds, build: Build) -> bytes:
    """The host's page at a moment of boot time; there is no report before the first tick."""
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
    """The explanation of a server as it stands in the address, of the host without one.

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
        main = [element("div", reckoning(report, summary), data_part="reckoning")]
        heading = "How the figures of this host are calculated"
        return whole(f"{heading} - {of_host}", heading, (back, ". ", *host_facts(summary)), main, build, UP)
    try:
        explanation_found = explained(report, server)
    except ExplanationError:
        return None
    if explanation_found is None or report.totals is None:
        main = [element("p", "No data to explain yet.")]
    else:
        main = [element("div", servers(explanation_found, report.totals.course), data_part="servers")]
    heading_of = element("span", "What ", name(server.lstrip("/") or server), " costs")
    return whole(f"{server} - {of_host}", heading_of, (back, ". ", *host_facts(summary)), main, build, UP)

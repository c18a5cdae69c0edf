"""Text of the demo in the terminal: the month so far, the planted events, and commands that show them."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import exporter
from exporter.demo.host import TRAFFIC
from exporter.demo.timeline import Timeline, day
from exporter.report import Report
from exporter.units import NANOSECONDS_PER_SECOND, dollars
from exporter.web.listen_address import parse_address

JOB: Final = """\
# Prometheus scrapes the demo: prometheus --config.file=FILE with this in it.
global:
  scrape_interval: 15s
{rules}scrape_configs:
  - job_name: inference-cost-exporter
    honor_labels: true      # `namespace` is the workload's, not the exporter's
    static_configs:
      - targets: [{target}]
        labels: {{cluster: demo}}
"""
RULES: Final = ("cluster-rules.yml", "fleet-rules.yml")
ANYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not listened on


def prometheus_configuration(listen_address: str) -> str:
    """YAML of one scrape job, and of the rules where this is a checkout, which has them.

    A demo that listens on all interfaces is scraped by loopback.

    Raises:
        AddressError: the address is none.
    """
    address = parse_address(listen_address)
    host = "127.0.0.1" if address.host in ANYWHERE else address.host
    target = f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    folder = Path(exporter.__file__).parents[1] / "deploy" / "prometheus"
    paths = [str(folder / name) for name in RULES if os.path.isfile(folder / name)]
    rules = f"rule_files: {json.dumps(paths)}\n" if paths else ""
    return JOB.format(rules=rules, target=json.dumps(target))


LOG: Final = "demo.log"


@dataclass(frozen=True, slots=True)
class Site:
    """Where the demo runs."""

    url: str
    """Address of its page, without a final slash."""
    folder: str
    """Folder of its ledger, configuration and log."""
    program: str
    """Command that calls its verbs, from outside of its container where it has one."""
    listen_address: str = ""
    """The flag's value; empty: the default."""
    container: str = ""
    """Command that runs another one in its container, such as `docker exec 0123abcd`; else empty."""


def events(timeline: Timeline, site: Site) -> str:
    """The planted events, the most expensive first, each with the commands that show it."""
    instants = {}
    for name in ("deserted", "tried", "lost", "returned", "corrected", "restarted"):
        moment = datetime.fromtimestamp(getattr(timeline, name) // NANOSECONDS_PER_SECOND, UTC)
        instants[name] = f"{moment:%Y-%m-%d %H:%M}"
    template = Template(files("exporter.demo").joinpath("events.txt").read_text(encoding="utf-8"))
    return template.substitute(
        instants,
        repriced=day(timeline.repriced),
        leased=day(timeline.leased),
        leased_month=day(timeline.leased)[:7],
        lost_month=day(timeline.lost)[:7],
        metrics=f"curl -s {site.url}/metrics",
        grep=f"{site.container} grep".lstrip(),
        log=f"{site.folder}/{LOG}",
    )


def banner(site: Site, report: Report, timeline: Timeline) -> str:
    """Text for the terminal, with the figures of a report."""
    # The rent and the rest; together they are what the page shows.
    rent = sum(price.dollars_per_hour or 0.0 for price in report.prices if price.component == "rent")
    more = sum(report.rates.values()) - rent
    fleet = sum(report.fleet_overheads.values())
    # The demo's month is that of UTC.
    month = next(iter(report.month_ends))
    cells = {} if report.totals is None else report.totals.months
    spent = dollars(sum(amount for cell, amount in cells.items() if cell.month == month))
    end = sum(amount for (_, name), amount in report.projected.items() if name == month)
    budget = sum(row.dollars for row in report.budgets)
    servers = ", ".join(traffic.server for traffic in TRAFFIC)
    address = f" --web.listen-address={site.listen_address}" if site.listen_address else ""
    published = "\nThese are ports of its container: outside, take the port that you published.\n"
    return f"""
A simulated host of 8 H100s serves {servers}; its ledger goes back to {day(timeline.begins)}.
It rents for {rent:.2f} dollars an hour, plus {more:.2f} for network and storage.
Staff (${fleet:.2f} an hour, fleet-wide) is not included in these host figures.
Spent this month: ${spent:,.2f}. Forecast: ${end:,.2f} (budget ${budget:,.0f}).

  {site.url}/          the page of this host
  {site.url}/metrics   what Prometheus scrapes
  {site.url}/cost.json the page's figures
{published if site.container else ""}
What happened in these weeks, by UTC, and where it shows. In another terminal, paste this first:

  demo() {{ {site.program} "$@" --config.file={site.folder}/demo.yaml; }}

{events(timeline, site)}
`doctor` checks the real host, not the simulated one: with this configuration it exits with 2.
{site.program} demo --print-prometheus-config{address} prints a Prometheus configuration.
Stop with Ctrl-C; {"its files are" if site.container else f"{site.folder} is"} removed then.
"""

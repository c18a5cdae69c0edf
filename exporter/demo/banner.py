"""Text of the demo in the terminal: the month so far, the planted events, and commands that show them."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import exporter
from exporter.demo.host import ARCHIVE, CHAT, TRAFFIC, TRIAL
from exporter.demo.timeline import Timeline, day
from exporter.report import Report
from exporter.units import NANOSECONDS_PER_SECOND, Instant, dollars
from exporter.web.listener import parse_address

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
    files = [str(folder / name) for name in RULES if os.path.isfile(folder / name)]
    rules = f"rule_files: {json.dumps(files)}\n" if files else ""
    return JOB.format(rules=rules, target=json.dumps(target))


LOG: Final = "demo.log"


@dataclass(frozen=True, slots=True)
class BannerFact:
    """A planted event: its description, and the commands that show it."""

    title: str
    description: str
    shown_by: tuple[str, ...]


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


def facts(timeline: Timeline, site: Site) -> tuple[BannerFact, ...]:
    """The planted events, the most expensive first."""
    metrics, log = f"curl -s {site.url}/metrics", f"{site.folder}/{LOG}"
    grep = f"{site.container} grep".lstrip()
    return (
        BannerFact(
            "one model is wasted",
            f"{ARCHIVE.server} holds a GPU and has served no request since {_hour(timeline.deserted)}.",
            (f"demo explain {ARCHIVE.server} --window=24h",),
        ),
        BannerFact(
            "a price rose",
            f"An hour of the host costs 44.03 dollars since {day(timeline.repriced)}, and 38.53 before.",
            ("demo check-config", f"demo explain {CHAT.server} --window=30d"),
        ),
        BannerFact(
            "a server has no owner",
            f"{TRIAL.server} runs since {_hour(timeline.tried)}, and no ownership rule matches it.",
            (
                "demo report month --by team",
                f"{metrics} | grep '^inference_cost_dollars_per_hour{{.*server=\"{TRIAL.server}\"'",
            ),
        ),
        BannerFact(
            "a spot node was lost",
            f"The host was taken away from {_hour(timeline.lost)} to {_hour(timeline.returned)}, and came "
            "back with its disk: no rent for that time, but storage and network.",
            (f"{grep} 'unobserved time' {log}", f"{metrics} | grep 'phase=\"unobserved\"'"),
        ),
        BannerFact(
            "a GPU had no price for a day",
            f"The price of GPU 7 began a day late; corrected on {_hour(timeline.corrected)}, and "
            f"{day(timeline.leased)} was charged then.",
            (
                f"{grep} 'unpriced time charged' {log}",
                f"demo report month --month={day(timeline.leased)[:7]} --by gpu",
                f"{metrics} | grep ^inference_gpu_unpriced_seconds_total",
            ),
        ),
        BannerFact(
            "a server was restarted",
            f"{CHAT.server} restarted at {_hour(timeline.restarted)}: its counters fell to zero, its totals "
            "did not.",
            (f"{grep} source.*{CHAT.server} {log}", f"{metrics} | grep ^inference_tokens_total"),
        ),
        BannerFact(
            "days and weeks differ",
            "Nights and weekends are quiet, and cost the same.",
            (f"demo report focus --month={day(timeline.lost)[:7]}",),
        ),
    )


def banner(site: Site, report: Report, timeline: Timeline) -> str:
    """Text for the terminal, with the figures of a report."""
    servers = ", ".join(traffic.server for traffic in TRAFFIC)
    address = f" --web.listen-address={site.listen_address}" if site.listen_address else ""
    paragraphs = ""
    for number, fact in enumerate(facts(timeline, site), start=1):
        commands = "".join(f"       {command}\n" for command in fact.shown_by)
        paragraphs += f"  {number}. {fact.title}. {fact.description}\n{commands}"
    published = "\nThese are ports of its container: outside, take the port that you published.\n"
    return f"""
A simulated host of 8 H100s serves {servers}; its ledger goes back to {day(timeline.begins)}.
{_costs(report)}
{_month(report)}

  {site.url}/          the page of this host
  {site.url}/metrics   what Prometheus scrapes
  {site.url}/cost.json the page's figures
{published if site.container else ""}
What happened in these weeks, by UTC, and where it shows. In another terminal, paste this first:

  demo() {{ {site.program} "$@" --config.file={site.folder}/demo.yaml; }}

{paragraphs}
`doctor` checks the real host, not the simulated one: with this configuration it exits with 2.
{site.program} demo --print-prometheus-config{address} prints a Prometheus configuration.
Stop with Ctrl-C; {"its files are" if site.container else f"{site.folder} is"} removed then.
"""


def _hour(instant: Instant) -> str:
    return f"{datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, UTC):%Y-%m-%d %H:%M}"


def _costs(report: Report) -> str:
    """The rent and the rest; together they are what the page shows."""
    rent = sum(price.dollars_per_hour or 0.0 for price in report.prices if price.component == "rent")
    more = sum(report.rates.values()) - rent
    hourly = f"It rents for {rent:.2f} dollars an hour, plus {more:.2f} for network and storage."
    fleet = sum(report.fleet_overheads.values())
    staff = f"Staff costs the whole fleet {fleet:.2f} dollars an hour, in none of this host's numbers."
    return f"{hourly}\n{staff}"


def _month(report: Report) -> str:
    """Where the month stands against the budget. The demo's month is that of UTC."""
    month = next(iter(report.month_ends))
    cells = {} if report.totals is None else report.totals.months
    spent = dollars(sum(amount for cell, amount in cells.items() if cell.month == month))
    end = sum(amount for (_, name), amount in report.projected.items() if name == month)
    budget = sum(row.dollars for row in report.budgets)
    if spent > budget:
        return f"Its month has spent {spent:,.2f} dollars: it is past the budget of {budget:,.0f}."
    spending = f"Its month has spent {spent:,.2f} dollars and is heading for {end:,.2f}"
    return f"{spending}, {'past' if end > budget else 'within'} the budget of {budget:,.0f}."

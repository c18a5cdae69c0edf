"""The demo's configuration as it stood at each moment of the story, read as any other."""

from datetime import UTC, datetime
from importlib.resources import files
from string import Template

from exporter.config import Config, parse
from exporter.demo.plot import Plot
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND, Instant

LEASE = """\
  - match: {{uuid: "GPU-de300000-0000-4000-8000-000000000007"}}
    rented:
      prices:
        - {{from: {since}, dollars_per_gpu_hour: 4.816, note: "GPU 7, billed apart"}}
        - {{from: {repriced}, dollars_per_gpu_hour: 5.504, note: "GPU 7, billed apart"}}
"""
TRIAL = '  - {name: trial-8b, url: "http://127.0.0.1:8003/metrics", gpus: [5]}\n'


def editions(plot: Plot) -> tuple[tuple[Instant, str], ...]:
    """Since when which text was in force, the oldest first."""
    late = plot.leased + NANOSECONDS_PER_DAY
    return (
        (plot.begins, _text(plot)),
        (plot.leased, _text(plot, lease=late)),
        (plot.corrected, _text(plot, lease=plot.leased)),
        (plot.tried, _text(plot, lease=plot.leased, trial=TRIAL)),
    )


def configuration(text: str) -> Config:
    """What a text says."""
    return parse(text.encode())


def _text(plot: Plot, *, lease: Instant | None = None, trial: str = "") -> str:
    repriced = day(plot.repriced)
    rule = "" if lease is None else LEASE.format(since=day(lease), repriced=repriced)
    template = Template(files("exporter.demo").joinpath("demo.yaml").read_text(encoding="utf-8"))
    return template.substitute(begins=day(plot.begins), repriced=repriced, lease=rule, trial=trial)


def day(instant: Instant) -> str:
    """Its day, like 2026-11-24."""
    return datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, UTC).date().isoformat()

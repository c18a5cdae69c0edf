"""Engines: names, not code. `exposition` reads pages, `catalogue` whose, `interpretation` what they say.

`launch` reads command lines by the table in `commands`.
Pure: bytes in, readings out; nothing here asks, waits or logs.
"""

from exporter.engines.catalogue import COUNTED, ENGINES, EVERYTHING, announces, match, mistaken, recognize
from exporter.engines.exposition import Memory, Page, Wanted, read
from exporter.engines.gateways import Gateway
from exporter.engines.interpretation import Interpretation, began, interpret, process
from exporter.engines.spec import Engine, Question, Way, begun_names, counted, wanted
from exporter.engines.tally import TALLIED, Tally, tally

__all__ = [
    "COUNTED",
    "ENGINES",
    "EVERYTHING",
    "TALLIED",
    "Engine",
    "Gateway",
    "Interpretation",
    "Memory",
    "Page",
    "Question",
    "Tally",
    "Wanted",
    "Way",
    "announces",
    "began",
    "begun_names",
    "counted",
    "interpret",
    "match",
    "mistaken",
    "process",
    "read",
    "recognize",
    "tally",
    "wanted",
]

"""Everything that the demo says was planted is found where it says: by its own commands, and on the page."""

import json
import logging
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from exporter.cli import main
from exporter.cli.demo import _logged_to
from exporter.demo.invitation import LOG, Place, facts, invitation
from exporter.demo.story import CONFIGURATION, Stage, replay, stage
from exporter.exposition.document import cost_document
from exporter.exposition.negotiation import TEXT, Variant
from exporter.exposition.page import page
from exporter.exposition.rendering import Exposition
from exporter.exposition.summary import summarize
from exporter.report import Build, Report
from tests.demo.clocks import Noon, Nothing

pytestmark = pytest.mark.xdist_group("story")

BUILD: Final = Build("0", "", "3")
URL: Final = "http://127.0.0.1:9844"

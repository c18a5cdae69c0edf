"""The FinOps Foundation's own check of FOCUS files, in an environment of its own: it needs Python 3.12."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.daemon import ROOT

VERSION = "1.2.0.1"
"""The newest rules of FOCUS 1.2 that it carries."""

CRITERIA = "USAGE_MEASUREMENT_SUPPORTED,MULTIPLE_PRICING_CATEGORIES_SUPPORTED,ACCOUNT_NAMING_SUPPORTED"
"""What of the conditional rules applies to us: usage is measured, prices are of two categories, the account
has a name. The others are on commitments, regions, price lists and so on, which we do not have."""


@dataclass(frozen=True)
class Verdict:
    """The rules that a file keeps and breaks; those that only people can check are in neither."""

    passed: frozenset[str]
    broken: frozenset[str]


def installed() -> Path:
    """The validator's site-packages, where `make e2e` puts them.

    Raises:
        FileNotFoundError: they are not there; the message says how to get them.
    """
    folders = sorted((ROOT / ".cache" / "focus").glob("lib/python3*/site-packages/focus_validator"))
    if not folders:
        raise FileNotFoundError("no focus-validator: run the end-to-end tests with `make e2e`")
    return folders[0]


def validate(file: Path) -> Verdict:
    """Check a file, with nothing downloaded."""
    # It looks for a list of currencies below the working directory.
    folder = file.with_suffix(".validated")
    folder.mkdir(exist_ok=True)
    (folder / "focus_validator").unlink(missing_ok=True)
    (folder / "focus_validator").symlink_to(installed())
    quiet = folder / "logging.yaml"  # or it writes a log of everything, which takes longer than the rules
    quiet.write_text("version: 1\ndisable_existing_loggers: false\nroot: {level: ERROR}\n")
    command = [
        *(str(ROOT / ".cache/focus/bin/focus-validator"), "--block-download", "--validate-version", VERSION),
        *("--applicability-criteria", CRITERIA, "--data-file", str(file)),
    ]
    environment = {**os.environ, "LOGGING_CONFIG": str(quiet), "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    # Its exit status is 0 whatever it finds.
    assert done.returncode == 0, done.stderr
    results = dict(re.findall(r"^\S+ (\S+-\S+): (PASS|FAIL|SKIPPED)", done.stdout, re.MULTILINE))
    summary = re.search(r"^Total: (\d+) \| Pass: (\d+) \| Fail: (\d+) ", done.stdout, re.MULTILINE)
    assert summary is not None, done.stdout
    passed = frozenset(rule for rule, status in results.items() if status == "PASS")
    broken = frozenset(rule for rule, status in results.items() if status == "FAIL")
    assert [len(results), len(passed), len(broken)] == [int(number) for number in summary.groups()]
    return Verdict(passed, broken)

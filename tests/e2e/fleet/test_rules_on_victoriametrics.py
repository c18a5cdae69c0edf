"""VictoriaMetrics' engine gives what promtool's gives: every case of the rules' tests, on vmalert-tool."""

from pathlib import Path
from typing import Final

import pytest

from tests.rules.victoriametrics import Case, cases, differences

FOLDER: Final = Path(__file__).parents[3] / "deploy" / "prometheus"
CASES: Final = cases(FOLDER)

LEFT_OUT: Final[dict[str, dict[str, str]]] = {}
"""By case (file and number): queries or alerts that cannot be told to vmalert-tool, and why."""

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_holds_on_victoriametrics(case: Case) -> None:
    """The same file, the same values and the same alerts."""
    assert differences(case, LEFT_OUT.get(str(case), {})) == [], case.name


def test_what_is_left_out_is_there_and_is_little() -> None:
    """An exception names a case that exists; nine of ten cases have none."""
    assert LEFT_OUT.keys() <= {str(case) for case in CASES}
    assert len(LEFT_OUT) * 10 <= len(CASES)

"""VictoriaMetrics' engine gives what promtool's gives: every case of the rules' tests, on vmalert-tool."""

from pathlib import Path
from typing import Final

import pytest

from tests.rules.victoriametrics import Case, cases, differences, evaluations

FOLDER: Final = Path(__file__).parents[3] / "deploy" / "prometheus"
CASES: Final = cases(FOLDER)

LEFT_OUT: Final[dict[str, dict[str, str]]] = {}
"""By case (file and number): queries or alerts that cannot be told to vmalert-tool, and why."""

MOST_EVALUATIONS: Final = 8_000
"""Cases that take more of them run with --all-cases: all together are four minutes of a core."""

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.xdist_group(f"rules {case}")) for case in CASES],
    ids=str,
)
def test_a_case_holds_on_victoriametrics(case: Case, request: pytest.FixtureRequest) -> None:
    """The same file, the same values and the same alerts."""
    if evaluations(case) > MOST_EVALUATIONS and not request.config.getoption("--all-cases"):
        pytest.skip(f"takes more than {MOST_EVALUATIONS} evaluations: --all-cases")
    assert differences(case, LEFT_OUT.get(str(case), {})) == [], case.name


def test_what_is_left_out_is_there_and_is_little() -> None:
    """An exception names a case that exists; nine of ten cases have none."""
    assert LEFT_OUT.keys() <= {str(case) for case in CASES}
    assert len(LEFT_OUT) * 10 <= len(CASES)

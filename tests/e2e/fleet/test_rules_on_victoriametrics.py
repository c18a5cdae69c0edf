"""VictoriaMetrics' engine gives what promtool's gives: every case of the rules' tests, on vmalert-tool."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.rules.victoriametrics import Case, Extent, cases, cover, differences, extent

FOLDER: Final = Path(__file__).parents[3] / "deploy" / "prometheus"
CASES: Final = cases(FOLDER)

RUNS_OUT = "InferenceSpendProjectedOverBudget"
LEFT_OUT: Final[dict[str, dict[str, str]]] = {
    "budget_test-1": {
        RUNS_OUT: "its text has the low end of the band, a mean of one sample less",
        'count by (alertname, severity) (last_over_time(ALERTS{budget!="",alertstate="firing"}[6h]))': (
            "vmalert's ALERTS have a label of its own, by which they are counted apart"
        ),
    },
    "budget_test-3": {
        RUNS_OUT: "the budget runs out within minutes of midnight, so a mean of one sample less"
    },
    "incident_test-1": {
        "InferenceSpendRunaway": "its text has a mean of one sample less",
        "InferenceRunRateOverBudget": "as above",
    },
    "silence_test-1": {
        'count by (alertname, severity) (last_over_time(ALERTS{alertstate="firing"}[32h]))': (
            "vmalert's ALERTS have a label of its own, by which they are counted apart"
        ),
    },
    "outage_test-1": {"*": "evaluated every five days, and vmalert-tool sees the last five minutes"},
    "week_test-1": {
        "inference:cost_dollars:week_ratio": "a week is 168 samples there, and 169 in promtool 2.53",
        "round(inference:gpu_hours:week_ratio, 0.0009765625)": "as above",
    },
}
"""By case (file and number): queries or alerts that cannot be told to vmalert-tool, or all (`*`), and why."""

MOST_FLUSHES: Final = 120
"""`tools/nightly` runs longer cases, and those that add nothing to the others: four minutes of a core."""

pytestmark = pytest.mark.timeout(600)


def extents_of_cases() -> dict[Case, Extent]:
    """The extent of each case that vmalert-tool can be told."""
    return {
        case: extent(case, LEFT_OUT.get(str(case), {}))
        for case in CASES
        if "*" not in LEFT_OUT.get(str(case), {})
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case beside the others; CI takes short ones, enough for every rule and answer that they hold."""
    if "case" not in metafunc.fixturenames:
        return
    extents = extents_of_cases()
    each_day = cover(extents, MOST_FLUSHES)
    every = [
        pytest.param(
            case,
            marks=[
                pytest.mark.xdist_group(f"rules {case}"),
                *([] if case in each_day else [pytest.mark.nightly]),
            ],
        )
        for case in extents
    ]
    metafunc.parametrize("case", every, ids=str)


def test_a_case_holds_on_victoriametrics(case: Case) -> None:
    """The same file, the same values and the same alerts."""
    assert differences(case, LEFT_OUT.get(str(case), {})) == [], case.name


def test_what_is_left_out_is_there_and_is_little() -> None:
    """An exception names a case that exists; nine of ten cases have none."""
    assert LEFT_OUT.keys() <= {str(case) for case in CASES}
    assert len(LEFT_OUT) * 10 <= len(CASES)


def test_what_the_long_cases_alone_hold_is_said(measured: Callable[[str], None]) -> None:
    """A run without the long cases says how much of the rules and answers it left out."""
    extents = extents_of_cases()
    chosen = cover(extents, MOST_FLUSHES)
    every = {item for one in extents.values() for item in one.covered}
    missing = every - {item for case in chosen for item in extents[case].covered}
    measured(
        f"VictoriaMetrics: {len(chosen)} of {len(CASES)} cases of the rules;"
        f" {len(missing)} of {len(every)} rules and answers are in long ones alone: `tools/nightly`"
    )

    assert {kind for kind, _, _ in every} == {"rule", "record", "alert"}
    assert all(extents[case].flushes <= MOST_FLUSHES for case in chosen)
    assert all(
        any(extents[case].flushes > MOST_FLUSHES and item in extents[case].covered for case in extents)
        for item in missing
    )

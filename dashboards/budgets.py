"""Columns of a table of budgets, which two dashboards have."""

import queries as q
from panels import NEUTRAL, SHARE_OF_BUDGET, WARNING, Column
from queries import Query


def columns(selector: str, shown: int, *, spent_share: bool) -> tuple[Column, ...]:
    """Columns of the selected budgets; so many are shown, by their projected share."""
    keys = "budget, product"
    projected = f"max by ({keys}) (inference:budget_projected_ratio{{{selector}}})"
    largest = q.largest(shown, projected, keys)

    def of(record: str) -> str:
        return f"max by ({keys}) ({record}{{{selector}}}) {largest}"

    def dollars(heading: str, record: str) -> Column:
        return heading, Query(of(record), "currencyUSD"), NEUTRAL

    def share(heading: str, record: str) -> Column:
        return heading, Query(of(record), "percentunit"), SHARE_OF_BUDGET

    # Grafana takes milliseconds.
    runs_out = Query(f"1000 * ({of('inference:budget_runs_out_timestamp_seconds')})", "time:YYYY-MM-DD")
    return (
        dollars("Spent", "inference:budget_month_to_date_dollars"),
        dollars("Projected", "inference:budget_month_projected_dollars"),
        dollars("Of", "inference:budget_dollars"),
        *((share("Spent share", "inference:budget_spent_ratio"),) if spent_share else ()),
        share("Projected share", "inference:budget_projected_ratio"),
        ("Runs out", runs_out, WARNING),
    )

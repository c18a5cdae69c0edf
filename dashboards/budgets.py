"""Columns of a table of budgets, which two dashboards have."""

import queries as q
from panels import NEUTRAL, SHARE_OF_BUDGET, WARNING, Column
from queries import Query, dollars, ratio


def columns(selector: str, shown: int, *, spent_share: bool) -> tuple[Column, ...]:
    """Columns of the selected budgets; so many are shown, by their projected share."""
    keys = "budget, product"
    projected = f"max by ({keys}) (inference:budget_projected_ratio{{{selector}}})"
    largest = q.largest(shown, projected, keys)

    def of(record: str) -> str:
        return f"max by ({keys}) ({record}{{{selector}}}) {largest}"

    def money_column(heading: str, record: str) -> Column:
        return heading, dollars(of(record)), NEUTRAL

    def share_column(heading: str, record: str) -> Column:
        return heading, ratio(of(record)), SHARE_OF_BUDGET

    # Grafana takes milliseconds.
    runs_out = Query(f"1000 * ({of('inference:budget_runs_out_timestamp_seconds')})", "time:YYYY-MM-DD")
    return (
        money_column("Spent", "inference:budget_month_to_date_dollars"),
        money_column("Projected", "inference:budget_month_projected_dollars"),
        money_column("Of", "inference:budget_dollars"),
        *((share_column("Spent share", "inference:budget_spent_ratio"),) if spent_share else ()),
        share_column("Projected share", "inference:budget_projected_ratio"),
        ("Runs out", runs_out, WARNING),
    )

"""The explanation of a report's last hour: what the verb `explain` says, at the same tick."""

from typing import Final

from exporter.cost.accounts import Accounts
from exporter.cost.chain import Explanation, Stretch, explain
from exporter.report import Report
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE

HOURS: Final = 2
"""In so many hours the last 60 minutes lie."""


def explained(report: Report, server: str) -> Explanation | None:
    """Explain one server, as `name` or `namespace/name`; `None` without books.

    Raises:
        ExplanationError: the report has no such server.
    """
    books, grounds = report.books, report.grounds
    if books is None or grounds is None:
        return None
    accounts = Accounts()
    accounts.add_window(books.window)
    accounts.add_mix(books.course.mix)
    accounts.add_last(books.last_token)
    for key in (*(party.key for party in report.rates), *(read.key for read in report.servers)):
        accounts.know(key)
    for share in report.shares:
        accounts.know(share.key)
    end = report.wall - report.wall % NANOSECONDS_PER_MINUTE
    covered = sum(hour.covered for hour in books.course.hours[-HOURS:])
    return explain(
        accounts,
        Stretch(end - NANOSECONDS_PER_HOUR, end, min(NANOSECONDS_PER_HOUR, covered)),
        grounds.terms,
        grounds.state,
        report.wall,
        ledger=books.ledger,
        server=server,
    )

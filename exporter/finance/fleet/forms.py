"""A statement of a fleet as a table, as JSON and as CSV: what is missing comes first. Pure."""

from collections.abc import Iterator

from exporter.finance import render
from exporter.finance.fleet import missing
from exporter.finance.fleet.record import FleetMonth, names_text
from exporter.finance.month import Statement
from exporter.finance.render import Form
from exporter.finance.statement import as_csv, as_of, document, table, title
from exporter.reports.rounding import dollars_text, hours_text
from exporter.units import NANOSECONDS_PER_HOUR


def fleet_sheet(fleet: FleetMonth, statement: Statement, form: Form, width: int | None = None) -> str:
    """A statement of `fleet.record` in one of its forms.

    CSV has no place for what is missing but a count in each row: print `section` elsewhere.
    """
    if form == "json":
        return as_json(fleet, statement)
    if form == "csv":
        apportioned = "true" if _apportioned(fleet) else "false"
        unread = missing.unread_files(fleet)
        _hosts, hours, amount = missing.until_end(fleet)
        last = {
            "incomplete_hosts": str(missing.incomplete_hosts(fleet)),
            "apportioned": apportioned,
            "files_not_read": names_text(unread) if unread else "",
            "until_end_hours": hours_text(hours).replace(",", ""),
            "until_end_dollars": dollars_text(amount).replace(",", ""),
        }
        return as_csv(statement, last)
    return render.lines_text(_text(fleet, statement, width))


def _text(fleet: FleetMonth, statement: Statement, width: int | None) -> Iterator[str]:
    ledgers = "one ledger" if len(fleet.hosts) == 1 else f"{len(fleet.hosts):,} ledgers"
    without = f" ({fleet.without:,} more have nothing of it)" if fleet.without else ""
    yield f"{title(statement)}, {ledgers}{without}, time zone {fleet.zone.key}, as of {as_of(statement)}"
    yield ""
    yield from missing.section(fleet)
    yield ""
    yield from table(statement, width)
    ended, hours, amount = missing.until_end(fleet)
    if ended:
        yield ""
        yield (
            f"until its end: {hours_text(hours)} hours of {ended:,} hosts, {dollars_text(amount)} dollars at "
            "their last rate, which are not in the total."
        )
    if count := _apportioned(fleet):
        divided = "one ledger" if count == 1 else f"{count:,} ledgers"
        yield ""
        yield f"APPORTIONED: {divided} known from Prometheus only, divided as counters rose;"
        yield "only dollars by product, team and price basis are to the cent there."
    if remind := missing.reminder(fleet):
        yield ""
        yield remind


def _apportioned(fleet: FleetMonth) -> int:
    """Hosts whose finer rows are apportioned."""
    return sum(summary.host.apportioned for summary in fleet.hosts)


def as_json(fleet: FleetMonth, statement: Statement) -> str:
    """For machines. `missing` names what is missing or doubtful; `hosts` sum to the total."""
    whole = document(statement)
    ended, hours, amount = missing.until_end(fleet)
    head = {
        "report": whole.pop("report"),
        "month": whole.pop("month"),
        "to_date": whole.pop("to_date"),
        "time_zone": fleet.zone.key,
        "ledgers": len(fleet.hosts),
        "ledgers_without_the_month": fleet.without,
        "incomplete_hosts": missing.incomplete_hosts(fleet),
        "apportioned_hosts": _apportioned(fleet),
        "until_end": {"hosts": ended, "hours": hours / NANOSECONDS_PER_HOUR, **render.money_json(amount)},
        "missing": missing.missing_json(fleet),
        "hosts": missing.hosts_json(fleet),
    }
    del whole["ledger"]
    return render.json_text({**head, **whole})

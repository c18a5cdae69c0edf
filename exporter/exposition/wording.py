"""How instants and money are written for people."""

from datetime import UTC, datetime
from typing import Final

from exporter.units import NANOSECONDS_PER_SECOND, Instant

_CENT: Final = 0.01


def timestamp(instant: Instant) -> str:
    """An instant in RFC 3339, to the second."""
    moment = datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(dollars: float) -> str:
    """Money to the cent. Less than a cent is not written as nothing."""
    if 0 < dollars < _CENT:
        return "<$0.01"
    return f"${dollars:,.2f}" if dollars >= 0 else f"-${-dollars:,.2f}"

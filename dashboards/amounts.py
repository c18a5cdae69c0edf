"""Numbers as Grafana writes them, by the names that it has for units."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

THOUSANDS: Final = ("", "K", "M", "B", "T")
BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB")
WATTS: Final = ("W", "kW", "MW")
TIMES: Final = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "mins"), (1.0, "s"), (0.001, "ms"))


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """A number with its unit; three digits where the panel does not say how many decimals.

    Raises:
        KeyError: a unit that no panel of ours has.
    """
    match unit:
        case "currencyUSD":
            sign = "-" if value < 0 else ""
            return f"{sign}${_scaled(abs(value), THOUSANDS, 1000, decimals)}"
        case "percentunit":
            return f"{_digits(100 * value, decimals)}%"
        case "short":
            return _scaled(value, THOUSANDS, 1000, decimals)
        case "time:YYYY-MM-DD":
            return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d")
        case "time:YYYY-MM-DD HH:mm":
            return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        case "h":
            return written(3600 * value, "s", decimals)
        case "locale":
            return f"{value:,.0f}"
        case "bytes":
            return _scaled(value, BYTES, 1024, decimals, " ")
        case "watt":
            return _scaled(value, WATTS, 1000, decimals, " ")
        case "s":
            size, name = next((time for time in TIMES if abs(value) >= time[0]), (1.0, "s"))
            return f"{_digits(value / size, decimals)} {name}"
    raise KeyError(unit)


def _scaled(value: float, names: Sequence[str], base: int, decimals: int | None, gap: str = "") -> str:
    power = 0
    while abs(value) >= base and power < len(names) - 1:
        value, power = value / base, power + 1
    return f"{_digits(value, decimals)}{gap}{names[power]}"


def _digits(value: float, decimals: int | None) -> str:
    if decimals is None:
        before = math.floor(math.log10(abs(value))) + 1 if value else 1
        text = f"{value:.{min(max(0, 3 - before), 12)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{decimals}f}"

"""Amounts in another currency: no key takes them, and the error says so."""

import re
from typing import Final

_CURRENCY: Final = re.compile(
    r"euros?|eur|pounds?|gbp|francs?|chf|yen|jpy|yuan|rmb|cny|rupees?|inr|won|krw|usd", re.IGNORECASE
)
"""What people write where it says dollars."""

DOLLARS: Final = "dollars"


def in_dollars(name: str, names: list[str]) -> str | None:
    """The key that a name is but for its currency: euros_per_gpu_hour is dollars_per_gpu_hour."""
    parts = name.split("_")
    wanted = [DOLLARS if _CURRENCY.fullmatch(part) else part for part in parts]
    meant = "_".join(wanted)
    return meant if wanted != parts and meant in names else None

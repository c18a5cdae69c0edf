"""The tariff: what each GPU costs at an instant, resolved from what people wrote down."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tariff:
    """Placeholder."""

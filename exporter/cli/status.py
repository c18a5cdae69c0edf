"""Exit statuses."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""The daemon failed, or must be restarted."""
CONFIGURATION: Final = 2
"""The configuration is wrong."""

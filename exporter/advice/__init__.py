"""Savings: GPU time of the last days that could have been spared, at present prices. Pure.

Nothing here is posted. Each GPU-hour belongs to one finding, so that findings can be added up.
"""

from exporter.advice.advice import advice
from exporter.advice.consolidation import BUSY_LIMIT, MEMORY_RESERVE
from exporter.advice.finding import (
    Advice,
    CheaperGpus,
    FewerGpus,
    Lack,
    LackReason,
    Obstacle,
    Rest,
    Saving,
    SavingsPolicy,
)
from exporter.advice.hours import (
    LEAST_HOURS,
    WEEK_HOURS,
    HostUsage,
    HourUsage,
    PricedGpu,
    Release,
    hour_of_week,
    least_sure,
    local_minute,
)
from exporter.advice.rests import SCHEDULE_HOURS

__all__ = [
    "BUSY_LIMIT",
    "LEAST_HOURS",
    "MEMORY_RESERVE",
    "SCHEDULE_HOURS",
    "WEEK_HOURS",
    "Advice",
    "CheaperGpus",
    "FewerGpus",
    "HostUsage",
    "HourUsage",
    "Lack",
    "LackReason",
    "Obstacle",
    "PricedGpu",
    "Release",
    "Rest",
    "Saving",
    "SavingsPolicy",
    "advice",
    "hour_of_week",
    "least_sure",
    "local_minute",
]

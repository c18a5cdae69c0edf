"""Savings: GPU time of the last days that could have been spared, at present prices. Pure.

Nothing here is posted. Each GPU-hour belongs to one finding, so that findings can be added up.
"""

from exporter.advice.claims import SCHEDULE_HOURS
from exporter.advice.consolidation import BUSY_LIMIT, MEMORY_RESERVE
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
from exporter.advice.kinds import (
    ESTIMATED,
    OBSTACLES,
    advice,
    evidence,
    headline,
    predicate,
    rests_text,
    subject,
)
from exporter.advice.saving import (
    SAVING_KINDS,
    Advice,
    CheaperGpus,
    FewerGpus,
    IgnoredSaving,
    Lack,
    LackReason,
    Obstacle,
    Rest,
    Saving,
    SavingKind,
    SavingsPolicy,
)

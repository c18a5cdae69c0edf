"""Readings of sources, in SI units; `None` for an unknown value, never a stand-in.

A frame is all readings of one tick. Health is kept apart: an absent reading has no reason in it.
"""

from exporter.readings.failures import (
    LIBRARY_LOADED,
    AccessDeniedError,
    FailureReason,
    MustRestartError,
    ReadFailedError,
    UnreadServer,
    unread_reason,
)
from exporter.readings.frame import ErrorCounts, Frame, QuickSource, Source, SourceHealth
from exporter.readings.hardware import (
    NO_EVIDENCE,
    UNCOUNTED,
    UNKNOWN_LOCATION,
    UNSEEN,
    Gpu,
    GpuEvidence,
    GpuProcess,
    GpuReading,
    HostLocation,
    MigInstance,
    NodeLabels,
)
from exporter.readings.series import (
    CROWDED,
    CounterColumns,
    SeriesColumns,
    counter_readings,
    digest,
)
from exporter.readings.serving import (
    KINDS,
    OBJECTIVES,
    OTHER_MODELS,
    ROLE_REMEDY,
    SEQUENCES_MAX,
    CounterReading,
    DividedBy,
    Division,
    GatewayCount,
    GatewayCounter,
    GatewayReading,
    Holder,
    LatencyBasis,
    LatencyReading,
    LoadReading,
    Objective,
    Occupancy,
    Peer,
    PodOwnership,
    Quantity,
    Role,
    RoleClaim,
    SequenceLimit,
    ServerKey,
    ServerReading,
    ServiceLevel,
    TokenKind,
    team_and_product,
    tenant_name,
)
from exporter.readings.values import LABEL_CHARACTERS, endpoint_id, label, masked, printable, published, ratio

"""What a source may say. SI units; `None` where the source cannot say, never a stand-in value.

A frame is all readings of one tick. Data and health are kept apart: an absent reading says nothing about why.
"""

from exporter.readings.failures import (
    REMEDIES,
    AccessDeniedError,
    FailureReason,
    MustRestartError,
    ReadFailedError,
    UnreadReason,
    UnreadServer,
    unread_reason,
)
from exporter.readings.frame import Frame, Source, SourceHealth
from exporter.readings.gateways import DividedBy, Division, GatewayCount, GatewayCounter, GatewayReading
from exporter.readings.hardware import (
    UNKNOWN_LOCATION,
    Gpu,
    GpuProcess,
    GpuReading,
    HostLocation,
    MigInstance,
    NodeLabels,
)
from exporter.readings.series import CROWDED, CounterColumns, SeriesColumns, counter_readings, digest
from exporter.readings.serving import (
    KINDS,
    OTHER_MODELS,
    CounterReading,
    Holder,
    Kind,
    LoadReading,
    PodOwnership,
    Quantity,
    Role,
    ServerKey,
    ServerReading,
)
from exporter.readings.urls import endpoint_id, masked, published
from exporter.readings.values import LABEL_CHARACTERS, label, ratio

__all__ = [
    "CROWDED",
    "KINDS",
    "LABEL_CHARACTERS",
    "OTHER_MODELS",
    "REMEDIES",
    "UNKNOWN_LOCATION",
    "AccessDeniedError",
    "CounterColumns",
    "CounterReading",
    "DividedBy",
    "Division",
    "FailureReason",
    "Frame",
    "GatewayCount",
    "GatewayCounter",
    "GatewayReading",
    "Gpu",
    "GpuProcess",
    "GpuReading",
    "Holder",
    "HostLocation",
    "Kind",
    "LoadReading",
    "MigInstance",
    "MustRestartError",
    "NodeLabels",
    "PodOwnership",
    "Quantity",
    "ReadFailedError",
    "Role",
    "SeriesColumns",
    "ServerKey",
    "ServerReading",
    "Source",
    "SourceHealth",
    "UnreadReason",
    "UnreadServer",
    "counter_readings",
    "digest",
    "endpoint_id",
    "label",
    "masked",
    "published",
    "ratio",
    "unread_reason",
]

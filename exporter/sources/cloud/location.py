"""What firmware, metadata and a node's labels come to. Pure.

Configuration, firmware, metadata, labels: what one of them tells, none of those behind it changes.
"""

from dataclasses import replace

from exporter.readings import NodeLabels, Place
from exporter.sources.cloud.labels import SOURCE, place_of
from exporter.sources.cloud.metadata import source_name
from exporter.sources.cloud.spelling import ON_DEMAND

FIELDS = ("cloud", "instance_type", "region", "zone", "lifecycle")


def located(place: Place, labels: NodeLabels | None) -> tuple[Place, str]:
    """A place that firmware and metadata told, with what a node's labels add; `None` could not be read.

    Labels fill what is empty. Where they name another cloud or instance type they fill nothing, and the text
    says so; else it is empty.
    """
    labeled = place_of(dict(labels or ()), place.cloud)
    kept = replace(place, node_labels=labels)
    for what, told, label in (
        ("in", place.cloud, labeled.cloud),
        ("a", place.instance_type, labeled.instance_type),
    ):
        if told and label and told.casefold() != label.casefold():
            return kept, f"the node's labels say {what} {label}, {place.source} says {what} {told}"
    if labeled.lifecycle == ON_DEMAND and place.source == source_name(place.cloud):
        # A service that answered and named no lifecycle knows of one that is neither on demand nor spot.
        labeled = replace(labeled, lifecycle="")
    added = {
        field: getattr(labeled, field)
        for field in FIELDS
        if getattr(labeled, field) and not getattr(place, field)
    }
    if not added:
        return kept, ""
    return replace(kept, **added, source=", ".join(filter(None, (place.source, SOURCE)))), ""

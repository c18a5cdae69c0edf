"""Who pays for a pod, as far as the pod says it. Pure."""

from exporter.config.settings import PodLabels
from exporter.sources.kubernetes.pod import Pod


def owner_of(pod: Pod, labels: PodLabels) -> tuple[str, str]:
    """The product and the team that a pod names: by annotation, else by label; empty where by neither."""
    return (
        pod.wishes.product or pod.labels.get(labels.product, ""),
        pod.wishes.team or pod.labels.get(labels.team, ""),
    )

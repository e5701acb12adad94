"""
Kubernetes: which pod has which GPU of this node, as the kubelet says, and how long it may wait.

The tenant is the namespace, the job the label `firmwatt.io/job` or the pod itself. The tier comes from the pod's label,
else from its namespace, else from `default_tier`; labels need the API server:

    [mapping.kubernetes]
    default_tier = "T1"
    api = "https://10.0.0.1:6443"
    token_file = "/etc/firmwatt/kubernetes.token"
    ca_file = "/etc/firmwatt/kubernetes-ca.crt"

    [mapping.kubernetes.namespaces]
    batch = "T3"

With `api` set, a pod whose labels are not known is T0: one of them might have said so.
"""

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from collectors import Place, SourceError
from collectors.claims import Use, gathered
from collectors.mappings import Claim
from collectors.mappings._kube_api import KubeApi, PodName
from collectors.mappings._kubelet import ClaimedDevice, Device, Kubelet, Pod
from collectors.mappings._paced import Paced
from pipeline.messages.telemetry import Tier, Workload
from pipeline.settings import Positive, Section

Labels = Mapping[str, str]

DRA_DRIVER = "gpu.nvidia.com"
"""NVIDIA's driver for GPUs that pods get by resource claims (NVIDIA/k8s-dra-driver-gpu)."""

_UUID = re.compile(r"(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DEVICE_FILE = re.compile(r"nvidia(\d+)(?:/gi(\d+))?", re.ASCII)


class Settings(Section, frozen=True, kw_only=True):
    """``[mapping.kubernetes]``."""

    socket: str = "/var/lib/kubelet/pod-resources/kubelet.sock"
    period_s: Positive = 10.0
    timeout_s: Positive = 5.0
    """Of one question to the kubelet or the API."""
    resources: tuple[str, ...] = ("nvidia.com/gpu", "nvidia.com/mig-", "amd.com/gpu")
    """How the names of resources that are GPUs begin."""
    namespaces: dict[str, Tier] = msgspec.field(default_factory=dict)
    default_tier: Tier = Tier.T0
    api: str = ""
    """``https://HOST:PORT`` of the API server, for the labels; empty: it is not asked."""
    token_file: str = ""
    ca_file: str = ""
    node: str = ""
    """The node's name in Kubernetes; empty: the machine's own name."""
    tier_label: str = "firmwatt.io/tier"
    workload_label: str = "firmwatt.io/workload"
    model_label: str = "firmwatt.io/model"
    job_label: str = "firmwatt.io/job"


def connect(settings: Settings) -> "Kubernetes":
    """Return the mapping; nobody is asked yet. Raise `ConfigError` where the libraries are missing."""
    return Kubernetes(settings)


def claim_of(pod: Pod, labels: Labels | None, settings: Settings) -> tuple[Claim, str]:
    """
    Return what *pod* claims, and what is wrong with its labels or nothing. Pure.

    Labels are None where they should be known and are not: then the pod is T0, as it is with a tier that is none.
    """
    job = f"{pod.namespace}/{pod.name}"
    if labels is None:
        return Claim(job=job, tenant=pod.namespace), ""
    troubles = []
    tier = settings.namespaces.get(pod.namespace, settings.default_tier)
    workload = Workload.UNKNOWN
    if said := labels.get(settings.tier_label):
        tier = Tier(said) if said in set(Tier) else Tier.T0
        if said not in set(Tier):
            troubles.append(f"{settings.tier_label}={said} is none of {', '.join(Tier)}: it is T0")
    if said := labels.get(settings.workload_label):
        workload = Workload(said) if said in set(Workload) else Workload.UNKNOWN
        if said not in set(Workload):
            troubles.append(f"{settings.workload_label}={said} is none of {', '.join(Workload)}")
    claim = Claim(
        job=labels.get(settings.job_label) or job,
        tenant=pod.namespace,
        tier=tier,
        workload=workload,
        served_model=labels.get(settings.model_label) or None,
    )
    return claim, f"pod {job}: {'; '.join(troubles)}" if troubles else ""


def device(name: str, places: Sequence[Place]) -> tuple[str, int | None] | None:
    """
    Return the UUID that a device plugin's *name* means, and the GPU instance's id where it is given; None if unknown.

        GPU-…, MIG-…              NVIDIA's plugin; with ::2 behind it the third share of a GPU (time slicing, MPS)
        nvidia0, nvidia0/gi7      GKE's plugin: the device file, so the minor number (container-engine-accelerators,
        nvidia0/vgpu1             pkg/gpu/nvidia/manager.go), and the GPU instance; /vgpuN is a share
    """
    name = name.partition("::")[0].partition("/vgpu")[0]
    if name.startswith(("GPU-", "MIG-")) or any(place.uuid == name for place in places):
        return name, None
    if file := _DEVICE_FILE.fullmatch(name):
        uuid = next((place.uuid for place in places if place.minor == int(file[1])), None)
        return (uuid, int(file[2]) if file[2] else None) if uuid else None
    return None


class Kubernetes:
    """This node's pods."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._node = settings.node or socket.gethostname()
        self._kubelet = Paced(Kubelet(settings.socket, settings.timeout_s).pods, settings.period_s)
        self._api: Paced[Mapping[PodName, Labels]] | None = None
        if settings.api:
            api = KubeApi(
                settings.api,
                self._node,
                token_file=settings.token_file,
                ca_file=settings.ca_file,
                timeout_s=settings.timeout_s,
            )
            self._api = Paced(api.labels, settings.period_s)
        self._troubles: list[str] = []

    @property
    def period_s(self) -> float:
        """How often it is worth asking, seconds of the shared clock."""
        return self._settings.period_s

    @property
    def troubles(self) -> tuple[str, ...]:
        """One line for each pod or device that the last call could not tell."""
        return tuple(self._troubles)

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:
        """Return the claims of the pods on this node; raise `SourceError` if the kubelet does not tell them."""
        self._troubles = []
        pods = [pod for pod in self._kubelet.answer(now) if self._uses_gpus(pod)]
        labels = self._labels(now) if pods else {}
        return gathered([use for pod in pods for use in self._uses(pod, labels, places)], places)

    def _uses_gpus(self, pod: Pod) -> bool:
        return any(self._is_gpu(found) for found in pod.devices) or any(_is_claimed_gpu(found) for found in pod.claimed)

    def _is_gpu(self, found: Device) -> bool:
        return found.resource.startswith(self._settings.resources)

    def _labels(self, now: datetime) -> Mapping[PodName, Labels]:
        """Return the labels as the API tells them now, or told them not long ago."""
        if self._api is None:
            return {}
        try:
            return self._api.answer(now)
        except SourceError as error:
            self._troubles.append(str(error))
            return self._api.known(now) or {}

    def _uses(self, pod: Pod, labels: Mapping[PodName, Labels], places: Sequence[Place]) -> Iterator[Use]:
        """Yield the GPUs of *pod*; of those that cannot be told from its devices, note why."""
        name = f"pod {pod.namespace}/{pod.name}"
        known = {} if self._api is None else labels.get((pod.namespace, pod.name))
        if known is None:
            self._troubles.append(f"{name}: the API tells no labels of it on node {self._node}; until then it is T0")
        claim, trouble = claim_of(pod, known, self._settings)
        if trouble:
            self._troubles.append(trouble)
        for found in filter(self._is_gpu, pod.devices):
            if told := device(found.name, places):
                yield Use(told[0], claim, told[1])
            else:
                self._troubles.append(f"{name}: which GPU {found.name} is, no source here knows")
        for claimed in filter(_is_claimed_gpu, pod.claimed):
            if uuid := _UUID.search(" ".join((claimed.name, *claimed.runtime_names))):
                yield Use(uuid[0], claim)
            else:
                self._troubles.append(
                    f"{name}: which GPU {claimed.name} of its resource claim is, only ResourceSlices tell,"
                    " and they are not read: name it in the static mapping, else it is T0"
                )


def _is_claimed_gpu(found: ClaimedDevice) -> bool:
    return found.driver == DRA_DRIVER

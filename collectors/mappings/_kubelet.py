"""
What the kubelet says of this node's pods: gRPC on a Unix socket, ``v1.PodResourcesLister/List``.

Messages and field numbers are those of kubernetes' staging/src/k8s.io/kubelet/pkg/apis/podresources/v1/api.proto, of
which only what concerns devices is declared; protobuf passes over the rest. Until 1.33 the list also holds pods that
have ended (kubernetes#119423), so a GPU may appear to have more users than it has, never fewer.
"""

import errno
import socket
from pathlib import Path
from typing import Any, NamedTuple

from collectors import SourceError
from pipeline.errors import ConfigError

METHOD = "/v1.PodResourcesLister/List"
MAX_BYTES = 16 << 20
"""Far more than the pods of a node take up."""

#: Message → its fields: name, number, the message it holds (empty: text). All are repeated except plain text.
MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "ListPodResourcesRequest": (),
    "ListPodResourcesResponse": (("pod_resources", 1, "PodResources", True),),
    "PodResources": (
        ("name", 1, "", False),
        ("namespace", 2, "", False),
        ("containers", 3, "ContainerResources", True),
    ),
    "ContainerResources": (("devices", 2, "ContainerDevices", True), ("dynamic_resources", 5, "DynamicResource", True)),
    "ContainerDevices": (("resource_name", 1, "", False), ("device_ids", 2, "", True)),
    "DynamicResource": (("claim_name", 2, "", False), ("claim_resources", 4, "ClaimResource", True)),
    "ClaimResource": (
        ("cdi_devices", 1, "CDIDevice", True),
        ("driver_name", 2, "", False),
        ("device_name", 4, "", False),
    ),
    "CDIDevice": (("name", 1, "", False),),
}


class Device(NamedTuple):
    """One device of a pod, as a device plugin names it: ``nvidia.com/gpu`` and ``GPU-…``."""

    resource: str
    name: str


class ClaimedDevice(NamedTuple):
    """One device that a pod has by a resource claim (DRA): its driver's name for it, and those of the runtime."""

    driver: str
    name: str
    runtime_names: tuple[str, ...]


class Pod(NamedTuple):
    """One pod with the devices of all its containers."""

    namespace: str
    name: str
    devices: tuple[Device, ...] = ()
    claimed: tuple[ClaimedDevice, ...] = ()


class Kubelet:
    """One kubelet's socket; a connection for each question, so that a restarted kubelet is found at once."""

    def __init__(self, path: str, timeout_s: float) -> None:
        """Raise `ConfigError` where the libraries are missing; connect to nothing yet."""
        try:
            import grpc  # type: ignore[import-untyped]  # grpcio ships no types
            from google.protobuf import (  # type: ignore[import-untyped]  # its types are a package of their own
                descriptor_pb2,
                descriptor_pool,
                message_factory,
            )
        except ImportError as error:
            raise ConfigError("mapping kubernetes needs grpcio and protobuf: install firmwatt[kubernetes]") from error
        self._grpc = grpc
        self._path = path
        self._timeout_s = timeout_s
        pool = descriptor_pool.DescriptorPool()
        pool.Add(_declared(descriptor_pb2))
        self._request: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("v1.ListPodResourcesRequest"))
        self._reply: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("v1.ListPodResourcesResponse"))

    def pods(self) -> list[Pod]:
        """Return the node's pods; raise `SourceError` that says what to do."""
        # Without an authority of its own, grpcio sends the socket's escaped path, which servers refuse (grpc#38142).
        options = [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", MAX_BYTES)]
        with self._grpc.insecure_channel(f"unix:{self._path}", options=options) as channel:
            ask = channel.unary_unary(
                METHOD,
                request_serializer=self._request.SerializeToString,
                response_deserializer=self._reply.FromString,
            )
            try:
                reply = ask(self._request(), timeout=self._timeout_s)
            except self._grpc.RpcError as error:
                raise SourceError(self._explained(error)) from error
        return [_pod(pod) for pod in reply.pod_resources]

    def _explained(self, error: Any) -> str:
        code = error.code()
        if code is self._grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"the kubelet at {self._path} did not answer within {self._timeout_s:g} s"
        if code is self._grpc.StatusCode.UNIMPLEMENTED:
            return f"the kubelet at {self._path} does not speak pod-resources v1: it needs Kubernetes 1.20 or later"
        if code is self._grpc.StatusCode.UNAVAILABLE and (reason := refusal(self._path)):
            return reason
        return f"the kubelet at {self._path} refused: {code.name} {error.details()}"


def refusal(path: str) -> str:
    """Return why nobody can be reached at the Unix socket *path* and what to do, empty if somebody can."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except PermissionError:
            return (
                f"may not open {path}, which is root's: run this collector as root or with CAP_DAC_OVERRIDE;"
                " in a pod, mount its folder and run as user 0"
            )
        except FileNotFoundError:
            return (
                f"no kubelet at {path}: does it run here, and is its pod-resources folder mounted into this container?"
            )
        except OSError as error:
            is_down = error.errno == errno.ECONNREFUSED
            return f"nobody listens at {path}: is the kubelet running?" if is_down else f"{path}: {error}"
    return ""


def _pod(pod: Any) -> Pod:
    return Pod(
        pod.namespace,
        pod.name,
        tuple(
            Device(devices.resource_name, name)
            for container in pod.containers
            for devices in container.devices
            for name in devices.device_ids
        ),
        tuple(
            ClaimedDevice(device.driver_name, device.device_name, tuple(runtime.name for runtime in device.cdi_devices))
            for container in pod.containers
            for claim in container.dynamic_resources
            for device in claim.claim_resources
        ),
    )


def _declared(pb: Any) -> Any:
    """Return `MESSAGES` as the file descriptor that protoc would have made of them."""
    file = pb.FileDescriptorProto(name=Path(__file__).stem + ".proto", package="v1", syntax="proto3")
    kinds = pb.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, number, held, many in fields:
            declared.field.add(
                name=name,
                number=number,
                label=kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL,
                type=kinds.TYPE_MESSAGE if held else kinds.TYPE_STRING,
                type_name=f".v1.{held}" if held else None,
            )
    return file

"""
A kubelet's pod-resources socket: a real gRPC server on a Unix socket.

It writes its messages by itself, byte by byte from the field numbers of kubernetes'
staging/src/k8s.io/kubelet/pkg/apis/podresources/v1/api.proto, so that a wrong number in the client is found out.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types


def field_bytes(number: int, content: str | bytes) -> bytes:
    """Return one length-delimited protobuf field."""
    payload = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def pod(namespace: str, name: str, *containers: bytes) -> bytes:
    """Return a PodResources message."""
    parts = [field_bytes(1, name), field_bytes(2, namespace), *(field_bytes(3, part) for part in containers)]
    return b"".join(parts)


def container(*parts: bytes) -> bytes:
    """Return a ContainerResources message: its name, an exclusive CPU that nobody asked for, and *parts*."""
    return field_bytes(1, "main") + field_bytes(3, _varint(4)) + b"".join(parts)


def devices(resource: str, *ids: str) -> bytes:
    """Return the devices of one resource, with the NUMA node they are on."""
    numa = field_bytes(3, field_bytes(1, _varint(1 << 3) + _varint(1)))
    return field_bytes(2, field_bytes(1, resource) + b"".join(field_bytes(2, id_) for id_ in ids) + numa)


def claimed(driver: str, device: str, *runtime_names: str) -> bytes:
    """Return one device that a resource claim gives."""
    runtime = b"".join(field_bytes(1, field_bytes(1, name)) for name in runtime_names)
    resource = runtime + field_bytes(2, driver) + field_bytes(3, "pool") + field_bytes(4, device)
    return field_bytes(5, field_bytes(2, "claim") + field_bytes(3, "ns") + field_bytes(4, resource))


def gpu_pod(namespace: str, name: str, *ids: str, resource: str = "nvidia.com/gpu") -> bytes:
    """Return a pod of one container with GPUs."""
    return pod(namespace, name, container(devices(resource, *ids)))


@dataclass
class Kubelet:
    """What it would tell, and what it was asked."""

    socket: Path
    pods: list[bytes] = field(default_factory=list)
    refusal: Any = None
    """The gRPC status with which it refuses; None: it answers."""
    let_go: threading.Event | None = None
    """It answers only once this is set; None: at once."""
    calls: int = 0

    def list(self, request: bytes, context: Any) -> bytes:
        """Answer one List."""
        self.calls += 1
        assert request == b""
        if self.let_go is not None:
            self.let_go.wait(30)
        if self.refusal is not None:
            context.abort(self.refusal, "as the test wants it")
        return b"".join(field_bytes(1, part) for part in self.pods)

    @contextmanager
    def running(self) -> Iterator["Kubelet"]:
        """Listen for as long as the block runs."""
        with ThreadPoolExecutor(4) as pool:
            server = grpc.server(pool)
            handler = grpc.unary_unary_rpc_method_handler(self.list)
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("v1.PodResourcesLister", {"List": handler}),)
            )
            server.add_insecure_port(f"unix:{self.socket}")
            server.start()
            try:
                yield self
            finally:
                if self.let_go is not None:
                    self.let_go.set()
                server.stop(0).wait()

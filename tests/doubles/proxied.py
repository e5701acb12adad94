"""
A real broker whose clients can be made to suffer.

    proxied.kafka  ── FaultProxy ──▶ PROXIED listener ┐
    proxied.direct ────────────────▶ BROKER listener  ┴ one Apache Kafka node

Who begins at `kafka` is told the proxy's address and so stays behind it; who begins at `direct` never meets it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from doubles.fault_proxy import FaultProxy
from doubles.loopback import lasting_ports

from deploy.broker import node
from deploy.broker.node import Proxied, Variant
from pipeline.settings import Kafka

HEAP_MB = 256


@dataclass(frozen=True)
class ProxiedBroker:
    """A broker and the line to it."""

    kafka: Kafka
    direct: Kafka
    proxy: FaultProxy


@contextmanager
def proxied_broker(data: Path, *, secure: Variant | None = None, seed: int = 1) -> Iterator[ProxiedBroker]:
    """Yield a broker of its own in *data*, without topics, behind a proxy; it dies with this process."""
    (port,) = lasting_ports(1)
    with FaultProxy(port, seed=seed) as proxy:
        behind = Proxied(port=port, advertised=proxy.port)
        started = asyncio.run(node.start(data, heap_mb=HEAP_MB, detach=False, proxied=behind, secure=secure))
        try:
            yield ProxiedBroker(msgspec.structs.replace(started.kafka, bootstrap=proxy.bootstrap), started.kafka, proxy)
        finally:
            node.stop(data)

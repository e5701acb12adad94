"""Ports on loopback for servers that come and go."""

from random import Random

from deploy.broker import ports

LASTING = range(20_000, 32_000)
"""Below those that the kernel gives to clients (ip(7), ip_local_port_range): nobody takes the port of a server that is
down, and nobody who connects to it there is connected to himself."""
TRIES = 50


def lasting_ports(count: int) -> list[int]:
    """Return *count* different ports that are free, and will be as long as nobody asks for just these."""
    candidates = Random().sample(LASTING, TRIES * count)
    return [port for port in candidates if ports.free(preferred=port) == port][:count]

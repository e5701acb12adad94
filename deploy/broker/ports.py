"""Ports on loopback: free ones, asked-for ones, and whether somebody listens."""

import errno
import socket

from deploy.broker.properties import HOST
from pipeline.errors import ConfigError, EnvironmentProblem

HIGHEST = 65_535
CONNECT_S = 0.5


def check(port: int) -> int:
    """Return *port* if a broker can have it; else raise `ConfigError` or `EnvironmentProblem`."""
    if not 0 < port <= HIGHEST:
        raise ConfigError(f"port {port} is not between 1 and {HIGHEST}")
    try:
        return _bound(port)
    except OSError as error:
        why = "in use" if error.errno == errno.EADDRINUSE else f"not to be had ({error.strerror})"
        raise EnvironmentProblem(f"port {port} on {HOST} is {why}: give another, or none to have one chosen") from error


def free(preferred: int | None = None) -> int:
    """Return *preferred* if that is free, else a port that is."""
    try:
        return _bound(preferred or 0)
    except OSError:
        return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: old connections do not count
        listener.bind((HOST, port))
        listener.listen()
        return int(listener.getsockname()[1])


def answers(address: str) -> bool:
    """Tell whether somebody listens at *address*, ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), CONNECT_S):
            return True
    except OSError:
        return False

"""`doubles.fault_proxy` between two sockets: each fault does what it says, and nothing else."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from doubles.fault_proxy import HALF_OPEN, HOST, PASS, REFUSE, FaultProxy, Line, Way

WAIT_S = 20.0
SILENCE_S = 0.3
"""Some hundred times what an answer takes."""


@dataclass
class Echo:
    """Sends back what it gets, and remembers the size of each read and how each connection ended."""

    listener: socket.socket = field(default_factory=lambda: socket.create_server((HOST, 0)))
    accepted: int = 0
    reads: list[int] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.reads.append(len(data))
                    connection.sendall(data)
                self.ends.append("closed")
            except ConnectionError:
                self.ends.append("reset")

    def wait_for_end(self) -> str:
        deadline = time.monotonic() + WAIT_S
        while not self.ends:
            assert time.monotonic() < deadline, "the connection did not end"
            time.sleep(0.01)
        return self.ends[0]


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    threading.Thread(target=server.serve, daemon=True).start()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as line:
        yield line


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with connect(proxy) as connection:
        yield connection


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), WAIT_S)


def echoed(client: socket.socket, data: bytes) -> float:
    """Send *data*, read it back, and return what that took, seconds."""
    began = time.monotonic()
    threading.Thread(target=client.sendall, args=(data,)).start()
    back = b""
    while len(back) < len(data):
        more = client.recv(65_536)
        assert more, "the connection was closed"
        back += more
    assert back == data
    return time.monotonic() - began


def silent(client: socket.socket) -> bool:
    """Tell whether nothing comes for a while, neither bytes nor an end."""
    client.settimeout(SILENCE_S)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    else:
        return False
    finally:
        client.settimeout(WAIT_S)


def test_a_line_without_faults_carries_every_byte_both_ways_and_the_end(
    echo: Echo, proxy: FaultProxy, client: socket.socket
) -> None:
    echoed(client, bytes(range(256)) * 4096)

    client.close()

    assert echo.wait_for_end() == "closed"
    assert set(proxy.carried.values()) == {1_048_576}


def test_latency_is_paid_each_way_and_jitter_comes_on_top(proxy: FaultProxy, client: socket.socket) -> None:
    """0.2 s each way are 0.4 s; with up to 0.1 s of jitter each way at most 0.6 s, and the machine's own time."""
    assert echoed(client, b"ping") < 0.4

    proxy.order(Line(latency_s=0.2, jitter_s=0.1))

    assert 0.4 <= echoed(client, b"ping") < 2.0


def test_latency_delays_a_stream_once_and_not_each_piece_of_it(proxy: FaultProxy, client: socket.socket) -> None:
    """20 pieces one after the other would take 20 times 0.4 s."""
    proxy.order(Line(latency_s=0.2, slice_bytes=100))

    assert 0.4 <= echoed(client, bytes(2000)) < 4.0


def test_jitter_keeps_bytes_in_order(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.order(Line(jitter_s=0.02))

    echoed(client, b"".join(number.to_bytes(4, "big") for number in range(50_000)))


def test_bandwidth_is_shared_by_all_connections(proxy: FaultProxy, client: socket.socket) -> None:
    """Twice 50 000 B at 200 000 B/s take 0.5 s; the way back runs at the same time."""
    proxy.order(Line(bytes_per_s=200_000))

    began = time.monotonic()
    with connect(proxy) as other:
        both = [threading.Thread(target=echoed, args=(one, bytes(50_000))) for one in (client, other)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()

    assert 0.45 <= time.monotonic() - began < 3.0


def test_a_reset_reaches_both_sides(echo: Echo, proxy: FaultProxy, client: socket.socket) -> None:
    echoed(client, b"ping")

    proxy.reset()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert echo.wait_for_end() == "reset"
    with connect(proxy) as another:
        echoed(another, b"ping")


def test_a_reset_by_one_side_is_a_reset_for_the_other(echo: Echo, proxy: FaultProxy, client: socket.socket) -> None:
    echoed(client, b"ping")

    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()

    assert echo.wait_for_end() == "reset"


def test_a_half_open_line_accepts_takes_everything_and_says_nothing(
    echo: Echo, proxy: FaultProxy, client: socket.socket
) -> None:
    """An open connection and a new one, of which the server hears nothing: neither bytes nor an end, here or there."""
    echoed(client, b"ping")
    proxy.order(HALF_OPEN)

    with connect(proxy) as new:
        for each in (client, new):
            each.sendall(b"lost")
            assert silent(each)
            each.shutdown(socket.SHUT_WR)
            assert silent(each)

    assert (echo.accepted, echo.reads, echo.ends) == (1, [4], [])


def test_a_connection_that_has_lost_bytes_stays_dead_when_the_line_recovers(
    echo: Echo, proxy: FaultProxy, client: socket.socket
) -> None:
    proxy.order(HALF_OPEN)
    client.sendall(b"lost")
    assert silent(client)

    proxy.order(PASS)
    client.sendall(b"more")

    assert silent(client)
    assert echo.reads == []
    with connect(proxy) as another:
        echoed(another, b"ping")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_what_goes_to_the_broker_can_be_lost_alone(echo: Echo, proxy: FaultProxy, client: socket.socket) -> None:
    echoed(client, b"ping")

    proxy.order(Line(to_broker=Way.SWALLOW))
    client.sendall(b"lost")

    assert silent(client)
    assert echo.reads == [4]


def test_what_comes_from_the_broker_can_be_lost_alone(echo: Echo, proxy: FaultProxy, client: socket.socket) -> None:
    """The server reads both requests and the client's end; its second answer and its own end are lost."""
    echoed(client, b"ping")

    proxy.order(Line(to_client=Way.SWALLOW))
    client.sendall(b"heard")

    assert silent(client)
    assert echo.reads == [4, 5]
    client.shutdown(socket.SHUT_WR)
    assert echo.wait_for_end() == "closed"
    assert silent(client)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_bytes_that_are_held_arrive_when_the_line_passes_again(
    echo: Echo, proxy: FaultProxy, client: socket.socket
) -> None:
    proxy.order(Line(to_broker=Way.HOLD))
    client.sendall(b"later")
    assert silent(client)
    assert echo.reads == []

    proxy.order(PASS)

    assert client.recv(5) == b"later"


def test_slices_arrive_one_by_one(echo: Echo, proxy: FaultProxy, client: socket.socket) -> None:
    """Without slices 1 000 B come in one read; in slices of 10 B they take more than 50."""
    echoed(client, bytes(1000))
    assert echo.reads == [1000]

    proxy.order(Line(slice_bytes=10))
    echoed(client, bytes(1000))

    assert len(echo.reads) > 51
    assert sum(echo.reads) == 2000


def test_a_refusing_line_refuses_new_connections_and_leaves_the_open_ones(
    proxy: FaultProxy, client: socket.socket
) -> None:
    echoed(client, b"ping")

    proxy.order(REFUSE)

    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    echoed(client, b"ping")
    proxy.order(PASS)
    with connect(proxy) as another:
        echoed(another, b"ping")


def test_a_broker_that_is_away_resets_its_clients() -> None:
    with socket.create_server((HOST, 0)) as gone:
        port = gone.getsockname()[1]
    with FaultProxy(port) as proxy, connect(proxy) as client, pytest.raises(ConnectionResetError):
        client.recv(1)

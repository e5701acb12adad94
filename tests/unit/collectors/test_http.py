"""Pages over real sockets: late, large, broken, encrypted and refused ones."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from doubles import pages
from doubles.pages import Page

from collectors import SourceError
from collectors.http import MAX_BYTES, Endpoint
from collectors.http import Page as Reply

SLACK_S = 0.4
"""What a busy machine may add to a deadline."""


def fetched(url: str, ca_file: str = "", headers: Mapping[str, str] | None = None, *, verify: bool = True) -> Reply:
    """Return one page and close the connection."""
    with closing(Endpoint(url, headers=headers, ca_file=ca_file, verify=verify)) as endpoint:
        return endpoint.get()


def late_after_s(endpoint: Endpoint) -> float:
    """Return how long the endpoint waited before it gave its page up as late."""
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"no whole page within 0\.3 s"):
        endpoint.get()
    return time.monotonic() - began


def test_a_page_has_a_status_a_type_headers_and_a_body() -> None:
    with pages.serve({"/metrics": Page("up 1\n", headers={"X-Auth-Token": "t"})}) as server:
        page = fetched(f"{server.url}/metrics")

    assert (page.status, page.content_type, page.body) == (200, pages.CLASSIC, b"up 1\n")
    assert page.headers["x-auth-token"] == "t"


def test_a_query_belongs_to_the_page() -> None:
    with pages.serve({"/metrics?model=a": Page("up 1\n")}) as server:
        assert fetched(f"{server.url}/metrics?model=a").body == b"up 1\n"


def test_the_endpoints_headers_go_with_every_request() -> None:
    with pages.serve({"/": Page("up 1\n")}, authorization="Bearer key") as server:
        told = fetched(server.url, headers={"Authorization": "Bearer key"})
        silent = fetched(server.url)

    assert (told.status, silent.status) == (200, 401)


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_an_error_status_is_a_page_for_the_caller_to_judge(status: int) -> None:
    with pages.serve({"/": Page("no", status=status)}) as server:
        page = fetched(server.url)

    assert (page.status, page.body) == (status, b"no")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_pages_come_over_one_connection(framing: str) -> None:
    page = Page("up 1\n", framing=framing)  # type: ignore[arg-type]  # one of its words
    with pages.serve({"/": page}) as server, closing(Endpoint(server.url)) as endpoint:
        bodies = [endpoint.get().body for _ in range(3)]

    assert bodies == [b"up 1\n"] * 3
    assert server.connections == 1


def test_a_page_that_ends_with_its_connection_is_whole_and_the_next_one_opens_another() -> None:
    with pages.serve({"/": Page("up 1\n", framing="close")}) as server:
        endpoint = Endpoint(server.url)
        bodies = [endpoint.get().body for _ in range(2)]

    assert bodies == [b"up 1\n"] * 2
    assert server.connections == 2


def test_a_connection_that_the_server_closed_between_pages_is_opened_again_once(tmp_path: Path) -> None:
    for tls in (None, pages.certificate(tmp_path)):
        served = pages.serve({"/": Page("up 1\n", hangs_up=True)}, tls=tls)
        with served as server, closing(Endpoint(server.url, verify=False)) as endpoint:
            bodies = [endpoint.get().body for _ in range(3)]

        assert bodies == [b"up 1\n"] * 3
        assert server.connections == 3


def test_a_server_that_closes_every_connection_is_asked_twice_and_no_more() -> None:
    """The first page comes; then the kept connection is closed without an answer, and so is the one after it."""
    with pages.serve({"/": Page("up 1\n")}) as server:
        endpoint = Endpoint(server.url)
        endpoint.get()
        server.put("/", Page("up 1\n", drops=True))

        with pytest.raises(SourceError, match="closed connection without response"):
            endpoint.get()

        assert server.connections == 2
        assert len(server.requests) == 3


def test_a_request_with_an_effect_is_never_sent_twice() -> None:
    with pages.serve({"/": Page("up 1\n"), "/sessions": Page("made\n", status=201, drops=True)}) as server:
        endpoint = Endpoint(server.url)
        endpoint.get()

        with pytest.raises(SourceError):
            endpoint.request("POST", "/sessions", b"{}")

        assert server.asked("/sessions") == 1


def test_a_body_and_its_headers_arrive() -> None:
    served = pages.serve({"/sessions": Page("made\n", status=201)})
    with served as server, closing(Endpoint(server.url)) as endpoint:
        made = endpoint.request("POST", "/sessions", b'{"a": 1}', {"Content-Type": "application/json"})

    (request,) = server.requests
    assert made.status == 201
    assert (request.method, request.body) == ("POST", b'{"a": 1}')
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(Page("up 1\n", delay_s=pages.FOREVER_S), id="it hangs before the first byte"),
        pytest.param(Page("x" * 1000, drip_bytes_per_s=20), id="its body drips"),
        pytest.param(Page("x" * 1000, drip_bytes_per_s=20, framing="chunked"), id="its chunks drip"),
        pytest.param(Page("x" * 1000, drip_bytes_per_s=20, framing="close"), id="it drips and says it is the last"),
        pytest.param(Page("", drip_bytes_per_s=20, drip_head=True), id="its headers drip"),
    ],
)
def test_the_deadline_holds_however_the_time_is_spent(late: Page) -> None:
    """Every single wait is shorter than the 0.3 s allowed, or none is; the page as a whole is late."""
    with pages.serve({"/": late}) as server:
        waited_s = late_after_s(Endpoint(server.url, timeout_s=0.3))

    assert 0.25 < waited_s < 0.3 + SLACK_S


def test_the_deadline_holds_for_a_handshake_that_never_ends() -> None:
    with silent_server() as port:
        waited_s = late_after_s(Endpoint(f"https://127.0.0.1:{port}", timeout_s=0.3, verify=False))

    assert 0.25 < waited_s < 0.3 + SLACK_S


def test_a_page_after_a_late_one_is_fetched_over_a_new_connection() -> None:
    served = pages.serve({"/": Page("late\n", delay_s=pages.FOREVER_S)})
    with served as server, closing(Endpoint(server.url, timeout_s=0.3)) as endpoint:
        late_after_s(endpoint)
        server.put("/", Page("up 1\n"))

        assert endpoint.get().body == b"up 1\n"

    assert server.connections == 2


def test_a_page_of_8_mb_is_read_and_one_byte_more_is_refused() -> None:
    with pages.serve({"/": Page(b"x" * MAX_BYTES)}) as server:
        endpoint = Endpoint(server.url, timeout_s=20)

        assert len(endpoint.get().body) == 8_388_608

        server.put("/", Page(b"x" * (MAX_BYTES + 1)))
        with pytest.raises(SourceError, match="larger than 8388608 bytes"):
            endpoint.get()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_page_that_breaks_off_is_refused_and_not_half_believed(framing: str) -> None:
    page = Page("joules_total 123456\n", framing=framing, cut_at=16)  # type: ignore[arg-type]  # one of its words
    with pages.serve({"/": page}) as server, pytest.raises(SourceError, match="IncompleteRead"):
        fetched(server.url)


def test_what_is_no_http_is_refused() -> None:
    page = Page(raw=b"SSH-2.0-OpenSSH_9.6\r\n")
    with pages.serve({"/": page}) as server, pytest.raises(SourceError, match=r"SSH-2\.0"):
        fetched(server.url)


def test_a_port_where_nobody_listens_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(SourceError, match=rf"^http://127\.0\.0\.1:{port}/: Connection refused$"):
        Endpoint(f"http://127.0.0.1:{port}/").get()


def test_a_server_with_a_certificate_of_its_own_needs_its_ca_file(tmp_path: Path) -> None:
    certificate = pages.certificate(tmp_path)
    with pages.serve({"/": Page("up 1\n")}, tls=certificate) as server:
        trusted = fetched(server.url, str(certificate.ca_file))
        unchecked = fetched(server.url, verify=False)

        with pytest.raises(SourceError, match="self-signed certificate; name the file of the CA"):
            fetched(server.url)

    assert trusted.body == unchecked.body == b"up 1\n"


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    certificate = pages.certificate(tmp_path)
    with pages.serve({"/": Page("up 1\n")}, tls=certificate) as server:
        elsewhere = server.url.replace("127.0.0.1", "localhost")

        with pytest.raises(SourceError, match="localhost"):
            fetched(elsewhere, str(certificate.ca_file))


@pytest.mark.parametrize("text", [None, "no certificate\n"])
def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)

    with pytest.raises(SourceError, match=r"cannot read the CA file .*ca\.pem"):
        Endpoint("https://127.0.0.1", ca_file=str(file))


@pytest.mark.parametrize("url", ["127.0.0.1:9400", "ftp://host/", "http://", "http://host:port/", "http://[::1/"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match=r"not a URL: .*; write http://HOST:PORT/path"):
        Endpoint(url)


@pytest.mark.parametrize("url", ["http://user:hunter2@host/", "http://user:hunter2@host:x/", "user:hunter2@host"])
def test_a_password_in_a_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SourceError) as refused:
        Endpoint(url)

    assert "hunter2" not in str(refused.value)


@contextmanager
def silent_server() -> Iterator[int]:
    """Yield the port of a server that accepts connections and says nothing."""
    accepted: list[socket.socket] = []

    def accept() -> None:
        try:
            while True:
                accepted.append(listening.accept()[0])
        except OSError:
            return  # closed

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()

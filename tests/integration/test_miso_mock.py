"""The mock of MISO is strict: what is not in the published document is refused."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from doubles.counterparts import miso
from doubles.miso.connecting import word
from doubles.miso.offers import TODAY, TOMORROW

PATH = f"/markets/day-ahead/{TOMORROW}/offer/schedule/participants/{miso.PARTICIPANT}"
EMPTY = {"day": str(TOMORROW), "resources": []}


@pytest.fixture
def url(tmp_path: Path, shared_data: Path) -> Iterator[str]:
    with miso.start(tmp_path, word()) as found:
        yield found


@pytest.mark.parametrize(
    ("request_line", "body", "told"),
    [
        ("GET /markets/nonsense", None, "UNKNOWN_PATH"),
        (f"DELETE {PATH}", None, "UNKNOWN_PATH"),
        (f"GET {PATH}?colour=red", None, "UNKNOWN_PARAMETER"),
        (f"GET {PATH}?pnode=NOBODY", None, "NO_RESOURCE"),
        (f"GET {PATH}".replace("day-ahead", "week-ahead"), None, "BAD_PARAMETER"),
        (f"GET {PATH}".replace(str(TOMORROW), "tomorrow"), None, "BAD_PARAMETER"),
        ("GET /markets/model/pnodes", None, "NOT_SIMULATED"),
        (f"POST {PATH}", {}, "SCHEMA"),
        (f"POST {PATH}", {**EMPTY, "firmwatt": {}}, "SCHEMA"),
        (f"POST {PATH}", {**EMPTY, "day": str(TODAY)}, "WRONG_DAY"),
    ],
)
def test_the_mock_refuses_what_is_not_published(
    url: str, tmp_path: Path, request_line: str, body: object, told: str
) -> None:
    method, path = request_line.split()
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")

    answer = httpx.request(method, url + path, json=body, verify=context, trust_env=False)

    assert answer.status_code in {400, 404}
    assert answer.json()["responses"][0]["messages"][0]["msgId"] == told


def test_the_mock_knows_nobody_without_a_certificate(url: str, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    assert httpx.get(url + PATH, verify=context, trust_env=False).status_code == 403

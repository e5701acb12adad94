"""
The mock of MISO's Market User Interface as a process: ``python tests/doubles/miso/server.py --shared ../shared …``.

TLS with a certificate of the client's, JSON as published, a virtual clock, faults to order, an append-only log of
requests. ``/control/…`` is ours, needs no certificate and is not MISO's: `audit`, `clock`, `faults`, `prices`,
`disqualify`, `cancel`, `deploy`. Prints ``ready URL`` on standard error.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent.parent))

from doubles.miso.draws import Faults
from doubles.miso.gateway import WRITE, Answer, Gateway, Request
from doubles.miso.market import Market
from doubles.miso.openapi import Specification
from doubles.miso.operations import HANDLERS

from pipeline.clock import Clock

LOOPBACK = "127.0.0.1"
CONTROL = "/control/"
LARGEST = 64 * 1024 * 1024


class Protocol(H11Protocol):
    """HTTP/1.1 whose requests know the client's certificate and how to hang up on it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Remember who connected, and how to end this connection."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert") or {}
        names = {key: value for entry in certificate.get("subject", ()) for key, value in entry}
        self.app_state = self.app_state | {"hang_up": transport.abort, "sender": names.get("commonName")}


class Server(uvicorn.Server):
    """Says when it is ready; being asked to stop is no failure."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so in one line on standard error."""
        await super().startup(sockets)
        for listener in sockets or ():
            print(f"ready https://{LOOPBACK}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)  # noqa: T201

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield


class Mock:
    """The gateway behind HTTP."""

    def __init__(self, gateway: Gateway, clock: Clock, log: Path, journal: Path | None) -> None:
        self._gateway = gateway
        self._clock = clock
        self._log = log
        self._journal = journal
        self._number = 0
        for line in journal.read_text(encoding="utf-8").splitlines() if journal and journal.exists() else ():
            self._replay(json.loads(line))

    def _replay(self, line: dict[str, Any]) -> None:
        """Do again what was asked of an earlier process, under the faults that were ordered then."""
        faults, self._gateway.faults = self._gateway.faults, Faults(**line["faults"])
        request = Request(body=line["body"].encode(), query=(), **line["request"])
        self._gateway.answer(request, datetime.fromisoformat(line["at"]))
        self._gateway.faults, self._number = faults, request.number

    def _remember(self, request: Request, now: datetime) -> None:
        if self._journal is None or request.method != "POST":
            return
        line = {
            "at": now.isoformat(),
            "faults": asdict(self._gateway.faults),
            "request": {name: getattr(request, name) for name in ("number", "method", "path", "sender", "acting")},
            "body": request.body.decode(errors="replace"),
        }
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    async def handle(self, request: HttpRequest) -> Response:
        """Answer as MISO, as control, or not at all."""
        body = await request.body()
        if request.url.path.startswith(CONTROL):
            return self._control(request.url.path.removeprefix(CONTROL), body)
        self._number += 1
        now = self._clock.now()
        wanted = Request(
            number=self._number,
            method=request.method,
            path=request.url.path,
            query=tuple(request.query_params.multi_items()),
            body=body,
            sender=request.state.sender,
            acting=request.headers.get("x-acting-participant", ""),
        )
        self._remember(wanted, now)
        answer = self._gateway.answer(wanted, now)
        fate = self._fate(wanted, answer)
        self._write(wanted, answer, fate, now)
        if fate == "lost":
            self._gateway.audit["replies_lost" if answer.changed else "query_replies_lost"] += 1
            request.state.hang_up()
        elif fate == "late":
            await asyncio.sleep(self._gateway.faults.late_s)
        headers = {"http-x-request-id": self._gateway.transaction_id(wanted.number)}
        return Response(WRITE(answer.content), answer.status, headers, "application/json")

    def _fate(self, request: Request, answer: Answer) -> str:
        faults = self._gateway.faults
        if not (answer.changed or faults.fault_queries):
            return "sent"
        if faults.hits("lose", request.number, faults.lose_replies):
            return "lost"
        return "late" if faults.hits("late", request.number, faults.late_replies) else "sent"

    def _write(self, request: Request, answer: Answer, fate: str, now: datetime) -> None:
        line = {
            "at": now.isoformat(),
            "kind": f"{request.method} {request.path}",
            "keys": _keys(request.body),
            "sha256": sha256(request.body).hexdigest() if request.body else "",
            "outcome": answer.status,
            "reply": fate,
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _control(self, name: str, body: bytes) -> Response:
        given: dict[str, Any] = json.loads(body) if body else {}
        gateway, market = self._gateway, self._gateway.market
        match name:
            case "audit":
                names = ("submissions_applied", "duplicate_submissions", "stale", "after_gate", "replies_lost")
                return Response(json.dumps({**dict.fromkeys(names, 0), **gateway.audit}))
            case "clock":
                self._clock = Clock.parse(given["word"])
            case "faults":
                gateway.faults = gateway.faults.changed(given)
            case "prices":
                market.prices |= {kind: Decimal(price) for kind, price in given.items()}
            case "disqualify":
                market.disqualified.add((given["resource"], given["product"]))
            case "cancel":
                market.take_back(given["resource"], given["market"], date.fromisoformat(given["day"]), given["hour"])
            case "deploy":
                at = datetime.fromisoformat(given["at"])
                market.deployments.append((given["resource"], at, Decimal(given["mw"])))
            case _:
                return Response(f"no control is called {name}", 404)
        return Response("{}")


def _keys(body: bytes) -> list[str]:
    """Return the resource, market, day and hour of every cell that *body* names."""
    try:
        value = json.loads(body)
        return sorted(
            {
                f"{entry['pnodeName']}|{offer.get('market', 'real-time')}|{value['day']}|{content['hour']}|{name}"
                for entry in value["resources"]
                for offer in entry["offers"]
                for name, hours in offer.items()
                if isinstance(hours, list)
                for content in hours
                if "hour" in content
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def main(argv: list[str]) -> int:
    """Answer until SIGTERM; return 1 where an answer of ours broke the published document."""
    wanted = _arguments(argv)
    faults = Faults(
        seed=wanted.seed,
        lose_replies=wanted.lose_replies,
        late_replies=wanted.late_replies,
        late_s=wanted.late_s,
        reject_share=wanted.reject_share,
        partial_share=wanted.partial_share,
        cancel_share=wanted.cancel_share,
        fault_queries=wanted.fault_queries == "true",
    )
    resources = dict(entry.split("=") for entry in wanted.resource)
    gateway = Gateway(
        Specification(wanted.shared), Market(resources, wanted.seed), wanted.participant, HANDLERS, faults
    )
    mock = Mock(gateway, Clock.parse(wanted.clock), wanted.folder / "requests.jsonl", wanted.journal)
    asyncio.run(_serve(mock, wanted.folder, wanted.port))
    return 1 if gateway.audit["invalid_answers"] else 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A mock of MISO's Market User Interface")
    parser.add_argument("--folder", type=Path, required=True, help="ca.pem, server.pem, server.key; requests.jsonl")
    parser.add_argument("--shared", type=Path, required=True, help="where schemas/miso_mui lies")
    parser.add_argument("--journal", type=Path, help="what a later process goes on from")
    parser.add_argument("--participant", default="FIRMWATT")
    parser.add_argument("--resource", action="append", default=[], help="NAME=drr1 or NAME=drr2")
    parser.add_argument("--clock", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    for name in ("lose-replies", "late-replies", "reject-share", "partial-share", "cancel-share"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--late-s", type=float, default=2.0)
    parser.add_argument("--fault-queries", choices=("true", "false"), default="false")
    return parser.parse_args(argv)


async def _serve(mock: Mock, folder: Path, port: int) -> None:
    app = Starlette(routes=[Route("/{path:path}", mock.handle, methods=["GET", "POST", "PUT", "DELETE"])])
    listener = socket.create_server((LOOPBACK, port))
    config = uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        ssl_certfile=str(folder / "server.pem"),
        ssl_keyfile=str(folder / "server.key"),
        ssl_ca_certs=str(folder / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
    )
    server = Server(config)

    def stop() -> None:
        server.should_exit = True

    for wanted in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wanted, stop)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""
Requests against the published OpenAPI document, and the simulated market behind it. Pure but for its own state.

Strict where MISO may be lenient: an unknown path, parameter or field is refused, and every answer of its own has to be
valid under the same document, or it is counted as `invalid_answers`.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec
from doubles.miso.draws import Faults
from doubles.miso.market import Market, label
from doubles.miso.openapi import Operation, Specification

WRITE = msgspec.json.Encoder(decimal_format="number").encode
Message = tuple[str, str, tuple[str, ...]]
"""Id, text and parameters of an error."""


@dataclass(frozen=True)
class Request:
    """What came in, and who sent it."""

    number: int
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: bytes
    sender: str | None
    """The common name of the certificate, None without one."""
    acting: str = ""


@dataclass(frozen=True)
class Answer:
    """What goes out."""

    status: int
    content: Any
    changed: bool = False
    """Whether the request was one that changes something, applied or not."""


class Refusal(Exception):  # noqa: N818 - not a failure of the double
    """What is answered with an APIResponse of errors."""

    def __init__(self, status: int, *messages: Message) -> None:
        super().__init__(messages)
        self.status = status
        self.messages = messages


@dataclass
class Transaction:
    """An entry of the log."""

    mrid: str
    number: int
    at: datetime
    request: Request
    answer: Answer
    replied: bytes


@dataclass(frozen=True)
class Call:
    """One admitted request."""

    request: Request
    named: dict[str, str]
    query: dict[str, str]
    body: Any
    now: datetime

    @property
    def day(self) -> date:
        """The day in the path."""
        return date.fromisoformat(self.named["day"])


Handler = Callable[["Gateway", Call], Answer]


@dataclass
class Gateway:
    """One participant's MISO."""

    specification: Specification
    market: Market
    participant: str
    handlers: Mapping[str, Handler]
    """By operation of the specification."""
    faults: Faults = field(default_factory=Faults)
    log: list[Transaction] = field(default_factory=list)
    audit: Counter[str] = field(default_factory=Counter)
    seen: set[tuple[str, bytes]] = field(default_factory=set)
    """Path and body of every submission that was applied."""

    def answer(self, request: Request, now: datetime) -> Answer:
        """Return the answer to *request* and remember it."""
        operation = None
        try:
            operation, named, query = self._admitted(request)
            body = self._body(operation, request.body)
            answer = self.handlers[operation.name](self, Call(request, named, query, body, now))
        except Refusal as refusal:
            self.audit["refused"] += 1
            answer = self._refused(refusal, request, now)
        if operation is not None:
            self._check(operation, answer)
        if request.method == "POST":
            mrid = str(uuid.UUID(bytes=sha256(f"{request.number}".encode()).digest()[:16]))
            self.log.append(Transaction(mrid, request.number, now, request, answer, WRITE(answer.content)))
        return answer

    # ------------------------------------------------------------------------------------------ admission

    def _admitted(self, request: Request) -> tuple[Operation, dict[str, str], dict[str, str]]:
        if request.sender is None:
            raise Refusal(403, ("NO_CERTIFICATE", "no certificate was shown", ()))
        operation, named = self._operation(request)
        query = self._parameters(operation, request, named)
        wanted = named.get("participantName", self.participant)
        if wanted != request.sender or (request.acting and request.acting != request.sender):
            raise Refusal(403, ("NOT_YOURS", f"{request.sender} may not act for {wanted}", (wanted,)))
        return operation, named, query

    def _operation(self, request: Request) -> tuple[Operation, dict[str, str]]:
        found = [
            (one, match.groupdict())
            for one in self.specification.operations
            if (match := one.pattern.match(request.path))
        ]
        exact = sorted(found, key=lambda entry: len(entry[1]))
        for operation, named in exact:
            if operation.method == request.method and operation.name in self.handlers:
                return operation, named
        if any(operation.method == request.method for operation, _ in exact):
            raise Refusal(404, ("NOT_SIMULATED", f"{request.path} is not simulated", ()))
        raise Refusal(404, ("UNKNOWN_PATH", f"{request.method} {request.path} is not in the specification", ()))

    def _parameters(self, operation: Operation, request: Request, named: Mapping[str, str]) -> dict[str, str]:
        """Return the query, each value under its schema; refuse what the specification does not name."""
        known = {(one["in"], one["name"]): one for one in operation.parameters}
        query = dict(request.query)
        if len(query) < len(request.query):
            raise Refusal(400, ("PARAMETER_TWICE", "a parameter was given twice", ()))
        for place, values in (("path", named), ("query", query)):
            for name, text in values.items():
                if (place, name) not in known:
                    raise Refusal(400, ("UNKNOWN_PARAMETER", f"no parameter is called {name}", (name,)))
                schema = known[place, name]["schema"]
                if wrong := self.specification.complaints(schema, _typed(self._plain(schema), text), closed=True):
                    raise Refusal(400, ("BAD_PARAMETER", f"{name}: {wrong[0]}", (name, text)))
        missing = [
            name
            for (place, name), one in known.items()
            if place == "query" and one.get("required") and name not in query
        ]
        if missing:
            raise Refusal(400, ("PARAMETER_MISSING", f"{missing[0]} is missing", (missing[0],)))
        return query

    def _plain(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = schema.get("$ref", "").rpartition("/")[2]
        found: dict[str, Any] = self.specification.document["components"]["schemas"][name] if name else schema
        return found

    def _body(self, operation: Operation, content: bytes) -> Any:
        if operation.body is None:
            return None
        try:
            value = json.loads(content.decode(), parse_float=Decimal, parse_constant=_refuse)
        except ValueError as error:
            raise Refusal(400, ("NOT_JSON", str(error), ())) from error
        if wrong := self.specification.complaints(operation.body, value, closed=True):
            raise Refusal(400, *(("SCHEMA", text, ()) for text in wrong[:5]))
        return value

    # ------------------------------------------------------------------------------------------ answers

    def _refused(self, refusal: Refusal, request: Request, now: datetime) -> Answer:
        action = "GET_FAILED" if request.method == "GET" else "SUBMIT_FAILED"
        content = self.response(request, now, action, refusal.messages)
        return Answer(refusal.status, content, changed=request.method == "POST")

    def response(self, request: Request, now: datetime, action: str, messages: tuple[Message, ...]) -> dict[str, Any]:
        """Return an APIResponse in which each of *messages* is an error."""
        errors = [
            {"level": "ERROR", "msgId": name, "params": list(params), "userMsg": text}
            for name, text, params in messages
        ]
        return {
            "action": action,
            "responses": [{"messages": errors}] if errors else [],
            "transactionId": self.transaction_id(request.number),
            "transactionTime": label(now),
        }

    def transaction_id(self, number: int) -> str:
        """Return a GUID without hyphens."""
        return sha256(f"{self.faults.seed}|transaction|{number}".encode()).hexdigest()[:32]

    def _check(self, operation: Operation, answer: Answer) -> None:
        """Count an answer that the published document does not allow."""
        schema = operation.responses.get(str(answer.status))
        value = json.loads(WRITE(answer.content), parse_float=Decimal)
        if schema is None or self.specification.complaints(schema, value, closed=True):
            self.audit["invalid_answers"] += 1


def _typed(schema: dict[str, Any], text: str) -> Any:
    """Return a parameter's *text* as its schema wants it."""
    if schema.get("type") == "integer" and text.lstrip("-").isdigit():
        return int(text)
    return text.split(",") if schema.get("type") == "array" else text


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no number")

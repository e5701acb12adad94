"""
The published OpenAPI document of MISO's Market User Interface as something that judges requests and answers.

It writes 23 bounds as texts and marks what may be null in OpenAPI's way; both become JSON Schema here, all numbers
`Decimal`, so that 0.3 is a multiple of 0.1. `closed` schemas allow the named properties only: stricter than what is
published, since a field that MISO does not know must not leave us.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # ships no types
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # the same

SPECIFICATION = Path("schemas", "miso_mui", "miso-mui-2.0-specification.yaml")
NUMBERS = ("minimum", "maximum", "multipleOf")
METHODS = ("get", "post", "put", "delete")
FORMATS = {
    "date": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "date-time": re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})"),
}
SCHEDULE = "MultiVariantScheduleOffer"


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    name: str
    parameters: tuple[dict[str, Any], ...]
    body: dict[str, Any] | None
    responses: dict[str, dict[str, Any]]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What its URLs look like."""
        return re.compile("^" + re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(self.path)) + "$")


class Specification:
    """All operations, and a validator for any schema of the document."""

    def __init__(self, shared: Path) -> None:
        with (shared / SPECIFICATION).open(encoding="utf-8") as file:
            self.document = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        components = self.document["components"]
        self.open = {"schemas": _schema(components["schemas"], close=False)}
        self.closed = {"schemas": _schema(components["schemas"], close=True)}
        self.operations = tuple(self._operations())

    def complaints(self, schema: dict[str, Any], value: object, *, closed: bool) -> list[str]:
        """Return what is wrong with *value* under *schema* of this document, one line each; nothing if it is valid."""
        root = self.closed if closed else self.open
        validator = Draft7Validator({"allOf": [_schema(schema, close=closed)], "components": root})
        return [_told(error) for error in validator.iter_errors(value)]

    def named(self, name: str) -> dict[str, Any]:
        """Return a reference to the schema *name*."""
        return {"$ref": f"#/components/schemas/{name}"}

    def _operations(self) -> Iterator[Operation]:
        for path, entry in self.document["paths"].items():
            shared = entry.get("parameters", [])
            for method in METHODS:
                if method in entry:
                    yield self._operation(path, method, entry[method], shared)

    def _operation(self, path: str, method: str, entry: dict[str, Any], shared: list[dict[str, Any]]) -> Operation:
        parameters = tuple(self._resolved(one) for one in [*shared, *entry.get("parameters", [])])
        body = entry.get("requestBody")
        responses = {code: self._resolved(one) for code, one in entry["responses"].items()}
        return Operation(
            path,
            method.upper(),
            entry["operationId"],
            parameters,
            _json(body) if body else None,
            {code: _json(one) for code, one in responses.items() if "application/json" in one.get("content", {})},
        )

    def _resolved(self, entry: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in entry:
            return entry
        found: Any = self.document
        for step in entry["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        resolved: dict[str, Any] = found
        return resolved


def _json(entry: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = entry["content"]["application/json"]["schema"]
    return schema


def _schema(node: Any, *, close: bool) -> Any:
    """Return *node* of OpenAPI 3.0 as JSON Schema draft 7; under *close* no object may have what it does not name."""
    if isinstance(node, list):
        return [_schema(one, close=close) for one in node]
    if not isinstance(node, dict):
        return node
    found = {name: _schema(inside, close=close) for name, inside in node.items() if name not in {"example", "nullable"}}
    for name in NUMBERS:
        if isinstance(found.get(name), str | int | float):
            found[name] = Decimal(str(found[name]))
    if node.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    if isinstance(node.get("format"), str) and (pattern := FORMATS.get(node["format"])) and "pattern" not in node:
        found["pattern"] = f"^{pattern.pattern}$"
    if close and isinstance(node.get("properties"), dict) and node.get("type", "object") == "object":
        found.setdefault("additionalProperties", False)
    return found


def _told(error: Any) -> str:
    """Return the complaint that says most: of several variants, that of the one that was meant."""
    while error.context:
        error = min(error.context, key=_far)
    place = "/".join(str(step) for step in error.absolute_path)
    return f"{place}: {error.message[:200]}"


def _far(error: Any) -> tuple[int, int]:
    """Sort complaints of a wrong variant last: those about `offerType`, then those nearer the top."""
    return (int("offerType" in error.absolute_path), -len(error.absolute_path))

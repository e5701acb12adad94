"""What MISO answers, read: receipts, the log of transactions, market results and notifications. Pure."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Annotated, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from bidding.markets.miso.strict import line, parse, why
from pipeline.errors import VenueError

L = TypeVar("L", bound=BaseModel)


class Wire(BaseModel):
    """Of MISO's: its names are in camel case, what it may add later is ignored, null is what is left out."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


def _listed(value: object) -> object:
    return () if value is None else value


Number = Annotated[Decimal, Field(ge=Decimal(-(10**9)), le=Decimal(10**9))]


class Message(Wire):
    """An error, a warning or a remark."""

    level: str | None = None
    msg_id: str | None = None
    params: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    user_msg: str | None = None

    @property
    def text(self) -> str:
        """It as one line."""
        return line(f"{self.msg_id or self.level}: {self.user_msg or ', '.join(self.params)}")

    def names(self, resource: str, hour: int) -> bool:
        """Tell whether its parameters name *resource*, and *hour* if they name any hour."""
        hours = {text for text in self.params if text.isdecimal() and text.isascii()}
        return resource in self.params and (not hours or str(hour) in hours)


class Response(Wire):
    """Messages about one thing."""

    messages: Annotated[tuple[Message, ...], BeforeValidator(_listed)] = ()


class ApiResponse(Wire):
    """The answer to a submission, and to whatever failed."""

    action: str | None = None
    responses: Annotated[tuple[Response, ...], BeforeValidator(_listed)] = ()
    transaction_id: str | None = None
    transaction_time: AwareDatetime | None = None

    @property
    def errors(self) -> tuple[Message, ...]:
        """What went wrong."""
        return tuple(one for one in self._messages() if one.level == "ERROR")

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings and remarks, a line each."""
        return tuple(one.text for one in self._messages() if one.level != "ERROR")

    @property
    def failed(self) -> bool:
        """Whether it says that nothing was done."""
        return (self.action or "").endswith("_FAILED")

    def _messages(self) -> Iterable[Message]:
        return (message for response in self.responses for message in response.messages)


class Transaction(Wire):
    """One entry of the log of transactions."""

    mrid: str
    transaction_id: str | None = None
    operation_type: str | None = None
    transaction_state: str | None = None
    url_path: str | None = None


class Payload(Wire):
    """What was sent, or answered, in a transaction."""

    payload_document: str | None = None


class Cleared(Wire):
    """MW bought, and the price."""

    mw: Number = Decimal(0)
    price: Number = Decimal(0)


class ClearedHour(Wire):
    """One hour of the day-ahead results."""

    hour: int = Field(ge=1, le=24)
    cleared_energy: Cleared | None = None
    cleared_regulation: Cleared | None = None
    cleared_spin: Cleared | None = None
    cleared_supplemental: Cleared | None = None
    cleared_short_term: Cleared | None = None


class ClearedNode(Wire):
    """The day-ahead results at one pricing node."""

    pnode_name: str
    hours: Annotated[tuple[ClearedHour, ...], BeforeValidator(_listed)] = ()


class DayAheadResults(Wire):
    """DayAheadLocationalResults."""

    day: date
    pnodes: Annotated[tuple[ClearedNode, ...], BeforeValidator(_listed)]


class Priced(Wire):
    """MW of one product in a dispatch instruction; energy has an LMP, reserves an MCP."""

    mw: Number
    lmp: Number | None = None
    mcp: Number | None = None

    @property
    def price(self) -> Decimal:
        """Whichever price it has."""
        return self.lmp if self.lmp is not None else self.mcp if self.mcp is not None else Decimal(0)


class Instruction(Wire):
    """A dispatch instruction for five minutes."""

    pnode_name: str
    interval: AwareDatetime
    energy_dispatch: Priced | None = None
    regulation_dispatch: Priced | None = None
    spinning_reserve_dispatch: Priced | None = None
    supplemental_reserve_dispatch: Priced | None = None
    short_term_reserve_dispatch: Priced | None = None


class Deployment(Wire):
    """Contingency reserve is called: so many MW from this instant."""

    pnode_name: str
    timestamp: AwareDatetime
    mw: Number


class Told(Wire):
    """What a notification says."""

    dispatch_instructions: Annotated[tuple[Instruction, ...], BeforeValidator(_listed)] = ()
    cr_deployments: Annotated[tuple[Deployment, ...], BeforeValidator(_listed)] = ()


class Envelope(Wire):
    """A notification as it was pushed."""

    test: bool
    notification_data: Told


class Notification(Wire):
    """An entry of a log of notifications."""

    created: AwareDatetime
    request_payload: Envelope


class Qualified(Wire):
    """What a resource may sell in one market."""

    market: str | None = None
    regulation_qualified: bool | None = None
    spin_qualified: bool | None = None
    online_supplemental_qualified: bool | None = None
    offline_supplemental_qualified: bool | None = None
    offline_short_term_qualified: bool | None = None


class QualifiedResource(Wire):
    """What a resource may sell."""

    pnode_name: str
    offers: Annotated[tuple[Qualified, ...], BeforeValidator(_listed)]


class QualificationStatus(Wire):
    """The flags of a day."""

    resources: Annotated[tuple[QualifiedResource, ...], BeforeValidator(_listed)]


_TRANSACTIONS = TypeAdapter(tuple[Transaction, ...])
_NOTIFICATIONS = TypeAdapter(tuple[Notification, ...])


def api_response(value: JsonValue) -> ApiResponse:
    """Return the answer in *value*."""
    return parse(ApiResponse, value)


def transactions(value: JsonValue) -> tuple[Transaction, ...]:
    """Return a page of the log of transactions."""
    return _all(_TRANSACTIONS, value)


def notifications(value: JsonValue) -> tuple[Notification, ...]:
    """Return a page of a log of notifications, tests left out, the oldest first."""
    found = (entry for entry in _all(_NOTIFICATIONS, value) if not entry.request_payload.test)
    return tuple(sorted(found, key=lambda entry: entry.created))


def _all(kind: TypeAdapter[tuple[L, ...]], value: JsonValue) -> tuple[L, ...]:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise VenueError(f"not a list that we know: {why(error)}") from error

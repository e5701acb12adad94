"""One message type ⇄ bytes: JSON for structs and pydantic documents, frames for host ticks (`pipeline.frames`)."""

from typing import Any, Generic, TypeVar, cast

import msgspec

from pipeline import frames
from pipeline.messages.telemetry import HostTick
from pipeline.topics import Topic

M = TypeVar("M")


class DecodeError(ValueError):
    """The bytes are no such message; the text says what and where."""


class Codec(Generic[M]):
    """Encode and decode the messages of one topic."""

    def __init__(self, topic: Topic[M]) -> None:
        self._topic = topic
        self._framed = topic.type is HostTick
        self._pydantic = hasattr(topic.type, "model_validate_json")
        self._encoder = msgspec.json.Encoder()
        self._decoder = None if self._pydantic else msgspec.json.Decoder(topic.type)

    def encode(self, message: M) -> bytes:
        """Return *message* as JSON, a host tick as a frame."""
        if self._framed:
            return frames.encode(cast("Any", message))
        if self._pydantic:
            text: str = cast("Any", message).model_dump_json()
            return text.encode()
        return self._encoder.encode(message)

    def decode(self, payload: bytes | None) -> M:
        """Return the message in *payload*; raise `DecodeError` on anything else, a record without a value included."""
        if payload is None:
            raise DecodeError(f"{self._topic.name}: a record without a value")
        try:
            if self._framed and frames.is_frame(payload):
                return cast("M", frames.decode(payload))
            if self._decoder is None:
                document: M = cast("Any", self._topic.type).model_validate_json(payload)
                return document
            return self._decoder.decode(payload)
        except (ValueError, RecursionError) as error:  # both libraries' errors, and brackets without end
            raise DecodeError(f"{self._topic.name}: {error}") from error

    def key(self, message: M) -> bytes:
        """Return the Kafka key that keeps *message* in order."""
        return self._topic.key(message).encode()

"""
Read XML that others wrote: bounded in size, without document types, entities, network or surprises.

Whatever is wrong with it, the outcome is a `VenueError` of one line, in less than 100 ms.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from decimal import Decimal

from lxml import etree

from bidding.markets.ercot.names import MAX_REPLY_BYTES
from pipeline.errors import VenueError

Element = etree._Element  # noqa: SLF001 - lxml has no public name for the type of its elements

MAX_MARKUP = 200_000
"""No more `<` than this: small elements cost time that bytes do not show."""
GZIP = 16 + zlib.MAX_WBITS

_NUMBER = re.compile(r"[+-]?(\d{1,12}(\.\d{0,6})?|\.\d{1,6})")


def parse(document: bytes, limit: int = MAX_REPLY_BYTES) -> Element:
    """Return the root of *document*, UTF-8 of at most *limit* bytes; raise `VenueError` on anything else."""
    if len(document) > limit:
        raise VenueError(f"a document of {len(document)} bytes is refused unread; {limit} are taken")
    if b"<!DOCTYPE" in document:
        raise VenueError("a document with a document type is refused unread; SOAP allows none")
    if document.count(b"<") > MAX_MARKUP:
        raise VenueError(f"a document with more than {MAX_MARKUP} tags is refused unread")
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_pis=True
    )
    try:
        return etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise VenueError(f"not XML: {one_line(error)}") from error


def gunzip(text: str) -> bytes:
    """Return what `Payload/Compressed` holds: base64 of gzip, never more than `MAX_REPLY_BYTES` of it."""
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
        unpacker = zlib.decompressobj(GZIP)
        document = unpacker.decompress(packed, MAX_REPLY_BYTES)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise VenueError(f"a compressed payload cannot be unpacked: {one_line(error)}") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise VenueError(f"a compressed payload is cut short or unpacks to more than {MAX_REPLY_BYTES} bytes")
    return document


def one_line(error: object, limit: int = 200) -> str:
    """Return what *error* says as one printable line."""
    text = " ".join(str(error).split())
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:limit]


def name(element: Element) -> str:
    """Return an element's local name; nothing for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""  # a namespace may hold a brace too


def children(element: Element, *names: str) -> Iterator[Element]:
    """Yield the child elements of *element* that have one of *names*; all of them where none is given."""
    for child in element:
        if isinstance(child.tag, str) and (not names or name(child) in names):
            yield child


def find(element: Element, tag: str) -> Element | None:
    """Return the first child called *tag*, whatever its namespace."""
    return next(children(element, tag), None)


def text(element: Element, tag: str) -> str:
    """Return the text of the child called *tag*, without the space around it; empty where there is none."""
    found = find(element, tag)
    return "" if found is None or found.text is None else found.text.strip()


def required(element: Element, tag: str) -> str:
    """Return the text of the child called *tag*; raise `VenueError` where there is none."""
    if found := text(element, tag):
        return found
    raise VenueError(f"{name(element)} has no {tag}")


def number(element: Element, tag: str) -> Decimal:
    """Return the number in the child called *tag*; raise `VenueError` where there is none."""
    found = required(element, tag)
    if not _NUMBER.fullmatch(found):
        raise VenueError(f"{name(element)}/{tag} is no number: {one_line(found, 40)!r}")
    return Decimal(found)

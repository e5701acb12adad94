"""
Ticks packed small: each is deflated against an earlier tick of the same host, with which it shares most of its text.

The dictionary is zlib's own (RFC 1950, section 2.2, FDICT). The checksum at the end of every zlib stream is that of the
text before packing, so a page that went bad on disk is noticed, never sent.
"""

import zlib

LEVEL = 6
"""Against level 1 a quarter smaller, for 25 µs more a tick of eight GPUs."""
ENOUGH = 32_768
"""zlib looks no further back than its window."""


class PackError(ValueError):
    """These bytes were not made by `pack` with this dictionary, or went bad since."""


def pack(payload: bytes, dictionary: bytes) -> bytes:
    """Return *payload* deflated against *dictionary*."""
    deflate = zlib.compressobj(
        LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, dictionary
    )
    return deflate.compress(payload) + deflate.flush()


def unpack(content: bytes, dictionary: bytes) -> bytes:
    """Return what `pack` was given; raise `PackError` unless every byte of it is right."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS, dictionary)
    try:
        payload = inflate.decompress(content)
    except zlib.error as error:
        raise PackError(str(error)) from error
    if not inflate.eof or inflate.unused_data:
        raise PackError("cut short, or followed by something else")
    return payload

"""Content-addressed texts: every large text is stored once, compressed, under its own hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import zstandard

_compressor = zstandard.ZstdCompressor(level=3)
_decompressor = zstandard.ZstdDecompressor()
_REFS = re.compile(r'"\w+_ref":"([0-9a-f]{32})"|"added":\[([^\]]*)\]')


def text_hash(text: str) -> str:
    """The address of a text: the first 128 bits of its SHA-256, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def refs_in(payload: str) -> Iterator[str]:
    """The addresses of the texts that an event's JSON names."""
    for one, many in _REFS.findall(payload):
        if one:
            yield one
        else:
            yield from re.findall(r"[0-9a-f]{32}", many)


def compress(text: str) -> bytes:
    return _compressor.compress(text.encode())


def decompress(stored: bytes) -> str:
    return _decompressor.decompress(stored).decode()


def restore(ref: str, stored: bytes) -> bytes:
    """The text with this address, in UTF-8. Raises ValueError when what is stored is not that text."""
    try:
        raw = _decompressor.decompress(stored)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if hashlib.sha256(raw).hexdigest()[:32] != ref:
        raise ValueError("it is not what its address says")
    return raw

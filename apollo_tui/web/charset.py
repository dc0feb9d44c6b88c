"""From a page's bytes to text: what the server says, what the page says, what fits. Pure."""

from __future__ import annotations

import codecs
import re

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", b"\xfe\xff": "utf-16", b"\xff\xfe": "utf-16"}
_NAMED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_HEAD = 2048  # bytes in which a page names its own charset
# Python has codecs that are no charset of a page (idna, unicode_escape …), some of them slow.
_USABLE = re.compile(
    r"utf-(8|8-sig|16|16-le|16-be|32)|iso8859-\d+|cp\d+|gb\w+|big5\w*|euc_\w+|shift_\w+|koi8-\w"
    r"|mac-\w+|hz|iso2022_\w+|tis-620|johab"
)
# What the web means by these: https://encoding.spec.whatwg.org/#names-and-labels
_MEANT = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}


def decode(body: bytes, charset: str | None, *, cut: bool = False) -> tuple[str, int]:
    """The text, and how many bytes could not be read. `cut`: the end may be half a character."""
    candidates = _candidates(body, charset)
    for name in candidates:
        text = _strictly(body, name, cut)
        if text is not None:
            return text, 0
    text = body.decode(candidates[0], "replace")
    return text, text.count("�")


def looks_binary(body: bytes) -> bool:
    """Whether the beginning is no text in any charset that has no NUL bytes in it."""
    head = body[:4096]
    if head.startswith(tuple(_MARKS)):
        return False
    odd = sum(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in head)
    return b"\0" in head or odd * 20 > len(head)


def _candidates(body: bytes, charset: str | None) -> list[str]:
    """The charsets to try, the most trusted first."""
    named = _NAMED.search(body[:_HEAD])
    mark = next((name for mark, name in _MARKS.items() if body.startswith(mark)), None)
    given = [mark, charset, named and named[1].decode("ascii", "replace"), "utf-8"]
    return list(dict.fromkeys(name for one in given if one and (name := _usable(one))))


def _usable(label: str) -> str | None:
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    name = _MEANT.get(name, name)
    return name if _USABLE.fullmatch(name) else None


def _strictly(body: bytes, name: str, cut: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(name)("strict").decode(body, final=not cut)
    except (UnicodeError, LookupError):
        return None

"""JSON values that stretch over lines: pretty-printed objects, and arrays of objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

# a string can't contain a line break, so that every string ends in its line
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[{}\[\]]')


def spans_lines(first: bytes) -> bool:
    """Whether the first line of a file is the start of JSON that goes on in the next ones.

    A line of JSON that was cut is not: it would take all further lines for its own.
    """
    line = first.strip()
    if not line.startswith((b"{", b"[")) or not line.endswith((b"{", b"[", b",")):
        return False
    depth = 0
    for token in _TOKEN.finditer(line):
        if token[0].startswith(b'"') and (len(token[0]) == 1 or not token[0].endswith(b'"')):
            return False  # cut inside of a text
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
    return depth > 0


def json_values(
    first: Iterable[tuple[int, bytes]], rest: Iterable[tuple[int, bytes]], max_bytes: int
) -> Iterator[tuple[int, bytes]]:
    """The objects in numbered lines, those of arrays one by one, each with the number of its first line.

    An object over `max_bytes` comes cut to one byte more. What breaks off is handed out as it is.
    """
    depth = base = number = 0  # base: 1 inside of an array of objects
    value = bytearray()
    for line_number, line in chain(first, rest):
        start = 0
        for token in _TOKEN.finditer(line):
            kind = token[0]
            if kind in (b"{", b"["):
                if depth == base == 0 and kind == b"[":
                    base = depth = 1
                    continue
                depth += 1
                if depth == base + 1:
                    start, number = token.start(), line_number
            elif kind in (b"}", b"]"):
                depth -= 1
                if depth == base:
                    value += line[start : token.end()]
                    yield number, bytes(value[: max_bytes + 1])
                    value.clear()
                elif depth < base:
                    base = 0
                depth = max(depth, 0)
        if depth > base:
            value += line[start:]
            del value[max_bytes + 1 :]
    if value:
        yield number, bytes(value)

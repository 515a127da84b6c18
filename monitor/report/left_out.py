"""LeftOut: text of a record that stands in none of the segments, so that nothing reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.events.arguments import binary_kind

MAX_VALUES = 5_000
"""Most texts of a record that are compared with its segments."""
_MAX_DEPTH = 100
# ids, names and times rather than something that was said
_LABEL = re.compile(r"[A-Za-z0-9_.:/+=@,;-]{1,80}")
_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*")
_DEFINITIONS = frozenset(
    ("tools", "functions", "tool_choice", "response_format", "parameters", "text_format", "schema")
)


@dataclass(frozen=True)
class LeftOut:
    """A text, where it stands, and why nothing reads it."""

    path: str
    text: str
    why: str

    @property
    def is_label(self) -> bool:
        """Whether it looks like an id, a name or a time."""
        return _LABEL.fullmatch(self.text) is not None


def left_out(body: Any, path: str, segments: Sequence[str], used: Sequence[str], why: str) -> Iterator[LeftOut]:
    """The texts in `body` that are in no segment and are not `used` for something else, such as the id.

    `why` is the reason for those that are no definitions of tools. Pictures and other binary data are counted
    elsewhere. Ends after MAX_VALUES texts.
    """
    spoken, known = "\n".join(segments), set(used)
    for n, (where, found, defined) in enumerate(_texts(body, path, False, _MAX_DEPTH)):
        if n == MAX_VALUES:
            return
        text = _whole(found)
        if text.strip() and text not in known and text.strip() not in spoken and binary_kind(text) is None:
            inner = _decoded(text)
            if inner is None:
                yield LeftOut(where, text, "a definition: nobody says it" if defined else why)
            else:
                yield from left_out(inner, where, segments, used, why)


def _texts(value: Any, path: str, defined: bool, depth: int) -> Iterator[tuple[str, str, bool]]:
    if isinstance(value, str):
        yield path, value, defined
    elif isinstance(value, dict) and depth:
        for key, item in value.items():
            step = f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{key!r}]"
            yield from _texts(item, path + step, defined or key in _DEFINITIONS, depth - 1)
    elif isinstance(value, list) and depth:
        for i, item in enumerate(value):
            yield from _texts(item, f"{path}[{i}]", defined, depth - 1)


def _whole(text: str) -> str:
    """`text` as it is in segments: without half characters."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decoded(text: str) -> Any:
    """The object or list that `text` is the JSON of; None if it is none."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None

"""JsonPath: the values at a path in a JSON document, as RFC 9535 has it; `python-jsonpath` evaluates it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError

from monitor.errors import BadEvent

MAX_PATH_CHARS = 500
MAX_VALUES = 10_000
"""Most values that one path may find in one body."""
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
# such as [*, *]: what each finds would be multiplied at every level
_SEVERAL_OF_MANY = re.compile(r"[*?:][^\[\]]*,|,[^\[\]]*[*?:]")
_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*")


class _Environment(JSONPathEnvironment):
    """RFC 9535 without regular expressions: one that backtracks would let a record stop the line."""

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        for name in ("match", "search"):
            del self.function_extensions[name]


_ENVIRONMENT = _Environment(strict=True)


@dataclass(frozen=True)
class Found:
    """A value and where it stands, such as `$.request.messages[0]`."""

    value: Any
    path: str


class JsonPath:
    """A compiled path. Evaluation is bounded: a path visits no value twice, goes down all levels (`..`) once at most,
    and has no functions of regular expressions."""

    def __init__(self, text: str) -> None:
        """Raises ValueError with the reason if `text` is not such a path."""
        self.text = text
        if not text.startswith("$"):
            raise ValueError(f"{text[:80]!r} is not a JSON path: it has to start with $")
        if len(text) > MAX_PATH_CHARS:
            raise ValueError(f"a path has at most {MAX_PATH_CHARS} characters")
        bare = _QUOTED.sub("", text)
        if bare.count("..") > 1:
            raise ValueError(f"{text!r}: `..` may stand in a path once only, so that no record takes too long")
        try:
            compiled = _ENVIRONMENT.compile(text)
        except JSONPathError as e:
            raise ValueError(f"{text!r} is not a JSON path: {e.args[0] if e.args else type(e).__name__}") from None
        if not isinstance(compiled, JSONPath):
            raise ValueError(f"{text!r} is not one JSON path")  # noqa: TRY004 - the text is wrong, not its type
        if _SEVERAL_OF_MANY.search(bare):
            raise ValueError(f"{text!r}: in brackets, commas may stand only between keys and numbers")
        for segment in compiled.segments:
            if len({str(selector) for selector in segment.selectors}) < len(segment.selectors):
                raise ValueError(f"{text!r}: the same key stands twice in brackets")
        self._path = compiled
        self._steps = [
            JSONPath(env=_ENVIRONMENT, segments=compiled.segments[:n]) for n in range(len(compiled.segments))
        ]

    def find(self, data: Any) -> list[Found]:
        """The values in `data`, in its order. Raises BadEvent if there are more than MAX_VALUES."""
        matches = list(islice(self._path.finditer(data), MAX_VALUES + 1))
        if len(matches) > MAX_VALUES:
            raise BadEvent(f"the path finds more than {MAX_VALUES} values", self.text, kind="size")
        return [Found(match.obj, _shown(match.parts)) for match in matches]

    def replace_texts(self, data: Any, replaced: Callable[[str, str], Any]) -> None:
        """Puts `replaced(text, where it stands)` in the place of each text that the path finds in `data`."""
        for match in list(islice(self._path.finditer(data), MAX_VALUES)):
            if isinstance(match.obj, str) and match.parent is not None:
                parent: Any = match.parent.obj
                parent[match.parts[-1]] = replaced(match.obj, _shown(match.parts))

    def last_reached(self, data: Any) -> Found:
        """How far the path goes in `data`, for a path that finds nothing."""
        for step in reversed(self._steps):
            match = step.match(data)
            if match is not None:
                return Found(match.obj, _shown(match.parts))
        return Found(data, "$")


def _shown(parts: tuple[int | str, ...]) -> str:
    return "$" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if _PLAIN_KEY.fullmatch(part) else f"[{part!r}]"
        for part in parts
    )

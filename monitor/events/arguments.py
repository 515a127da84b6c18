"""Arguments: what a tool is called with and what it gives back, as readable text."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])')
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DECODES = 4
"""How often JSON inside text of JSON is decoded; no producer nests as deep."""
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,]{0,200};base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{256,}={0,2}")


class _Pairs(list[tuple[str, Any]]):
    """An object with its repeated keys, because both may have been said."""


def readable(value: object, unread: Counter[str], decodes: int = _DECODES) -> str:
    """`value` in lines of `key: value`, with every string as it reads, whatever escapes it was written in.

    JSON in text is decoded, JSON that breaks off is unescaped. Binary data is left out and counted in `unread`.
    """
    if isinstance(value, str):
        return _text(value, unread, decodes)
    if isinstance(value, dict):
        return _lines(value.items(), unread, decodes)
    if isinstance(value, _Pairs):
        return _lines(value, unread, decodes)
    if isinstance(value, list):
        return "\n".join(readable(item, unread, decodes) for item in value)
    return json.dumps(value)


def binary_kind(text: str) -> str | None:
    """What `text` is a part of if it is binary data in text: image, audio, video or file."""
    if found := _DATA_URL.match(text):
        return media_kind(found[1])
    return "file" if _BASE64.fullmatch(text) and not text.isalpha() else None


def media_kind(mime: object) -> str:
    """image, audio or video if a MIME type or a modality says so, else file."""
    main = mime.split("/")[0].lower() if isinstance(mime, str) else ""
    return main if main in ("image", "audio", "video") else "file"


def _text(text: str, unread: Counter[str], decodes: int) -> str:
    if kind := binary_kind(text):
        unread[kind] += 1
        return ""
    start = text.lstrip()[:1]
    if decodes and start in ("{", "[", '"'):
        try:
            value = json.loads(text, strict=False, object_pairs_hook=_Pairs)
        except RecursionError:
            return text
        except ValueError:
            return _ESCAPE.sub(_unescaped, text) if start == "{" else text
        return readable(value, unread, decodes - 1)
    return text


def _lines(items: Any, unread: Counter[str], decodes: int) -> str:
    lines = []
    for key, value in items:
        text = readable(value, unread, decodes)
        lines.append(f"{key}:{chr(10) if chr(10) in text else ' '}{text}")
    return "\n".join(lines)


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if code.startswith("u") else _ESCAPED.get(code, code)

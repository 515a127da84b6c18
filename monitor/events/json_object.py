"""JSON as events are sent, and the streams of it: what can be repaired is, what would be judged wrongly is refused."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from monitor.errors import BadEvent

JsonObject = dict[str, Any]
_BOM = "\ufeff"
# with a byte-order mark, or the start of an object, a list or text in either byte order
_UTF16 = (b"\xff\xfe", b"\xfe\xff", *(start for c in (b"{", b"[", b'"') for start in (c + b"\0", b"\0" + c)))
_FRAME_BYTES = 5
_FIELD_NAME = re.compile(r"[A-Za-z_][\w.:$-]{0,63}")
_NAMED_KEYS = 8
_FRAMED = (
    "a schema registry's frame around something else than JSON: "
    "set events.schema_registry_url if it is Avro; Protobuf is not read"
)


def is_utf16(raw: bytes) -> bool:
    """Whether `raw` is JSON in UTF-16 rather than UTF-8."""
    return raw.startswith(_UTF16)


def read_json(text: str, repaired: Counter[str] | None = None) -> Any:
    """The value that `text` stands for. Numbers without a value (NaN, Infinity, too large) become null and are counted.

    Raises BadEvent if an object has a key twice with different values, and what json.loads raises.
    """
    counts = Counter[str]() if repaired is None else repaired

    def lost(_: str) -> None:
        counts["number"] += 1

    def whole(digits: str) -> int | None:
        try:
            return int(digits)
        except ValueError:  # of more digits than Python converts
            lost(digits)
            return None

    def fraction(digits: str) -> float | None:
        number = float(digits)
        if math.isfinite(number):
            return number
        lost(digits)
        return None

    return json.loads(
        text, parse_constant=lost, parse_int=whole, parse_float=fraction, object_pairs_hook=_without_repeats
    )


def read_record(raw: bytes, repaired: Counter[str]) -> Any:
    """The value in `raw`: JSON, or a list of the values if there is one a line or one in each server-sent event.

    In such a list, the BadEvent of a line that isn't JSON stands in its place. Raises BadEvent if `raw` isn't UTF-8 or
    none of it is JSON.
    """
    if is_utf16(raw):
        raise BadEvent("UTF-16 is not read: write the event in UTF-8", kind="encoding")
    if raw[:1] == b"\0" and len(raw) > _FRAME_BYTES:
        raise BadEvent(_FRAMED, kind="encoding")
    try:
        text = raw.decode()
    except UnicodeDecodeError as e:
        raise BadEvent(f"not UTF-8: byte {e.start}", kind="encoding") from None
    text = text.removeprefix(_BOM)
    try:
        return _document(text, repaired, "$")
    except BadEvent:
        lines = _stream(text)
        if lines is None:
            raise
        return [_line(line, repaired, f"$[{i}]") for i, line in enumerate(lines)]


def read_text(text: str, repaired: Counter[str], path: str = "$") -> Any:
    """As `read_record`, for text inside of a body. Raises BadEvent if any line isn't JSON."""
    text = text.removeprefix(_BOM)
    try:
        return _document(text, repaired, path)
    except BadEvent:
        lines = _stream(text)
        if lines is None:
            raise
        return [_document(line, repaired, path) for line in lines]


def checked_object(value: object, path: str) -> JsonObject:
    """`value`. Raises BadEvent naming `path` if it is not an object."""
    if not isinstance(value, dict):
        raise BadEvent(f"expected a JSON object, got {json_type(value)}", path)
    return value


def json_type(value: object) -> str:
    """What JSON calls the type of `value`."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def key_name(key: str) -> str:
    """`key` if it looks like the name of a field; reasons are logged, and any other key may be what somebody said."""
    return key if _FIELD_NAME.fullmatch(key) else f"<{len(key)} characters>"


def key_names(keys: Iterable[str]) -> str:
    """The first few keys in order, as `key_name` writes them."""
    return ", ".join(map(key_name, sorted(keys)[:_NAMED_KEYS])) or "none"


def _document(text: str, repaired: Counter[str], path: str) -> Any:
    try:
        return read_json(text, repaired)
    except json.JSONDecodeError as e:
        raise BadEvent(f"not JSON: {e.msg.removesuffix(' at')} at character {e.pos}", path, kind="json") from None
    except BadEvent as e:
        raise BadEvent(e.reason, path, e.kind) from None
    except RecursionError:
        raise BadEvent("nested too deeply", path, kind="json") from None


def _line(text: str, repaired: Counter[str], path: str) -> Any:
    try:
        return _document(text, repaired, path)
    except BadEvent as fault:
        return fault


def _stream(text: str) -> list[str] | None:
    """The documents of server-sent events or of newline-delimited JSON; None if `text` is neither."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("data:") for line in lines):
        data = (line.removeprefix("data:").strip() for line in lines if line.startswith("data:"))
        return [line for line in data if line and line != "[DONE]"]
    if len(lines) > 1 and all(line.startswith(("{", "[", '"')) and line.endswith(("}", "]", '"')) for line in lines):
        return lines
    return None


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> JsonObject:
    found: JsonObject = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise BadEvent(
                f"the key {key_name(key)!r} is there twice with different values: keep one of them", kind="json"
            )
        found[key] = value
    return found

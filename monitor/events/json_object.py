"""The JSON of events: one object, read strictly."""

from __future__ import annotations

import json
from typing import Any

from monitor.errors import BadEvent

JsonObject = dict[str, Any]


def read_json(text: str) -> Any:
    """The value that `text` encodes. Raises BadEvent for NaN and Infinity, and otherwise what json.loads raises."""
    return json.loads(text, parse_constant=_refuse_constant)


def json_object(raw: bytes) -> JsonObject:
    """The object in `raw`. Raises BadEvent if it is not UTF-8, not JSON or not an object."""
    try:
        body = read_json(raw.decode())
    except UnicodeDecodeError as e:
        raise BadEvent(f"not UTF-8: byte {e.start}", kind="encoding") from None
    except json.JSONDecodeError as e:
        raise BadEvent(f"not JSON: {e.msg} at character {e.pos}", kind="json") from None
    except RecursionError:
        raise BadEvent("nested too deeply", kind="json") from None
    except ValueError:  # an integer of more digits than Python converts
        raise BadEvent("not JSON: a number with too many digits", kind="json") from None
    return checked_object(body, "$")


def checked_object(value: object, path: str) -> JsonObject:
    """`value`. Raises BadEvent naming `path` if it is not an object."""
    if not isinstance(value, dict):
        raise BadEvent(f"expected a JSON object, got {_json_type(value)}", path)
    return value


def _refuse_constant(name: str) -> Any:
    raise BadEvent(f"{name} is not JSON", kind="json")


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")

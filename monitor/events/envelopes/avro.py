"""Avro payloads as the JSON values that formats read.

Source: Apache Avro 1.12 specification, "Binary encoding". Logical types are ignored: a time is a number, which events
may have, and a value that is out of a type's range refuses nothing.
"""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from monitor.errors import BadEvent
from monitor.events.envelopes.confluent import Decoder

_MAX_DEPTH = 100
_MAX_VALUES = 10_000


class UnusableSchema(Exception):
    """A schema by which nothing can be decoded; the text says why."""


def avro_decoder(schema: Any, referenced: Iterable[Any] = ()) -> Decoder:
    """Decodes by `schema`, which may use names that `referenced` define, each after those that it uses itself.

    Raises UnusableSchema if it is no schema, or if a small payload could take unbounded time or memory.
    """
    import fastavro  # an extra, and few need it

    named: dict[str, Any] = {}
    try:
        for other in referenced:
            fastavro.parse_schema(_without_logical_types(other), named)
        parsed: Any = fastavro.parse_schema(_without_logical_types(schema), named)
        _check(parsed, named)
    except UnusableSchema:
        raise
    except RecursionError:
        raise UnusableSchema("nested too deeply") from None
    except Exception as e:  # noqa: BLE001 - fastavro raises its own and many others
        raise UnusableSchema(f"not an Avro schema: {e}") from None

    def decode(payload: bytes, repaired: Counter[str]) -> Any:
        stream = io.BytesIO(payload)
        try:
            value = fastavro.schemaless_reader(stream, parsed, None)
        except Exception as e:  # noqa: BLE001 - whatever the library raises, the payload is the reason
            raise BadEvent(f"not Avro of this schema: {type(e).__name__}: {e}", kind="encoding") from None
        left = len(payload) - stream.tell()
        if left:
            raise BadEvent(f"not Avro of this schema: {left} bytes follow the value", kind="encoding")
        return _json_value(value, repaired)

    return decode


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return [_without_logical_types(item) for item in schema] if isinstance(schema, list) else schema


class _Shape(NamedTuple):
    """What is known of the values of a schema."""

    empty: bool
    """Whether a value may take no byte."""
    depth: int
    values: int
    """The most values in one, with one item for each array and map."""


_PRIMITIVE = _Shape(empty=False, depth=1, values=1)


def _check(schema: Any, named: Mapping[str, Any]) -> None:
    """Refuses what lets a few bytes decode to more than memory or the C stack holds. `schema` is one of fastavro's."""
    shapes: dict[str, _Shape | None] = {}

    def shape(of: Any) -> _Shape:
        if isinstance(of, list):
            return _together([shape(item) for item in of])._replace(empty=False)
        if isinstance(of, str):
            if of in named:
                return shape(named[of])
            return _PRIMITIVE._replace(empty=of == "null")
        kind = of["type"]
        if kind in ("array", "map"):
            inner = shape(of["items" if kind == "array" else "values"])
            if kind == "array" and inner.empty:
                raise UnusableSchema("it has an array whose items take no bytes")
            return _together([inner])._replace(empty=False)
        if kind in ("record", "error"):
            name = of["name"]
            if name not in shapes:
                shapes[name] = None
                shapes[name] = _together([shape(field["type"]) for field in of["fields"]])
            found = shapes[name]
            if found is None:
                raise UnusableSchema(f"{name} contains itself")
            return found
        if kind == "fixed":
            return _PRIMITIVE._replace(empty=of["size"] == 0)
        return _PRIMITIVE._replace(empty=kind == "null")

    shape(schema)


def _together(inner: list[_Shape]) -> _Shape:
    found = _Shape(
        empty=all(one.empty for one in inner),
        depth=1 + max((one.depth for one in inner), default=0),
        values=1 + sum(one.values for one in inner),
    )
    if found.depth > _MAX_DEPTH or found.values > _MAX_VALUES:
        raise UnusableSchema(f"a value is more than {_MAX_DEPTH} levels deep or has more than {_MAX_VALUES} fields")
    return found


def _json_value(value: Any, repaired: Counter[str]) -> Any:
    if isinstance(value, dict):
        return {key: _json_value(inner, repaired) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_value(item, repaired) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        repaired["number"] += 1
        return None
    return value

"""Kafka Connect's JSON converter with schemas on: `schema` next to `payload`, and nothing else.

Source: Kafka documentation, JsonConverter, `schemas.enable`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from monitor.events.context import Context
from monitor.events.json_object import JsonObject


def recognises(data: JsonObject, context: Context) -> bool:  # noqa: ARG001
    """Whether there is a payload with a schema, which may be null."""
    return data.keys() == {"schema", "payload"}


def unwrap(data: JsonObject, context: Context) -> tuple[Any, Context]:
    """The payload."""
    return data["payload"], replace(context, path=f"{context.path}.payload")

"""Wire: base class of the models of wire formats, whose faults are named by their JSON path."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.draft import MAX_ID_CHARS
from monitor.events.json_object import JsonObject

# what pydantic calls the types of a union in locations, such as those of a field that is text or a list
_BRANCH = re.compile(r"str|int|float|bool|(list|dict)\[.*\]")
EventId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


class Wire(BaseModel):
    """An object of a wire format: unknown fields are ignored, types are not converted."""

    model_config = ConfigDict(extra="ignore", strict=True)


W = TypeVar("W", bound=Wire)


def validated(model: type[W], data: JsonObject, context: Context) -> W:
    """`data` as `model`. Raises BadEvent with the path of the first fault."""
    try:
        return model.model_validate(data)
    except ValidationError as e:
        faults = [(_json_path(f["loc"], data), _reason(f)) for f in e.errors(include_url=False, include_input=False)]
        # a field that may be text or a list gets one error for each type; report the one that got furthest
        path, reason = max((f for f in faults if f[0].startswith(faults[0][0])), key=lambda f: len(f[0]))
        raise BadEvent(reason, context.path + path) from None


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "model_type":
        return "input should be an object"
    return error["msg"][0].lower() + error["msg"][1:]


def _json_path(loc: tuple[int | str, ...], data: object) -> str:
    """The steps of a pydantic location that exist in the document."""
    path = ""
    here = data
    for i, step in enumerate(loc):
        if isinstance(step, str) and _BRANCH.fullmatch(step):
            continue
        if isinstance(here, dict) and isinstance(step, str) and (step in here or i == len(loc) - 1):
            path += f".{step}"
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int):
            path += f"[{step}]"
            here = here[step] if step < len(here) else None
    return path

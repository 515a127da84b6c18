"""PairFormat: a request as it was sent and the response as it came, over one API."""

from __future__ import annotations

from typing import Any

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject, checked_object, read_text
from monitor.events.request_body import is_request, request_messages
from monitor.events.response_body import APIS, api_of, responses_in
from monitor.events.said import Said
from monitor.events.stream import is_piece

_ORDER = {name: i for i, name in enumerate(APIS)}


class PairFormat:
    """`request` and `response` next to each other, or a response only. Marks: those of the API's responses."""

    def __init__(self, api: str) -> None:
        """`api` is a name in APIS."""
        self._api = api

    def recognises(self, data: JsonObject) -> bool:
        """Whether the response, inside of a pair or bare, is of this API."""
        api, response = APIS[self._api], data.get("response")
        piece = response[0] if isinstance(response, list) and response else response
        return api.is_response(data) or (isinstance(piece, dict) and api.is_response(piece))

    def parse(self, data: JsonObject, context: Context) -> tuple[Event, ...]:
        """One event for each answer. The pair's own fields go before those of response and request."""
        said = Said()
        if "request" not in data and not ("response" in data and api_of(data) is None):
            return self._bare(data, said, context)
        request, messages = turns_in(data, said, context.path)
        response = responses_in(data, said, context.path)
        draft = Draft(
            messages=messages,
            answers=response.answers,
            ids=(data.get("id"), response.id),
            times=(response.time, data.get("time"), data.get("timestamp")),
            models=(response.model, request.get("model"), data.get("model")),
            attributes=(data.get("attributes"), request.get("metadata"), data.get("metadata")),
            traceparent=data.get("traceparent"),
            said=said,
        )
        return draft.events(context)

    def _bare(self, data: JsonObject, said: Said, context: Context) -> tuple[Event, ...]:
        if api_of(data) is None:
            raise BadEvent("expected request and response, or a response: neither is there", context.path)
        response = responses_in(data, said, context.path)
        draft = Draft(
            messages=turns_in(data, said, context.path)[1],
            answers=response.answers,
            ids=(context.attributes.get("shared_id"), response.id),
            times=(response.time,),
            models=(response.model,),
            attributes=(data.get("attributes"), data.get("metadata")),
            traceparent=data.get("traceparent"),
            said=said,
        )
        if draft.silent and is_piece(data):  # such as the last one, which has the reason to finish
            return ()
        return draft.events(context)


def turns_in(data: JsonObject, said: Said, path: str) -> tuple[JsonObject, list[Message]]:
    """The request in `data`, if there is one, and the turns in it and next to it. Those in both places count once."""
    request = as_body(data.get("request"), said, f"{path}.request")
    messages = request_messages(request, said, f"{path}.request") if request else []
    if is_request(data):
        known = set(messages)
        messages += [turn for turn in request_messages(data, said, path) if turn not in known]
    return request, messages


def api_of_pair(data: JsonObject) -> str | None:
    """The first of APIS whose format recognises `data`, because its response is of that API."""
    response = data.get("response")
    piece = response[0] if isinstance(response, list) and response else response
    found = [name for name in (api_of(data), api_of(piece)) if name is not None]
    return min(found, key=_ORDER.__getitem__, default=None)


def as_body(value: Any, said: Said, path: str) -> JsonObject:
    """`value` as an object, decoded if it is the JSON of one; an empty one if there is none."""
    if isinstance(value, str) and value.strip():
        value = read_text(value, said.repaired, path)
    return {} if value is None or value == "" else checked_object(value, path)

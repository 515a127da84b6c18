"""Activations that a serving engine sends in place of text.

Mark: an object `activations` with its `kind`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject, checked_object
from monitor.events.request_body import is_request, request_messages
from monitor.events.response_body import ANSWER_FIELDS, responses_in
from monitor.events.roles import known_role
from monitor.events.said import Said
from monitor.events.sent_activations import ActivationKind, Payload, PayloadFormat, SentActivations, SentSegment
from monitor.events.wire import Wire, validated

RESPONSE = "response"
"""The role of the segment that is the reply."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKEN_IDS = 2**31
_Count = Annotated[int, Field(ge=0, lt=_TOKEN_IDS)]
_Name = Annotated[str, Field(min_length=1, max_length=1_024)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Segment(Wire):
    role: _Name
    start: _Count
    end: _Count


class _Body(Wire):
    kind: ActivationKind
    format: PayloadFormat = "safetensors"
    model: _Name | None = None
    model_sha256: _Sha256 | None = None
    layer: _Count | None = None
    hook: _Name | None = None
    rows_sha256: _Sha256 | None = None
    layers: Annotated[list[_Count], Field(max_length=1_024)] | None = None
    data: str | None = None
    file: _Name | None = None
    residual_stream: dict[str, Any] | None = None
    token_ids: list[_Count] | None = None
    tokens: list[str] | None = None
    segments: Annotated[list[_Segment], Field(min_length=1)] | None = None


def recognises(data: JsonObject) -> bool:
    """Whether `data` has activations that say what kind they are; vllm-lens' own responses don't."""
    found = data.get("activations")
    return isinstance(found, dict) and "kind" in found


def parse(data: JsonObject, context: Context) -> Sequence[Event]:
    """The one event in `data`, with its text if there is any."""
    path = f"{context.path}.activations"
    body = validated(_Body, checked_object(data.get("activations"), path), replace(context, path=path))
    sent = _sent(body, path)
    said = Said()
    messages, answers = _text(data, said, context.path)
    if not messages and not answers and sent.tokens is not None and sent.segments is not None:
        messages, answers = _text_of_tokens(sent.tokens, sent.segments)
    if len(answers) > 1:
        raise BadEvent(f"{len(answers)} responses, but activations are of one", context.path)
    draft = Draft(
        messages=messages,
        answers=answers,
        ids=(data.get("id"),),
        times=(data.get("time"), data.get("timestamp")),
        models=(data.get("model"),),
        attributes=(data.get("attributes"), data.get("metadata")),
        traceparent=data.get("traceparent"),
        said=said,
        needs_text=False,
    )
    return tuple(replace(event, activations=sent) for event in draft.events(context))


def _text(data: JsonObject, said: Said, path: str) -> tuple[list[Message], list[Answer]]:
    """What the event says besides its activations."""
    messages = list(request_messages(data, said, path)) if is_request(data) else []
    if data.keys().isdisjoint(ANSWER_FIELDS):
        return messages, []
    return messages, list(responses_in(data, said, path, text_is_answer=True).answers)


def _sent(body: _Body, path: str) -> SentActivations:
    tokens = None if body.tokens is None else tuple(_SURROGATE.sub("\ufffd", token) for token in body.tokens)
    if tokens is not None and body.token_ids is not None and len(tokens) != len(body.token_ids):
        raise BadEvent(f"{len(tokens)} tokens, but {len(body.token_ids)} token_ids", f"{path}.tokens")
    if body.kind == "preactivations" and body.rows_sha256 is None:
        raise BadEvent("preactivations need rows_sha256, which export-rows prints", f"{path}.rows_sha256")
    if body.kind == "preactivations" and body.format != "safetensors":
        raise BadEvent(f"{body.format} holds hidden_states, not preactivations", f"{path}.kind")
    if body.kind == "hidden_states" and body.model is None and body.model_sha256 is None:
        raise BadEvent("hidden_states need model_sha256 or model, to tell whose they are", f"{path}.model_sha256")
    if body.kind == "hidden_states" and body.format == "safetensors" and body.layer is None:
        raise BadEvent("hidden_states need layer, the zero-based number of the block", f"{path}.layer")
    if body.format != "safetensors" and body.hook not in (None, "resid_post"):
        raise BadEvent(f"{body.format} captures resid_post only", f"{path}.hook")
    return SentActivations(
        kind=body.kind,
        payload=_payload(body, path),
        model=body.model,
        model_sha256=body.model_sha256,
        layer=body.layer,
        hook=body.hook,
        rows_sha256=body.rows_sha256,
        token_ids=None if body.token_ids is None else tuple(body.token_ids),
        tokens=tokens,
        segments=None if body.segments is None else _segments(body.segments, path),
    )


def _payload(body: _Body, path: str) -> Payload:
    places = {"data": body.data, "file": body.file, "residual_stream": body.residual_stream}
    given = [name for name, value in places.items() if value is not None]
    allowed = {"safetensors": ("data", "file"), "vllm": ("data", "file"), "vllm_lens": ("residual_stream",)}
    if len(given) != 1 or given[0] not in allowed[body.format]:
        wanted = " or ".join(allowed[body.format])
        found = " and ".join(given) or "none"
        raise BadEvent(f"format {body.format} needs {wanted}, one of them; found {found}", path)
    layers = tuple(body.layers or ())
    if body.format != "safetensors" and not layers:
        raise BadEvent(f"format {body.format} needs layers: those that the server was asked for", f"{path}.layers")
    if len(set(layers)) != len(layers):
        raise BadEvent("a layer is there twice", f"{path}.layers")
    return Payload(body.format, body.data, body.file, body.residual_stream, layers)


def _segments(found: Sequence[_Segment], path: str) -> tuple[SentSegment, ...]:
    """The segments. As with text, a last turn of the assistant is the response if there is none."""
    before = 0
    for n, segment in enumerate(found):
        if not before <= segment.start < segment.end:
            rule = "segments are in order, don't overlap, and end after they start"
            raise BadEvent(f"tokens {segment.start} to {segment.end}: {rule}", f"{path}.segments[{n}]")
        before = segment.end
    roles = [segment.role.strip().lower() for segment in found]
    if roles.count(RESPONSE) > 1 or (RESPONSE in roles and roles[-1] != RESPONSE):
        raise BadEvent("only the last segment can be the response", f"{path}.segments")
    if RESPONSE not in roles and known_role(roles[-1]) == "assistant":
        roles[-1] = RESPONSE
    return tuple(SentSegment(role, s.start, s.end) for role, s in zip(roles, found, strict=True))


def _text_of_tokens(tokens: Sequence[str], segments: Sequence[SentSegment]) -> tuple[list[Message], list[Answer]]:
    """The turns that the tokens spell."""
    turns = [(segment.role, "".join(tokens[segment.start : segment.end])) for segment in segments]
    messages = [Message(known_role(role) or role, text) for role, text in turns if role != RESPONSE]
    return messages, [Answer(text, 0) for role, text in turns if role == RESPONSE]

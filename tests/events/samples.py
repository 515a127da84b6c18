"""One record of each kind that producers write, and what is read of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor.events.event import Record
from tests.events.records import ORIGIN

ASK = "How do I bake bread?"
SYSTEM = "You are a baker."
ANSWER = "Mix flour, water,\nsalt and yeast."
USER = [{"role": "user", "content": ASK}]
TURNS = (("user", ASK),)
WITH_SYSTEM = (("system", SYSTEM), *TURNS)


@dataclass(frozen=True)
class Sample:
    """`turns` is None if the record is refused; `reason` has words of why."""

    name: str
    body: Any
    turns: tuple[tuple[str, str], ...] | None = TURNS
    response: str = ANSWER
    id: str = "id-1"
    format: str | None = None
    """The format that recognises the body; None for what is in an envelope, too."""
    unread: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)
    time: bool = False
    """Whether the event has a time."""
    reason: str = ""

    @property
    def record(self) -> Record:
        """The record as it would come from Kafka."""
        return Record(self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode(), ORIGIN)


def chat(**message: Any) -> dict[str, Any]:
    """A pair of the chat API whose answer is `message`."""
    choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}]
    return {"request": {"model": "m", "messages": USER}, "response": {"id": "id-1", "choices": choices}}


def answered(**response: Any) -> dict[str, Any]:
    """A pair of the chat API with other fields in the response."""
    made = chat(content=ANSWER)
    return {**made, "response": {**made["response"], **response}}


def call(arguments: Any) -> dict[str, Any]:
    """A message that writes a file."""
    return {"content": None, "tool_calls": [{"function": {"name": "write", "arguments": arguments}}]}


def native(**changes: Any) -> dict[str, Any]:
    """A native event."""
    return {"id": "id-1", "messages": USER, "response": ANSWER, **changes}


COMPLETION = {**chat(content=ANSWER)["response"], "object": "chat.completion", "created": 1748781000}
WRITTEN = f"write\npath: bread.md\ntext:\n{ANSWER}"
ARGUMENTS = {"path": "bread.md", "text": ANSWER}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def chunk(text: str) -> dict[str, Any]:
    """A piece of a streamed completion."""
    return {"id": "id-1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}


def attribute(key: str, value: Any) -> dict[str, Any]:
    """An attribute of OTLP."""
    return {"key": key, "value": {"stringValue": value if isinstance(value, str) else json.dumps(value)}}


def span(*attributes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A batch of one span."""
    made = {"traceId": TRACE, "spanId": "id-1", "startTimeUnixNano": "1748781000000000000", **changes}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{**made, "attributes": list(attributes)}]}]}]}


def parts(role: str, text: str) -> list[dict[str, Any]]:
    """Messages as OpenTelemetry has them."""
    return [{"role": role, "parts": [{"type": "text", "content": text}]}]


def envelope(data: Any, **changes: Any) -> dict[str, Any]:
    """A CloudEvent."""
    return {"specversion": "1.0", "id": "ce-1", "source": "/chat", "type": "t", "data": data, **changes}


SENT = {"kind": "hidden_states", "model": "m", "layer": 3, "data": "AA=="}
SAMPLES: tuple[Sample, ...] = (
    Sample(
        "activations: text next to hidden states",
        {"id": "id-1", "messages": USER, "response": ANSWER, "activations": {**SENT, "token_ids": [1, 2, 3]}},
        format="activations",
    ),
    Sample(
        "activations: tokens that spell the turns",
        {
            "id": "id-1",
            "activations": {
                **SENT,
                "tokens": ["<s>", ASK, "\n", ANSWER],
                "segments": [{"role": "user", "start": 1, "end": 2}, {"role": "response", "start": 3, "end": 4}],
            },
        },
        format="activations",
    ),
    Sample(
        "activations: offsets without text",
        {"id": "id-1", "activations": {**SENT, "segments": [{"role": "response", "start": 1, "end": 2}]}},
        turns=(),
        response="",
        format="activations",
    ),
    Sample("activations: of no layer", {"activations": {"kind": "hidden_states"}}, None, reason="need model_sha256"),
    # tool calls and other places where text stands
    Sample("arguments as an object", chat(**call(ARGUMENTS)), response=WRITTEN, format="openai"),
    Sample("arguments as text of JSON", chat(**call(json.dumps(ARGUMENTS))), response=WRITTEN, format="openai"),
    Sample(
        "arguments that are null",
        chat(content=ANSWER, tool_calls=[{"function": {"name": "f", "arguments": None}}]),
        response=f"{ANSWER}\nf",
        format="openai",
    ),
    Sample(
        "legacy function call",
        chat(content=None, function_call={"name": "write", "arguments": json.dumps(ARGUMENTS)}),
        response=WRITTEN,
        format="openai",
    ),
    Sample(
        "transcript of audio",
        chat(content=None, audio={"id": "a", "data": "UklGRg==", "transcript": ANSWER}),
        format="openai",
    ),
    Sample(
        "audio without transcript",
        chat(content="Listen.", audio={"id": "a", "data": "UklGRg=="}),
        response="Listen.",
        unread={"audio": 1},
        format="openai",
    ),
    Sample(
        "reasoning next to the answer",
        chat(reasoning_content="Let me think.", content=ANSWER),
        response=f"Let me think.\n{ANSWER}",
        format="openai",
    ),
    Sample(
        "anthropic blocks in a native event",
        native(
            messages=[
                *USER,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": "E"},
                        {"type": "tool_use", "id": "t", "name": "write", "input": ARGUMENTS},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "saved"}]}
                    ],
                },
            ]
        ),
        (*TURNS, ("assistant", f"Hm.\n{WRITTEN}"), ("user", "saved")),
        format="native",
    ),
    Sample("opentelemetry parts in a native event", native(messages=parts("user", ASK)), format="native"),
    Sample(
        "content as a list of texts",
        native(messages=[{"role": "user", "content": ["Hi.", ASK]}]),
        (("user", f"Hi.\n{ASK}"),),
        format="native",
    ),
    Sample(
        "text as an object",
        native(messages=[{"role": "user", "content": [{"type": "text", "text": {"value": ASK, "annotations": []}}]}]),
        format="native",
    ),
    Sample(
        "a tool's result as an object",
        native(messages=[*USER, {"role": "tool", "tool_call_id": "c", "content": {"temp": 21}}]),
        (*TURNS, ("tool", "temp: 21")),
        format="native",
    ),
    Sample("response as a message", native(response={"role": "assistant", "content": ANSWER}), format="native"),
    Sample("response as parts", native(response=[{"type": "text", "text": ANSWER}]), format="native"),
    Sample(
        "last turn of the assistant and no response",
        {"id": "id-1", "messages": [*USER, {"role": "assistant", "content": ANSWER}]},
        format="native",
    ),
    Sample(
        "a picture next to the question",
        native(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": ASK},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    ],
                }
            ]
        ),
        unread={"image": 1},
        format="native",
    ),
    # roles
    Sample(
        "roles human and ai",
        native(
            messages=[
                {"role": "human", "content": ASK},
                {"role": "ai", "content": "Sure."},
                {"role": "Human", "content": "Go on."},
            ]
        ),
        (*TURNS, ("assistant", "Sure."), ("user", "Go on.")),
        format="native",
    ),
    Sample(
        "a role that isn't known",
        native(messages=[*USER, {"role": "moderator", "content": "Stop."}]),
        (*TURNS, ("moderator", "Stop.")),
        repaired={"role": 1},
        format="native",
    ),
    Sample(
        "an answer without a role",
        {"request": {"messages": USER}, "response": {"choices": [{"message": {"content": ANSWER}}]}},
        id="llm.events-3-41",
        format="openai",
    ),
    # ids, times and other fields that judging doesn't need
    Sample("id next to the request", {**answered(id=None), "id": "id-1"}, format="openai"),
    Sample("a numeric id", native(id=1234567), id="1234567", format="native"),
    Sample("no id", {"prompt": ASK, "response": ANSWER}, id="llm.events-3-41", format="native"),
    Sample("created as a float", answered(created=1746709563.49), time=True, format="openai"),
    Sample("created in milliseconds", answered(created=1748781000123), time=True, format="openai"),
    Sample("time in milliseconds", native(time=1748781000123), time=True, format="native"),
    Sample("time in microseconds", native(time=1748781000123000), time=True, format="native"),
    Sample("a leap second", native(time="2016-12-31T23:59:60Z"), time=True, format="native"),
    Sample("a time that is none", native(time="yesterday"), format="native"),
    Sample("metadata as text", {**answered(), "request": {"messages": USER, "metadata": "user=1"}}, format="openai"),
    Sample(
        "minus infinity in a field that nobody reads",
        json.dumps({**chat(content=ANSWER), "logprob": 0}).replace('"logprob": 0', '"logprob": -Infinity').encode(),
        repaired={"number": 1},
        format="openai",
    ),
    Sample(
        "lone surrogates",
        native(response="/[\ud800-\udbff]/"),
        response="/[\ufffd-\ufffd]/",
        repaired={"surrogate": 2},
        format="native",
    ),
    Sample("byte-order mark", b"\xef\xbb\xbf" + json.dumps(native()).encode()),
    Sample(
        "a key twice",
        b'{"id":"a","prompt":"hi","response":"one","response":"two"}',
        None,
        reason="'response' is there twice",
    ),
    # blocked and failed calls
    Sample(
        "an error for a response",
        {**chat(), "response": {"error": {"code": "content_filter"}}, "id": "id-1"},
        response="",
        format="openai",
    ),
    Sample(
        "no choices", answered(choices=[], prompt_filter_results=[{"prompt_index": 0}]), response="", format="openai"
    ),
    Sample("choices are null", answered(choices=None), response="", format="openai"),
    Sample(
        "message is null",
        answered(choices=[{"index": 0, "message": None, "finish_reason": "content_filter"}]),
        response="",
        format="openai",
    ),
    Sample("response is null", {**chat(), "response": None, "id": "id-1"}, response="", format="openai"),
    # formats
    Sample("openai chat pair", answered(), format="openai"),
    Sample("bare completion", COMPLETION, (), time=True, format="openai"),
    Sample("stream chunk", chunk(ANSWER), (), format="openai"),
    Sample("stream chunks in an array", [chunk(ANSWER[:9]), chunk(ANSWER[9:])], ()),
    Sample(
        "server-sent events",
        "".join(f"data: {json.dumps(chunk(piece))}\n\n" for piece in (ANSWER[:9], ANSWER[9:], "")).encode()
        + b"data: [DONE]\n\n",
        (),
    ),
    Sample(
        "openai responses pair",
        {
            "request": {
                "instructions": SYSTEM,
                "input": [{"role": "user", "content": [{"type": "input_text", "text": ASK}]}],
            },
            "response": {
                "id": "id-1",
                "object": "response",
                "created_at": 1748781000,
                "output": [
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
                    }
                ],
            },
        },
        WITH_SYSTEM,
        time=True,
        format="openai_responses",
    ),
    Sample(
        "openai responses with a call",
        {
            "request": {"input": ASK},
            "response": {
                "id": "id-1",
                "object": "response",
                "output": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                    {"type": "function_call", "name": "write", "arguments": json.dumps(ARGUMENTS), "call_id": "c"},
                ],
            },
        },
        response=f"Hm.\n{WRITTEN}",
        format="openai_responses",
    ),
    Sample(
        "legacy completions",
        {
            "request": {"prompt": ASK},
            "response": {"id": "id-1", "object": "text_completion", "choices": [{"index": 0, "text": ANSWER}]},
        },
        format="completions",
    ),
    Sample(
        "anthropic pair",
        {
            "request": {"model": "c", "system": SYSTEM, "messages": USER},
            "response": {
                "id": "id-1",
                "type": "message",
                "role": "assistant",
                "content": [{"type": "text", "text": ANSWER}],
                "stop_reason": "end_turn",
            },
        },
        WITH_SYSTEM,
        format="anthropic",
    ),
    Sample(
        "anthropic stream",
        [
            {"type": "message_start", "message": {"id": "id-1", "type": "message", "role": "assistant", "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER[:9]}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ANSWER[9:]}},
            {"type": "message_stop"},
        ],
        (),
    ),
    Sample(
        "gemini pair",
        {
            "request": {
                "systemInstruction": {"parts": [{"text": SYSTEM}]},
                "contents": [{"role": "user", "parts": [{"text": ASK}]}],
            },
            "response": {
                "responseId": "id-1",
                "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": ANSWER}]}}],
            },
        },
        WITH_SYSTEM,
        format="gemini",
    ),
    Sample(
        "gemini blocked",
        {
            "request": {"contents": [{"parts": [{"text": ASK}]}]},
            "id": "id-1",
            "response": {"promptFeedback": {"blockReason": "SAFETY"}},
        },
        response="",
        format="gemini",
    ),
    Sample(
        "ollama pair",
        {
            "request": {"model": "m", "messages": USER},
            "id": "id-1",
            "response": {
                "model": "m",
                "created_at": "2025-06-01T12:30:00Z",
                "message": {"role": "assistant", "content": ANSWER},
                "done": True,
            },
        },
        time=True,
        format="ollama",
    ),
    Sample(
        "ollama generate",
        {
            "request": {"model": "m", "prompt": ASK, "system": SYSTEM},
            "id": "id-1",
            "response": {"response": ANSWER, "done": True},
        },
        WITH_SYSTEM,
        format="ollama",
    ),
    Sample(
        "litellm",
        {
            "id": "id-1",
            "call_type": "acompletion",
            "status": "success",
            "startTime": 1748781000.12,
            "model": "m",
            "metadata": {"user_api_key_hash": "h"},
            "messages": USER,
            "response": COMPLETION,
        },
        time=True,
        format="litellm",
    ),
    Sample(
        "litellm failure",
        {
            "id": "id-1",
            "call_type": "completion",
            "status": "failure",
            "messages": USER,
            "response": {},
            "error_str": "timeout",
        },
        response="",
        format="litellm",
    ),
    Sample(
        "kong",
        {
            "workspace_name": "default",
            "started_at": 1748781000123,
            "response": {"status": 200},
            "request": {"id": "id-1", "uri": "/v1/chat/completions", "method": "POST"},
            "ai": {
                "proxy": {"payload": {"request": json.dumps(chat()["request"]), "response": json.dumps(COMPLETION)}}
            },
        },
        time=True,
        format="kong",
    ),
    Sample(
        "kong without payloads",
        {"latencies": {"proxy": 1}, "request": {"uri": "/v1/chat", "method": "POST"}, "response": {"status": 200}},
        None,
        reason="set logging.log_payloads",
        format="kong",
    ),
    Sample(
        "apisix",
        {
            "request": {"uri": "/chat", "method": "POST"},
            "response": {"status": 200},
            "request_id": "id-1",
            "start_time": 1748781000123,
            "llm_request": {"messages": USER},
            "llm_response_text": ANSWER,
            "llm_summary": {"model": "m"},
        },
        time=True,
        format="apisix",
    ),
    Sample(
        "apisix without payloads", {"llm_summary": {"model": "m"}}, None, reason="set logging.payloads", format="apisix"
    ),
    Sample(
        "langfuse",
        {
            "id": "e",
            "type": "generation-create",
            "timestamp": "2026-01-01T00:00:00Z",
            "body": {"id": "id-1", "input": USER, "output": {"role": "assistant", "content": ANSWER}},
        },
        time=True,
        format="langfuse",
    ),
    Sample(
        "langfuse batch",
        {
            "batch": [
                {"id": "s", "type": "score-create", "body": {"value": 1}},
                {
                    "id": "e",
                    "type": "generation-update",
                    "body": {"id": "id-1", "input": {"messages": USER}, "output": ANSWER},
                },
            ]
        },
        format="langfuse",
    ),
    Sample(
        "otlp span",
        span(
            attribute("gen_ai.input.messages", parts("user", ASK)),
            attribute("gen_ai.output.messages", parts("assistant", ANSWER)),
            attribute("gen_ai.system_instructions", [{"type": "text", "content": SYSTEM}]),
        ),
        WITH_SYSTEM,
        time=True,
        format="otlp",
    ),
    Sample(
        "otlp span with numbered attributes",
        span(
            attribute("gen_ai.prompt.0.role", "system"),
            attribute("gen_ai.prompt.0.content", SYSTEM),
            attribute("gen_ai.prompt.1.role", "user"),
            attribute("gen_ai.prompt.1.content", ASK),
            attribute("gen_ai.completion.0.content", ANSWER),
        ),
        WITH_SYSTEM,
        time=True,
        format="otlp",
    ),
    Sample(
        "openinference span",
        span(
            attribute("llm.input_messages.0.message.role", "user"),
            attribute("llm.input_messages.0.message.content", ASK),
            attribute("llm.output_messages.0.message.role", "assistant"),
            attribute("llm.output_messages.0.message.content", ANSWER),
        ),
        time=True,
        format="otlp",
    ),
    Sample(
        "otlp span events",
        span(
            events=[
                {"name": "gen_ai.user.message", "attributes": [attribute("content", ASK)]},
                {
                    "name": "gen_ai.choice",
                    "attributes": [attribute("message", {"role": "assistant", "content": ANSWER})],
                },
            ]
        ),
        time=True,
        format="otlp",
    ),
    Sample(
        "otlp log records",
        {
            "resourceLogs": [
                {
                    "scopeLogs": [
                        {
                            "logRecords": [
                                {
                                    "spanId": "id-1",
                                    "eventName": "gen_ai.user.message",
                                    "timeUnixNano": "1748781000000000000",
                                    "body": {"kvlistValue": {"values": [attribute("content", ASK)]}},
                                },
                                {
                                    "spanId": "id-1",
                                    "eventName": "gen_ai.choice",
                                    "body": {
                                        "kvlistValue": {
                                            "values": [
                                                {
                                                    "key": "message",
                                                    "value": {
                                                        "kvlistValue": {"values": [attribute("content", ANSWER)]}
                                                    },
                                                }
                                            ]
                                        }
                                    },
                                },
                            ]
                        }
                    ]
                }
            ]
        },
        time=True,
        format="otlp",
    ),
    Sample(
        "sharegpt",
        {"id": "id-1", "conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": ANSWER}]},
        format="sharegpt",
    ),
    # envelopes
    Sample("cloudevent", envelope(native())),
    Sample("dapr", envelope(json.dumps(native()), datacontenttype="text/plain", pubsubname="bus", topic="t")),
    Sample(
        "kserve response",
        envelope(COMPLETION, id="id-1", type="org.kubeflow.serving.inference.response"),
        (),
        time=True,
    ),
    Sample(
        "kserve request",
        envelope({"messages": USER}, id="id-1", type="org.kubeflow.serving.inference.request"),
        response="",
        id="id-1#request",
    ),
    Sample("kafka connect", {"schema": {"type": "struct"}, "payload": native()}),
    Sample("schema registry frame", b"\0\0\0\0\1" + json.dumps(native()).encode()),
    Sample(
        "avro in a schema registry frame",
        b"\0\0\0\0\1\x08\x06abc",
        None,
        reason="set events.schema_registry_url if it is Avro",
    ),
    Sample("json in text of json", json.dumps(native())),
    Sample("an array of one event", [native()]),
    Sample("utf-16", json.dumps(native()).encode("utf-16"), None, reason="write the event in UTF-8"),
    Sample("another product's record", {"level": "INFO", "msg": "started"}, None, reason="the keys are: level, msg"),
    Sample(
        "a web server's record",
        {"request": {"uri": "/", "method": "GET"}, "response": {"status": 200}},
        None,
        reason="no messages, prompt, input or contents in the request",
        format="openai",
    ),
)

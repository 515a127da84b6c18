"""Bodies: requests and responses of every API, and the records of every format that hold them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.encoded import Encoded, as_events, as_lines
from tests.fuzz.otlp import otlp
from tests.fuzz.turns import ITEMS, PARTS, answer, asked, message
from tests.fuzz.words import Part, Words

Make = Callable[[Random, Words], Any]
_OPENAI: dict[str, Any] = {"id": "r-1", "object": "chat.completion", "created": 1748781000, "model": "m"}


def _usage() -> dict[str, Any]:
    return {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "system_fingerprint": None}


# ---- requests


def _chat_request(chance: Random, words: Words) -> Any:
    tools = [{"type": "function", "function": {"name": "run", "description": "d", "parameters": {"type": "object"}}}]
    return {"model": "m", "messages": asked(chance, words), "tools": tools, "temperature": 0.5, "stream": True}


def _responses_request(chance: Random, words: Words) -> Any:
    items = [
        chance.choice(ITEMS)(words, "asked") if chance.random() < 0.4 else message(chance, words, "asked")
        for _ in range(chance.randrange(4))
    ]
    held = chance.choice((words.new("asked"), [*items, {"role": "user", "content": words.new("asked")}]))
    return {"model": "m", "input": held, **({"instructions": words.new("asked")} if chance.random() < 0.4 else {})}


def _completions_request(chance: Random, words: Words) -> Any:
    prompt = chance.choice((words.new("asked"), [words.new("asked"), words.new("asked")], [words.new("asked")]))
    return {"model": "m", "prompt": prompt, **({"suffix": words.new("asked")} if chance.random() < 0.3 else {})}


def _anthropic_request(chance: Random, words: Words) -> Any:
    system = chance.choice((words.new("asked"), [Part(type="text", text=words.new("asked"))], None))
    return {"model": "c", "max_tokens": 9, "messages": asked(chance, words), **({"system": system} if system else {})}


def _gemini_request(chance: Random, words: Words) -> Any:
    contents = [
        {"role": chance.choice(("user", "model")), "parts": [chance.choice(PARTS)(words, "asked")]}
        for _ in range(chance.randrange(1, 4))
    ]
    contents.append({"role": "user", "parts": [{"text": words.new("asked")}]})
    made: dict[str, Any] = {"contents": contents, "generationConfig": {"temperature": 1}}
    if chance.random() < 0.5:
        key = chance.choice(("systemInstruction", "system_instruction"))
        made[key] = {"parts": [{"text": words.new("asked")}]}
    return made


def _generate_request(chance: Random, words: Words) -> Any:
    return {"model": "m", "prompt": words.new("asked"), "system": words.new("asked"), "stream": False}


def _triton_request(chance: Random, words: Words) -> Any:
    return {"text_input": words.new("asked"), "parameters": {"max_tokens": 9}}


REQUESTS: dict[str, Make] = {
    "chat": _chat_request,
    "responses": _responses_request,
    "completions": _completions_request,
    "anthropic": _anthropic_request,
    "gemini": _gemini_request,
    "generate": _generate_request,
    "triton": _triton_request,
}

# ---- responses


def _choices(chance: Random, words: Words, key: str) -> list[Any]:
    count = chance.choice((1, 1, 1, 2, 3))
    return [{"index": i, "finish_reason": "stop", key: answer(chance, words)} for i in range(count)]


def _chat_response(chance: Random, words: Words) -> Any:
    return {**_OPENAI, "choices": _choices(chance, words, "message"), **_usage()}


def _completions_response(chance: Random, words: Words) -> Any:
    choices = [{"index": i, "text": words.new("answered"), "logprobs": None} for i in range(chance.choice((1, 2)))]
    return {**_OPENAI, "object": "text_completion", "choices": choices}


def _responses_response(chance: Random, words: Words) -> Any:
    items = [chance.choice(ITEMS)(words, "answered") for _ in range(chance.randrange(3))]
    return {"id": "r-1", "object": "response", "created_at": 1.5, "output": [*items, answer(chance, words)]}


def _anthropic_response(chance: Random, words: Words) -> Any:
    blocks = [chance.choice(PARTS)(words, "answered") for _ in range(chance.randrange(1, 4))]
    return {"id": "r-1", "type": "message", "role": "assistant", "content": blocks, "stop_reason": "end_turn"}


def _gemini_response(chance: Random, words: Words) -> Any:
    candidates = [
        {"index": i, "content": {"role": "model", "parts": [chance.choice(PARTS)(words, "answered")]}}
        for i in range(chance.choice((1, 1, 2)))
    ]
    return {"responseId": "r-1", "candidates": candidates, "usageMetadata": {}, "modelVersion": "g"}


def _ollama_response(chance: Random, words: Words) -> Any:
    return {"model": "m", "created_at": "2025-06-01T12:30:00Z", "message": answer(chance, words), "done": True}


def _generate_response(chance: Random, words: Words) -> Any:
    made = {"model": "m", "response": words.new("answered"), "done": True, "context": [1, 2]}
    return {**made, **({"thinking": words.new("answered")} if chance.random() < 0.3 else {})}


def _triton_response(chance: Random, words: Words) -> Any:
    return {"text_output": words.new("answered"), "model_name": "m"}


def _failed_response(chance: Random, words: Words) -> Any:
    return chance.choice((None, {"error": {"code": "content_filter"}}, {**_OPENAI, "choices": []}, {}))


def _text_response(chance: Random, words: Words) -> Any:
    return words.new("answered")


def _message_response(chance: Random, words: Words) -> Any:
    return answer(chance, words)


def _parts_response(chance: Random, words: Words) -> Any:
    return [chance.choice(PARTS)(words, "answered") for _ in range(chance.randrange(1, 4))]


# ---- streamed responses: each piece says a word of its own


def _chat_chunk(index: int, delta: Any) -> dict[str, Any]:
    return {"id": "r-1", "object": "chat.completion.chunk", "choices": [{"index": index, "delta": delta}]}


def _chat_stream(chance: Random, words: Words) -> Any:
    pieces = [_chat_chunk(0, {"role": "assistant", "content": ""})]
    for n in range(chance.randrange(1, 5)):
        kind, index = chance.randrange(4), chance.choice((0, 0, 1))
        if kind == 0:
            function = {"name": "run", "arguments": Encoded({"a": words.new("answered")})}
            delta: Any = {"tool_calls": [{"index": n, "id": "c", "type": "function", "function": function}]}
        elif kind == 1:
            delta = {"reasoning_content": words.new("answered")}
        else:
            delta = {"content": words.new("answered")}
        pieces.append(_chat_chunk(index, delta))
    return [*pieces, {"id": "r-1", "object": "chat.completion.chunk", "choices": [], "usage": {}}]


def _anthropic_stream(chance: Random, words: Words) -> Any:
    start = {"id": "r-1", "type": "message", "role": "assistant", "content": []}
    pieces: list[Any] = [{"type": "message_start", "message": start}]
    for i in range(chance.randrange(1, 4)):
        kind = chance.randrange(3)
        if kind == 0:
            block: Any = {"type": "tool_use", "id": "t", "name": "run", "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": Encoded({"a": words.new("answered")})}]
        elif kind == 1:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": words.new("answered")} for _ in "ab"]
        else:
            block = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": words.new("answered")} for _ in "ab"]
        pieces.append({"type": "content_block_start", "index": i, "content_block": block})
        pieces += [{"type": "content_block_delta", "index": i, "delta": delta} for delta in deltas]
        pieces.append({"type": "content_block_stop", "index": i})
    return [*pieces, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]


def _responses_stream(chance: Random, words: Words) -> Any:
    item: Any = {"type": "message", "role": "assistant", "content": []}
    whole: dict[str, Any] = {"id": "r-1", "object": "response", "output": []}
    pieces: list[Any] = [{"type": "response.created", "response": dict(whole)}]
    for i in range(chance.randrange(1, 3)):
        place = {"output_index": i, "content_index": 0}
        pieces.append({"type": "response.output_item.added", "output_index": i, "item": dict(item)})
        kind = chance.choice(("output_text", "refusal", "reasoning_summary_text", "function_call_arguments"))
        text: Any = words.new("answered")
        text = Encoded({"a": text}) if kind == "function_call_arguments" else text
        pieces.append({"type": f"response.{kind}.delta", **place, "delta": text})
    return pieces


def _gemini_stream(chance: Random, words: Words) -> Any:
    return [
        {"responseId": "r-1", "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]}
        for part in [chance.choice(PARTS)(words, "answered") for _ in range(chance.randrange(1, 4))]
    ]


def _ollama_stream(chance: Random, words: Words) -> Any:
    pieces = [
        {"model": "m", "message": {"role": "assistant", "content": words.new("answered")}, "done": False}
        for _ in range(chance.randrange(1, 4))
    ]
    return [*pieces, {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True}]


STREAMS: dict[str, Make] = {
    "chat": _chat_stream,
    "anthropic": _anthropic_stream,
    "responses": _responses_stream,
    "gemini": _gemini_stream,
    "ollama": _ollama_stream,
}
WHOLE: dict[str, Make] = {
    "chat": _chat_response,
    "completions": _completions_response,
    "responses": _responses_response,
    "anthropic": _anthropic_response,
    "gemini": _gemini_response,
    "ollama": _ollama_response,
    "generate": _generate_response,
    "triton": _triton_response,
    "failed": _failed_response,
    "text": _text_response,
    "message": _message_response,
    "parts": _parts_response,
}
_NAMES, _STREAMED = tuple(WHOLE), tuple(STREAMS)


def request(chance: Random, words: Words) -> Any:
    """A request over any API; sometimes as text of JSON."""
    made = chance.choice(tuple(REQUESTS.values()))(chance, words)
    return Encoded(made, ascii_only=chance.random() < 0.5) if chance.random() < 0.15 else made


def response(chance: Random, words: Words) -> Any:
    """A response over any API, whole or streamed; sometimes as text of JSON or of a stream."""
    if chance.random() < 0.2:
        made = STREAMS[chance.choice(_STREAMED)](chance, words)
        return Encoded(made, chance.choice((as_events, as_lines))) if chance.random() < 0.5 else made
    made = WHOLE[chance.choice(_NAMES)](chance, words)
    return Encoded(made) if isinstance(made, dict) and made and chance.random() < 0.15 else made


# ---- formats


def _pair(chance: Random, words: Words) -> Any:
    return {"id": "p", "request": request(chance, words), "response": response(chance, words), "metadata": {"a": 1}}


def _bare(chance: Random, words: Words) -> Any:
    name = chance.choice([name for name in _NAMES if name not in ("failed", "text", "parts", "message", "triton")])
    return WHOLE[name](chance, words)


def _bare_stream(chance: Random, words: Words) -> Any:
    return STREAMS[chance.choice(_STREAMED)](chance, words)


def _native(chance: Random, words: Words) -> Any:
    prompt = chance.random() < 0.3
    asks = {"prompt": words.new("asked")} if prompt else {"messages": asked(chance, words)}
    made = {"id": "n", "time": "2025-06-01T12:30:00Z", "model": "m", **asks, "attributes": {"conversation_id": "c"}}
    says = response(chance, words)  # a text is the answer, whatever it looks like
    says = says.value if isinstance(says, Encoded) else says
    return {**made, chance.choice(("response", "response", "output", "completion")): says}


def _conversation(chance: Random, words: Words) -> Any:
    return {"id": "n", "messages": [*asked(chance, words), answer(chance, words)]}


def _turns(chance: Random, words: Words) -> Any:
    return [*asked(chance, words), answer(chance, words)]


def _litellm(chance: Random, words: Words) -> Any:
    messages = chance.choice((asked(chance, words), _chat_request(chance, words), words.new("asked")))
    made = {"id": "l", "call_type": "acompletion", "status": "success", "startTime": 1748781000.12, "model": "m"}
    return {**made, "metadata": {"h": "k"}, "messages": messages, "response": response(chance, words)}


def _kong(chance: Random, words: Words) -> Any:
    payload = {
        "request": Encoded(chance.choice(tuple(REQUESTS.values()))(chance, words)),
        "response": Encoded(WHOLE[chance.choice(_NAMES[:7])](chance, words)),
    }
    plugin = chance.choice(("proxy", "ai-proxy", "ai-proxy-advanced"))
    http = {"id": "k", "uri": "/v1/chat", "method": "POST"}
    return {"workspace_name": "w", "request": http, "response": {"status": 200}, "ai": {plugin: {"payload": payload}}}


def _apisix(chance: Random, words: Words) -> Any:
    made: dict[str, Any] = {"request_id": "a", "start_time": 1748781000123, "llm_summary": {"model": "m"}}
    made["llm_request"] = request(chance, words)
    key = chance.choice(("llm_response_text", "llm_response"))
    made[key] = words.new("answered") if key == "llm_response_text" else response(chance, words)
    return {**made, "request": {"uri": "/chat"}, "response": {"status": 200}}


def _langfuse(chance: Random, words: Words) -> Any:
    held = chance.choice((asked(chance, words), request(chance, words), {"input": words.new("asked")}))
    body = {"id": "f", "input": held, "output": response(chance, words), "sessionId": "s", "metadata": {"a": "b"}}
    kind = chance.choice(("generation-create", "generation-update", "span-create", "trace-create"))
    entry = {"id": "e", "type": kind, "timestamp": "2026-01-01T00:00:00Z", "body": body}
    score = {"id": "s", "type": "score-create", "body": {"value": 1}}
    return chance.choice((entry, {"batch": [score, entry]}, {"batch": [entry, score], "metadata": {}}))


def _sharegpt(chance: Random, words: Words) -> Any:
    turns = [
        {"from": chance.choice(("human", "gpt", "system", "observation")), "value": words.new()}
        for _ in range(chance.randrange(1, 5))
    ]
    made: dict[str, Any] = {"id": "s", chance.choice(("conversations", "conversation")): turns}
    return {**made, **({"system": words.new("asked")} if chance.random() < 0.3 else {})}


def _kserve(chance: Random, words: Words) -> Any:
    """Request and response as two CloudEvents of one id."""
    both = {"request": _chat_request(chance, words), "response": _chat_response(chance, words)}
    kind = "org.kubeflow.serving.inference"
    return [
        {"specversion": "1.0", "id": "k", "source": "/m", "type": f"{kind}.{name}", "data": data}
        for name, data in both.items()
    ]


FORMATS: dict[str, Make] = {
    "pair": _pair,
    "bare": _bare,
    "stream": _bare_stream,
    "native": _native,
    "conversation": _conversation,
    "turns": _turns,
    "litellm": _litellm,
    "kong": _kong,
    "apisix": _apisix,
    "langfuse": _langfuse,
    "sharegpt": _sharegpt,
    "kserve": _kserve,
    "otlp": otlp,
}

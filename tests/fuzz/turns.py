"""Turns: messages in every shape that an API or a gateway has for them, with words wherever somebody speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.fuzz.encoded import Encoded
from tests.fuzz.words import Part, Words

ROLES = ("user", "assistant", "system", "developer", "tool", "function", "Human", "AI", "model", "critic", "")
Maker = Callable[[Words, str], Any]


def _calls(arguments: Maker) -> Maker:
    return lambda w, s: {
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "run", "arguments": arguments(w, s)}}]
    }


# items of a list of content, in the spellings of several APIs
PARTS: Sequence[Maker] = (
    lambda w, s: w.new(s),
    lambda w, s: Part(type="text", text=w.new(s)),
    lambda w, s: Part(type="text", content=w.new(s)),
    lambda w, s: Part(type="text", text={"value": w.new(s), "annotations": []}),
    lambda w, s: Part(type="input_text", text=w.new(s)),
    lambda w, s: Part(type="output_text", text=w.new(s), annotations=[], logprobs=[]),
    lambda w, s: Part(type="refusal", refusal=w.new(s)),
    lambda w, s: Part(type="thinking", thinking=w.new(s), signature="E"),
    lambda w, s: Part(type="reasoning", content=w.new(s)),
    lambda w, s: Part(type="tool_use", id="t", name="run", input={"a": [w.new(s), {"b": w.new(s)}]}),
    lambda w, s: Part(type="tool_call", id="t", name="run", arguments={"a": w.new(s)}),
    lambda w, s: Part(type="tool_result", tool_use_id="t", content=[Part(type="text", text=w.new(s))]),
    lambda w, s: Part(type="tool_result", tool_use_id="t", is_error=True, content=w.new(s)),
    lambda w, s: Part(type="tool_call_response", id="t", response=w.new(s)),
    lambda w, s: Part(type="document", source={"type": "text", "media_type": "text/plain", "data": w.new(s)}),
    lambda w, s: Part(type="document", title=w.new(s), source={"type": "content", "content": [w.new(s)]}),
    lambda w, s: Part(type="search_result", title=w.new(s), source="u", content=[Part(type="text", text=w.new(s))]),
    lambda w, s: Part(type="a_kind_of_next_year", says={"in": [w.new(s)]}),
    lambda w, s: Part(text=w.new(s)),
    lambda w, s: Part(text=w.new(s), thought=True),
    lambda w, s: Part(functionCall={"name": "run", "args": {"a": w.new(s)}}),
    lambda w, s: Part(functionResponse={"name": "run", "response": {"a": w.new(s), "title": w.new(s), "n": 1}}),
    lambda w, s: Part(executableCode={"language": "PYTHON", "code": w.new(s)}),
    lambda w, s: Part(codeExecutionResult={"outcome": "OUTCOME_OK", "output": w.new(s)}),
    lambda w, s: Part(toolUse={"toolUseId": "t", "name": "run", "input": {"a": w.new(s)}}),
    lambda w, s: Part(toolResult={"toolUseId": "t", "content": [{"text": w.new(s)}, {"json": {"a": w.new(s)}}]}),
    lambda w, s: Part(reasoningContent={"reasoningText": {"text": w.new(s)}}),
    lambda w, _: Part(type="image_url", image_url={"url": w.media()}),
    lambda w, _: Part(type="image", source={"type": "base64", "media_type": "image/png", "data": w.recording()}),
    lambda w, _: Part(type="input_image", image_url=w.media()),
    lambda w, _: Part(type="input_audio", input_audio={"data": w.recording(), "format": "wav"}),
    lambda w, _: Part(inlineData={"mimeType": "image/png", "data": w.recording()}),
    lambda w, _: Part(fileData={"mimeType": "video/mp4", "fileUri": w.media()}),
    lambda w, _: Part(type="file", file={"file_data": w.media(), "filename": "a.pdf"}),
    lambda w, _: Part(type="redacted_thinking", data=w.recording()),
)
CONTENTS: Sequence[Maker] = (
    lambda w, s: w.new(s),
    lambda w, s: w.new(s),
    lambda w, s: w.new(s),
    lambda _w, _s: None,
    lambda _w, _s: "",
    lambda w, s: Part(row=w.new(s), text=w.new(s), n=1),
    lambda w, s: Part(type="text", text=w.new(s)),
)
EXTRAS: Sequence[Maker] = (
    *[lambda _w, _s: {}] * 6,
    lambda w, s: {"reasoning_content": w.new(s)},
    lambda w, s: {"reasoning": w.new(s), "reasoning_details": [Part(type="reasoning.text", text=w.new(s))]},
    lambda w, s: {"thinking": w.new(s)},
    lambda w, s: {"thinking_blocks": [Part(type="thinking", thinking=w.new(s), signature="E")]},
    lambda w, s: {"refusal": w.new(s)},
    _calls(lambda w, s: Encoded({"a": w.new(s)})),
    _calls(lambda w, s: {"a": w.new(s), "n": [1, None]}),
    _calls(lambda w, s: Encoded({"a": Encoded([w.new(s)])})),
    _calls(lambda w, s: Encoded({"path": "a.py", "edits": [{"old": w.new(s), "new": w.new(s)}]})),
    lambda w, s: {"tool_calls": [{"name": "run", "args": {"a": w.new(s)}, "id": "t", "type": "tool_call"}]},
    lambda w, s: {"tool_calls": [{"type": "custom", "custom": {"name": "run", "input": w.new(s)}}]},
    lambda w, s: {"function_call": {"name": "run", "arguments": Encoded({"a": w.new(s)})}},
    lambda w, s: {"audio": {"id": "a", "data": "UklGRiQAAABXQVZF" * 20, "transcript": w.new(s)}},
    lambda w, _: {"audio": {"id": "a", "data": w.recording()}},
    lambda w, _: {"images": [w.recording()]},
    lambda _w, _s: {"name": "Ann", "tool_call_id": "t"},
)
# items of the Responses API, next to messages
ITEMS: Sequence[Maker] = (
    lambda w, s: {"type": "reasoning", "summary": [{"type": "summary_text", "text": w.new(s)}], "id": "r"},
    lambda w, s: {"type": "reasoning", "content": [{"type": "reasoning_text", "text": w.new(s)}], "summary": []},
    lambda w, s: {"type": "function_call", "name": "run", "call_id": "c", "arguments": Encoded({"a": w.new(s)})},
    lambda w, s: {"type": "function_call_output", "call_id": "c", "output": w.new(s)},
    lambda w, s: {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": w.new(s)}]},
    lambda w, s: {"type": "custom_tool_call", "name": "run", "input": w.new(s), "call_id": "c"},
    lambda w, s: {"type": "web_search_call", "action": {"type": "search", "query": w.new(s)}, "status": "completed"},
    lambda w, s: {
        "type": "code_interpreter_call",
        "code": w.new(s),
        "outputs": [{"type": "logs", "logs": w.new(s)}],
        "container_id": "c",
    },
    lambda w, s: {"type": "mcp_call", "name": "run", "arguments": Encoded({"a": w.new(s)}), "output": w.new(s)},
    lambda w, s: {"type": "local_shell_call", "action": {"type": "exec", "command": ["sh", w.new(s)]}, "call_id": "c"},
    lambda w, _: {"type": "image_generation_call", "result": w.recording(), "status": "completed"},
)


def content(chance: Random, words: Words, side: str) -> Any:
    """What a message holds: text, a part, or a list of parts."""
    if chance.random() < 0.6:
        return chance.choice(CONTENTS)(words, side)
    return [chance.choice(PARTS)(words, side) for _ in range(chance.randrange(4))]


def message(chance: Random, words: Words, side: str, role: str | None = None) -> dict[str, Any]:
    """A turn of any role, or of the one given."""
    held = content(chance, words, side)
    key = "parts" if isinstance(held, list) and chance.random() < 0.3 else "content"
    return {"role": role or chance.choice(ROLES), key: held, **chance.choice(EXTRAS)(words, side)}


def asked(chance: Random, words: Words) -> list[Any]:
    """A conversation that ends with a question."""
    turns = [message(chance, words, "asked") for _ in range(chance.choice((0, 0, 1, 1, 2, 4)))]
    return [*turns, {"role": "user", "content": words.new("asked")}]


def answer(chance: Random, words: Words) -> dict[str, Any]:
    """What the model replies."""
    return message(chance, words, "answered", "assistant")

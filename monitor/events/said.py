"""Said: reads the text out of messages in any shape, and counts what it can't read."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from typing import Any

from monitor.errors import BadEvent
from monitor.events.arguments import binary_kind, media_kind, readable
from monitor.events.event import Message
from monitor.events.json_object import json_type, read_json
from monitor.events.roles import UNKNOWN, known_role, role_text

# in the order in which they are read: first what the model thought, then what it said, then what it called
THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks", "reasoningContent")
_TEXTS = (
    "summary",
    "reasoningText",
    "title",
    "context",
    "content",
    "parts",
    "text",
    "value",
    "refusal",
    "transcript",
    "delta",
    "output_text",
    "toolResult",
    "functionResponse",
    "function_response",
    "executableCode",
    "executable_code",
    "codeExecutionResult",
    "code_execution_result",
    "code",
    "logs",
    "queries",
)
_RESULTS = ("output", "outputs", "result", "results", "response", "json", "error", "action")
_CALLS = ("tool_calls", "function_call", "toolUse", "functionCall", "function", "custom", "tool_call")
_ARGUMENTS = ("arguments", "args", "input", "parameters")
_MEDIA = ("audio", "image", "images", "image_url", "input_audio", "video", "video_url", "file", "inlineData")
MEDIA_KEYS = (*_MEDIA, "inline_data", "fileData", "file_data", "document")
_PLAIN = frozenset(("role", "content", "name"))
READ_KEYS = frozenset((*THOUGHTS, *_TEXTS, *_RESULTS, *_CALLS, *_ARGUMENTS, *MEDIA_KEYS))
_MEDIA_TYPES = {
    **dict.fromkeys(
        ("image", "image_url", "input_image", "output_image", "image_file", "image_generation_call"), "image"
    ),
    **dict.fromkeys(("computer_screenshot", "image_asset_pointer"), "image"),
    **dict.fromkeys(("audio", "audio_url", "input_audio", "output_audio"), "audio"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
    **dict.fromkeys(("file", "input_file", "document", "container_upload", "blob", "uri", "media"), "file"),
}
# fields of media that describe it but say nothing
_OF_MEDIA = ("url", "uri", "data", "blob", "bytes", "size", "width", "height", "quality", "background", "modality")
_OF_FILES = ("mimeType", "mime_type", "media_type", "fileUri", "file_uri", "file_url", "output_format", "duration")
_MEDIA_NAMES = frozenset((*_OF_MEDIA, *_OF_FILES, "expires_at", "metadata", "caption", "revised_prompt"))
_ENCRYPTED = ("redacted_thinking", "reasoning.encrypted", "compaction")
_SPEAKERS = ("role", "from", "author", "speaker")
# fields of a part that name things but say nothing
_LABELS = ("type", "role", "from", "name", "index", "object", "model", "filename", "format", "language", "namespace")
_STATES = (
    "status",
    "thought",
    "is_error",
    "isError",
    "detail",
    "finish_reason",
    "created_at",
    "phase",
    "outcome",
    "caller",
)
_ASIDES = ("cache_control", "annotations", "citations", "logprobs", "source", "extra_content", "encrypted_content")
NAME_KEYS = frozenset((*_LABELS, *_STATES, *_ASIDES, "server_label"))
_EMPTY: tuple[object, ...] = (None, "", [], {})
_NAME_ENDINGS = ("id", "Id", "ID", "ignature")


class Said:
    """The texts of one event. `unread` counts parts by kind, `repaired` what had to be replaced or guessed.

    What a shape does not name is read rather than dropped: an unknown part gives all its text.
    """

    def __init__(self) -> None:
        self.unread: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()

    def messages(self, value: object, path: str, role: str | None = None) -> list[Message]:
        """The turns in a list of messages; of text or of one message, the one turn. `role` is for those without one."""
        if value is None:
            return []
        if isinstance(value, list):
            return [self.message(item, f"{path}[{i}]", role) for i, item in enumerate(value)]
        if isinstance(value, str | dict):
            return [self.message(value, path, role)]
        raise BadEvent(f"expected a list of messages, got {json_type(value)}", path)

    def message(self, value: object, path: str, role: str | None = None) -> Message:
        """One turn. Raises BadEvent if what it says is of a type that holds no text."""
        if isinstance(value, dict):
            return Message(self._role(value, role), self.text(value, path))
        if isinstance(value, str):
            return Message(self._role({}, role), value)
        raise BadEvent(f"expected a message, got {json_type(value)}", path)

    def text(self, value: object, path: str) -> str:
        """All that a message, a part or a list of parts says, one below the other."""
        return "\n".join(text for text in self._texts(value, path) if text)

    def _role(self, value: dict[str, Any], default: str | None) -> str:
        if known := known_role(value.get("role")):
            return known
        author = value.get("author")
        written = [value.get(key) for key in _SPEAKERS] + [author.get("role") if isinstance(author, dict) else None]
        names = [name for name in written if isinstance(name, str) and name]
        kind = value.get("type")
        if isinstance(kind, str) and not names:  # items of the Responses API, messages of LangChain
            if kind.endswith(("_call_output", "_result", "_approval_response")):
                return "tool"
            if kind.endswith(("_call", "_use", "_approval_request")) or kind == "reasoning":
                return "assistant"
            names = [kind] if known_role(kind) else []
        for name in names:
            if role := known_role(name):
                return role
        if not names and default and value.get("role") in (None, ""):
            return default
        self.repaired["role"] += 1
        return role_text(names[0]) if names else UNKNOWN

    def _texts(self, value: object, path: str) -> list[str]:
        if value is None:
            return []
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, list):
            return [text for i, item in enumerate(value) for text in self._texts(item, f"{path}[{i}]")]
        if isinstance(value, dict):
            return self._part(value, path)
        raise BadEvent(f"expected text or a list of parts, got {json_type(value)}", path)

    def _string(self, text: str) -> list[str]:
        kind = binary_kind(text)
        if kind is None:
            return [text]
        self.unread[kind] += 1
        return []

    def _part(self, part: dict[str, Any], path: str) -> list[str]:
        if part.keys() <= _PLAIN and isinstance(part.get("content"), str):  # most messages
            return self._string(part["content"])
        kind = part.get("type")
        kind = kind.lower() if isinstance(kind, str) else ""
        if kind in _ENCRYPTED:
            self.unread["encrypted"] += 1
            return list(self._readable(part.get("summary")))
        if kind in _MEDIA_TYPES:
            return self._media(part, _media_kind(part, _MEDIA_TYPES[kind]), path)
        # LangChain's messages have a role for their type; tool_result and the like are parts
        is_turn = not part.keys().isdisjoint(_SPEAKERS) or ("_" not in kind and known_role(kind) is not None)
        others = {} if is_turn else {key: value for key, value in part.items() if _says(key) and value not in _EMPTY}
        if others and not kind:
            return [readable(part, self.unread)]  # what a tool gave back, as an object
        called = [key for key in _ARGUMENTS if key in part]
        found = self._thoughts(part, path)
        for key in _TEXTS:
            if key in part:
                found += self._field(part, key, path)
        if called or (isinstance(part.get("name"), str) and ("call" in kind or "use" in kind)):
            found.append(self._call(part, called))
        for key in _CALLS:
            if key in part:
                found += self._calls(part[key])
        for key in _RESULTS:
            if key in part:
                found += self._readable(part[key])
        for key in MEDIA_KEYS:
            if key in part:
                found += self._attached(key, part[key], f"{path}.{key}")
        if _sources(part):  # of a part whose type is not one of media
            found += self._media({"source": part["source"]}, _media_kind(part, "file"), path)
        if others:
            found.append(readable(others, self.unread))
        if not found and part.get("encrypted_content"):
            self.unread["encrypted"] += 1
        return found

    def _field(self, part: dict[str, Any], key: str, path: str) -> list[str]:
        value = part[key]
        if not isinstance(value, str | list | dict) and key not in ("content", "text", "parts"):
            return list(self._readable(value))
        return self._texts(value, f"{path}.{key}")

    def _thoughts(self, part: dict[str, Any], path: str) -> list[str]:
        """Some gateways write the same thoughts into several fields."""
        found: list[str] = []
        for key in THOUGHTS:
            value = part.get(key)
            if isinstance(value, str | list | dict):
                found += [text for text in self._texts(value, f"{path}.{key}") if text and text not in found]
        return found

    def _readable(self, value: object) -> Iterable[str]:
        if isinstance(value, list) and all(isinstance(item, dict) and "type" in item for item in value):
            return self._texts(value, "")
        if isinstance(value, dict) and isinstance(value.get("type"), str):
            return self._texts(value, "")
        if isinstance(value, str):
            return self._string(value) if value else []
        return [] if value is None or value == {} or value == [] else [readable(value, self.unread)]

    def _call(self, part: dict[str, Any], called: list[str]) -> str:
        lines = [name for name in (part.get("namespace"), part.get("name")) if isinstance(name, str) and name]
        for key in called:
            if part[key] not in (None, "", {}, []):
                lines.append(readable(part[key], self.unread))
        return "\n".join(line for line in lines if line and line != "{}")

    def _calls(self, value: object) -> list[str]:
        if isinstance(value, list):
            return [text for call in value for text in self._calls(call)]
        if not isinstance(value, dict):
            return list(self._readable(value))
        inner = [text for key in _CALLS if value.get(key) for text in self._calls(value[key])]
        called = [key for key in _ARGUMENTS if key in value]
        return [*inner, self._call(value, called)] if called or not inner else inner

    def _attached(self, key: str, value: object, path: str) -> list[str]:
        if not value:
            return []
        values = value if isinstance(value, list) else [value]
        kind = next((kind for kind in ("image", "audio", "video") if kind in key), "file")
        found: list[str] = []
        for item in values:
            if isinstance(item, dict):
                found += self._media(item, _media_kind(item, kind), path)
            elif isinstance(item, str) and item.lstrip()[:1] in ("{", "["):
                found.append(readable(item, self.unread))
            else:
                self.unread[kind] += 1
        return found

    def _media(self, part: dict[str, Any], kind: str, path: str) -> list[str]:
        """The text next to or in a file: a transcript, a caption, a document of plain text."""
        found: list[str] = []
        for holder in (part, *(part[key] for key in MEDIA_KEYS if isinstance(part.get(key), dict)), *_sources(part)):
            for key in ("title", "context", "transcript", "text", "caption", "revised_prompt"):
                if isinstance(holder.get(key), str | list | dict) and holder[key]:
                    found += self._texts(holder[key], f"{path}.{key}")
            data, content = holder.get("data"), holder.get("content")
            if isinstance(data, list | dict):
                found += self._texts(data, f"{path}.data")
            if isinstance(content, list | dict):
                found += self._texts(content, f"{path}.content")
            elif isinstance(content, str) and binary_kind(content) is None and part.get("type") != "blob":
                found.append(content)
            elif (text := _plain_text(holder)) is not None:
                found.append(text)
        body = [text for text in found if text not in (part.get("title"), part.get("context"))]
        if not body or kind in ("image", "video"):
            self.unread[kind] += 1
        others = {key: value for key, value in part.items() if _says(key) and key not in _MEDIA_NAMES and value}
        return [*found, readable(others, self.unread)] if others else found


def _sources(part: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that hold the data of media; an address or a name under the same key is not one."""
    source = part.get("source")
    if isinstance(source, str) and source.lstrip()[:1] in ("{", "["):
        try:
            source = read_json(source)
        except (ValueError, BadEvent):
            return [{"content": source}]
    return [item for item in (source if isinstance(source, list) else [source]) if isinstance(item, dict)]


def _says(key: str) -> bool:
    return key not in READ_KEYS and key not in NAME_KEYS and not key.endswith(_NAME_ENDINGS)


def _media_kind(part: dict[str, Any], kind: str) -> str:
    for key in ("modality", "mimeType", "mime_type", "media_type"):
        if isinstance(part.get(key), str):
            return media_kind(part[key])
    source = part.get("source")
    return media_kind(source["media_type"]) if isinstance(source, dict) and "media_type" in source else kind


def _plain_text(holder: dict[str, Any]) -> str | None:
    """The text of a document that says it is text."""
    mime = next((holder[k] for k in ("mimeType", "mime_type", "media_type") if isinstance(holder.get(k), str)), "")
    data = holder.get("data")
    if not isinstance(data, str) or not (mime.startswith("text/") or holder.get("type") == "text"):
        return None
    if holder.get("type") == "text":
        return data
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        return data

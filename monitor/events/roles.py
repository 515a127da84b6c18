"""Roles: the names that producers give to whoever speaks, by what they mean."""

from __future__ import annotations

UNKNOWN = "unknown"
_MAX_ROLE_CHARS = 64
_MEANINGS = {
    "system": ("system", "developer", "instructions", "instruction"),
    "user": ("user", "human", "customer", "prompter", "end_user", "enduser", "guest"),
    "assistant": ("assistant", "ai", "model", "bot", "gpt", "chatgpt", "chatbot", "agent", "assistant_message", "llm"),
    "tool": ("tool", "function", "ipython", "observation", "tool_response", "tool_result", "function_call_output"),
}
_ROLES = {name: role for role, names in _MEANINGS.items() for name in names}


def known_role(value: object) -> str | None:
    """The role that `value` means, in any case: system, user, assistant or tool. None if it is none of them."""
    if not isinstance(value, str):
        return None
    name = value.strip().lower()
    # LangChain: HumanMessage, AIMessageChunk, ...
    return _ROLES.get(name) or _ROLES.get(name.removesuffix("chunk").removesuffix("message"))


def role_text(value: object) -> str:
    """A role that isn't known, as text that fits a chat template."""
    if isinstance(value, str) and 0 < len(value.strip()) <= _MAX_ROLE_CHARS:
        return value.strip()
    return UNKNOWN

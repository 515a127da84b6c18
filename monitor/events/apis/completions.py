"""Legacy completions. Mark: `choices` with `text`, or `object: text_completion`.

Source: OpenAI API reference, "The completion object".
"""

from __future__ import annotations

from monitor.events.apis.openai_chat import answers as answers
from monitor.events.apis.openai_chat import joined as joined
from monitor.events.json_object import JsonObject


def is_response(body: JsonObject) -> bool:
    """Whether a choice is text."""
    choices = body.get("choices")
    texts = isinstance(choices, list) and any(isinstance(c, dict) and isinstance(c.get("text"), str) for c in choices)
    return texts or (body.get("object") == "text_completion" and "choices" in body)

"""OpenAI chat completions, and pairs of any API whose response doesn't say which: blocked and failed calls.

Recognised by `request` or `choices` at the top level.
"""

from __future__ import annotations

from monitor.events.json_object import JsonObject
from monitor.events.pair import PairFormat


class _OpenAiChat(PairFormat):
    def recognises(self, data: JsonObject) -> bool:
        """Whether there is a request, or a response outside of a pair."""
        return "request" in data or super().recognises(data)


FORMAT = _OpenAiChat("openai")

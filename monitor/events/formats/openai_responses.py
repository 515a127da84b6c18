"""OpenAI Responses: request and response next to each other, or a response only.

Marks: those in monitor/events/apis/openai_responses.py.
"""

from __future__ import annotations

from monitor.events.pair import PairFormat

FORMAT = PairFormat("openai_responses")

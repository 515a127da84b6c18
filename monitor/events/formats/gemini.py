"""Gemini generateContent: request and response next to each other, or a response only.

Marks: those in monitor/events/apis/gemini.py.
"""

from __future__ import annotations

from monitor.events.pair import PairFormat

FORMAT = PairFormat("gemini")

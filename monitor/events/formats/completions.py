"""Legacy completions: request and response next to each other, or a response only.

Marks: those in monitor/events/apis/completions.py.
"""

from __future__ import annotations

from monitor.events.pair import PairFormat

FORMAT = PairFormat("completions")

"""Progress: which stage of how many a benchmark is at, and what it measures there."""

from __future__ import annotations

from collections.abc import Callable

Show = Callable[[str, str], None]
"""Shows a message, such as "3 of 11: short", and a detail that changes more often."""


class Progress:
    """Counts stages. Use from one thread."""

    def __init__(self, show: Show, stages: int) -> None:
        """`stages` is how often `stage` will be called."""
        self._show = show
        self._stages = stages
        self._stage = 0
        self._message = ""

    def stage(self, name: str) -> None:
        """The next stage begins."""
        self._stage += 1
        self._message = f"{self._stage} of {self._stages}: {name}"
        self._show(self._message, "")

    def detail(self, text: str) -> None:
        """The current stage measures `text`."""
        self._show(self._message, text)

"""ActivationsConfig: where the activations of events may come from, and how large they may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from monitor.config.section import Positive, Section


class ActivationsConfig(Section):
    """What is accepted of events with activations in place of text."""

    folder: Path | None = None
    """Folder of the payloads that events name; if omitted, only payloads inside the events are read."""
    max_bytes: Positive = 64 * 1024 * 1024
    """Largest payload, in bytes once decoded; larger ones are bad events."""
    wait_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Longest wait for a payload that the server is still writing."""
    rows: tuple[Path, ...] = ()
    """Files that `export-rows` wrote and servers still use; those of the sets in use are always known."""

"""DriftConfig: whether the sidecar writes snapshots for `latentwatch drift`, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from monitor.config.section import Section


class DriftConfig(Section):
    """Snapshots for `latentwatch drift`: counts and sketches of scores, without text. They need a path or a topic."""

    path: Path | None = None
    """File of snapshots; lines are appended. If path and topic are omitted, no snapshots are made."""
    topic: Annotated[str | None, Field(min_length=1)] = None
    """Topic of snapshots."""
    interval_s: Annotated[float, Field(ge=10, le=86_400)] = 3_600.0
    """Time that one snapshot covers; intervals end at multiples of it, in UTC."""
    max_groups: Annotated[int, Field(gt=0, le=1_000)] = 20
    """Most pairs of model and tenant that are counted apart in an interval; all later ones count as `other`."""

    @property
    def enabled(self) -> bool:
        """Whether snapshots are made."""
        return self.path is not None or self.topic is not None

"""AlertsConfig: what an alert carries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from monitor.config.section import Positive, Section

AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]


class AlertsConfig(Section):
    """What an alert carries."""

    capture_content: bool = False
    """Whether alerts carry text: tokens, the scored segment, the user's last turn. If false, no text is sent."""
    top_features: Positive = 8
    """Most features in one alert."""
    top_tokens: Positive = 8
    """Most tokens for one feature."""
    attributes: Annotated[tuple[AttributeName, ...], Field(max_length=4)] = ()
    """Attributes of events that alerts, spans and metrics carry, such as tenant or environment."""

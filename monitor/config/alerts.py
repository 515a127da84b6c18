"""AlertsConfig: what an alert carries."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from monitor.config.feature_url import checked_template
from monitor.config.redact import RedactConfig
from monitor.config.section import Positive, Section

AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]


class AlertsConfig(Section):
    """What an alert carries."""

    capture_content: bool = False
    """Whether alerts carry text: tokens, the scored segment, the user's last turn. If false, no text is sent."""
    top_features: Positive = 8
    """Most named features in one alert."""
    feature_url: Annotated[str | None, Field(max_length=2_048), AfterValidator(checked_template)] = None
    """Link to a feature's card: with {index}, and if needed {set}, {version}, {model}, {layer}, {sae_sha256}."""
    top_tokens: Positive = 8
    """Most tokens for one feature."""
    attributes: Annotated[tuple[AttributeName, ...], Field(max_length=4)] = ()
    """Attributes of events that alerts, spans and metrics carry, such as tenant or environment."""
    redact: RedactConfig = RedactConfig()
    """What is taken out of text before an alert carries it."""

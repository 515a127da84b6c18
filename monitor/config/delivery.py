"""DeliveryConfig: whether a consumer of alerts may see one twice."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from monitor.config.section import Section


class DeliveryConfig(Section):
    """What is promised about alerts, dead letters and offsets."""

    guarantee: Literal["at_least_once", "exactly_once"] = "at_least_once"
    """exactly_once: alerts and dead letters on Kafka are committed with the offsets in one transaction."""
    transactional_id: str | None = Field(default=None, min_length=1)
    """This instance's name in transactions; if omitted, source.group_id and the host name."""

    @property
    def exactly_once(self) -> bool:
        """Whether there are transactions."""
        return self.guarantee == "exactly_once"

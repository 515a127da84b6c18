"""DeliveryConfig: whether a consumer of alerts may see one twice."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from monitor.config.overload import OverloadConfig
from monitor.config.section import Section
from monitor.config.sinks import SinksConfig


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


def check_promises(delivery: DeliveryConfig, overload: OverloadConfig, source: str, sinks: SinksConfig) -> None:
    """Raises ValueError if another section makes a promise impossible."""
    if overload.sampling is not None and source != "kafka":
        raise ValueError("overload: needs source.kind kafka: what is skipped elsewhere can't be read later")
    if not delivery.exactly_once:
        return
    if source != "kafka":
        raise ValueError("delivery.guarantee: exactly_once needs source.kind kafka, which has transactions")
    kafka = sinks.enabled().get("kafka")
    if kafka is None or not kafka.required:
        raise ValueError("delivery.guarantee: exactly_once needs sinks.kafka, enabled and required")

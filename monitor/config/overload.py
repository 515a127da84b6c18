"""OverloadConfig: what is skipped, if anything, when events come faster than they can be read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from monitor.config.section import Section


class OverloadConfig(Section):
    """What is skipped when events come faster than they are read. By default nothing is, however late it gets."""

    sampling: float | None = Field(default=None, gt=0, le=1)
    """Share of the events that is read during an overload; if omitted, all of them."""
    lag: int | None = Field(default=None, gt=0)
    """An overload begins when this instance has so many records to read."""
    age_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """An overload begins when a record is older than this."""
    topic: Annotated[str, Field(min_length=1)] = "llm.events.skipped"
    """Topic for the offsets of skipped events, so that `replay --skipped` can read them later."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> OverloadConfig:
        begins = self.lag is not None or self.age_s is not None
        if (self.sampling is not None) != begins:
            raise ValueError("set sampling together with lag, age_s or both")
        return self

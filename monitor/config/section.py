"""Section: base of every part of the config file."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.errors import ConfigError
from monitor.yaml_file import faults

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Keys with values of one type each; unknown keys are refused. The docstring below a key describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, checked like a file. Raises ConfigError with every rule that it breaks."""
        try:
            return type(self).model_validate({**dict(self), **changes})
        except ValidationError as e:
            raise ConfigError(faults("config", e, type(self).__name__)) from None

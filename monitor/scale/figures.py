"""Figures: what `size` takes from a benchmark's result file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from monitor.errors import ConfigError

READER = "onnx_int8_confirmed"
"""What the sidecar does: int8, prefix cache, detectors, float32 near a threshold, alerts."""
_SINGLE_TURN = ("short", "long")
"""Workloads in which the prefix cache saves next to nothing, so that they show what computed tokens cost."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MeasuredMachine(_Part):
    """The machine that was measured."""

    cpu: str
    cores: PositiveInt
    load_before: float
    """Load average before the run."""
    started: str
    ceilings_gops: dict[str, float] = Field(default_factory=dict)
    """10^9 operations a second with all cores, by precision."""


class Measured(_Part):
    """One reader on one workload."""

    workload: str
    reader: str
    cpu_s_per_mtok: PositiveFloat
    """CPU seconds of all threads per million tokens."""
    peak_rss_mb: PositiveFloat
    """In 10^6 bytes."""
    events: PositiveInt
    tokens: PositiveInt

    @property
    def event_tokens(self) -> float:
        """Tokens of an event, on average."""
        return self.tokens / self.events


class Figures(_Part):
    """The part of the file that a sizing needs."""

    machine: MeasuredMachine
    results: tuple[Measured, ...]

    @classmethod
    def load(cls, path: Path) -> Figures:
        """Raises ConfigError if the file is not what `latentwatch bench --json` writes."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as e:
            raise ConfigError(f"--machine: {path}: cannot be read: {e.strerror}") from None
        except ValidationError as e:
            found = ((".".join(map(str, error["loc"])) or "$", error["msg"]) for error in e.errors())
            raise ConfigError(
                f"--machine: {path}: {key}: {reason}; name a file that `latentwatch bench --json` wrote"
                for key, reason in found
            ) from None

    def of_reader(self, name: str) -> list[Measured]:
        """The single-turn results of that reader, shortest events first. Raises ConfigError if there are none."""
        found = [row for row in self.results if row.reader == name and row.workload in _SINGLE_TURN]
        if not found:
            known = sorted({row.reader for row in self.results if row.workload in _SINGLE_TURN})
            raise ConfigError(
                f"--reader: {name} was not measured on the workloads short or long; "
                f"choose from {', '.join(known) or 'nothing'}, or measure it with `latentwatch bench --readers {name}`"
            )
        return sorted(found, key=lambda row: row.event_tokens)

    def peak_mb(self, name: str) -> float:
        """Peak memory of that reader on any workload, in 10^6 bytes. It must have been measured."""
        return max(row.peak_rss_mb for row in self.results if row.reader == name)


def cpu_s_per_mtok(rows: Sequence[Measured], event_tokens: float) -> float:
    """CPU seconds per million tokens of events of that length. `rows` are not empty, shortest events first.

    Attention makes a token's cost grow in proportion to the tokens before it, so this follows the line through the
    shortest and the longest events that were measured. Events shorter than those cost what those cost.
    """
    first, last = rows[0], rows[-1]
    span = last.event_tokens - first.event_tokens
    if span <= 0:
        return max(row.cpu_s_per_mtok for row in rows)
    slope = max(0.0, last.cpu_s_per_mtok - first.cpu_s_per_mtok) / span
    return first.cpu_s_per_mtok + slope * max(0.0, event_tokens - first.event_tokens)

"""HookColumns: the latents and probes that a reader gives at one hook point."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.sets.probe import Probe


@dataclass(frozen=True)
class HookColumns:
    """The columns of one hook point: `latents` of its SAE, followed by `probes`."""

    latents: tuple[int, ...]
    probes: tuple[Probe, ...] = ()

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.latents) + len(self.probes)

    @property
    def names(self) -> tuple[int | str, ...]:
        """Indices of the latents, then hashes of the probes."""
        return (*self.latents, *(probe.sha256 for probe in self.probes))

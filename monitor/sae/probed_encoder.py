"""ProbedEncoder: SAE activations followed by the projections on probes, computed with torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monitor.sae.encoder import CuratedEncoder
from monitor.sets.probe import Probe, stacked


class ProbedEncoder:
    """Maps the residual stream [token, d] to [token, feature + probe], both float32."""

    def __init__(self, encoder: CuratedEncoder, probes: Sequence[Probe], d: int) -> None:
        """Raises ConfigError if a probe is not for width `d`."""
        directions, offsets = stacked(probes, d)
        self._encoder = encoder
        self._directions = torch.from_numpy(directions).to(encoder.device)
        self._offsets = torch.from_numpy(offsets).to(encoder.device)

    @torch.inference_mode()
    def __call__(self, residual: Tensor) -> Tensor:
        projections = torch.addmm(self._offsets, residual.float(), self._directions)  # [token, probe]
        return torch.cat([self._encoder(residual), projections], dim=1)

"""SetReading: a feature set's score of a text, from the activations at its hook point, changed or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.matching import Matcher, SegmentActivations
from detectors.score import Score
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.probed_encoder import ProbedEncoder
from monitor.sae.weights import SaeWeights
from monitor.sets.load import LoadedSet
from monitor.tokens.tokeniser import Tokenised


class SetReading:
    """Scores texts as the sidecar does, in whatever language."""

    def __init__(self, loaded: LoadedSet, sae: SaeWeights, d_model: int, device: str | torch.device = "cpu") -> None:
        """Raises ConfigError if the set's probe is for another width than `d_model`."""
        self.loaded = loaded
        used, ref = loaded.set, loaded.shipped.reader
        latents = CuratedEncoder(sae, used.indices(), ref.sae.activation_basis, device)
        probes = [] if loaded.probe is None else [loaded.probe]
        self._encoder = ProbedEncoder(latents, probes, d_model)
        self._device = latents.device
        self._matcher = Matcher(used)
        self._max_norm = ref.max_norm
        self._column = {index: column for column, index in enumerate(used.indices())}
        self._probe = None if loaded.probe is None else torch.from_numpy(loaded.probe.direction)

    def score(
        self, item: Tokenised, residual: Tensor, ablated: Sequence[int] = (), change: Tensor | None = None
    ) -> Score | None:
        """The score of a text with activations `residual` [token, d]; None if the set sees nothing of it.

        With the latents `ablated` at 0, and the probe moved by `change` [token, d], which is what the ablation adds to
        the residual stream. The other latents stay as they are, as they do in the decomposition.
        """
        values: NDArray[np.float32] = self._encoder(residual.to(self._device)).cpu().numpy().copy()
        for latent in ablated:
            if latent in self._column:
                values[:, self._column[latent]] = 0
        if change is not None and self._probe is not None:
            values[:, -1] += (change.cpu() @ self._probe).numpy()
        if self._max_norm is not None:
            values[(residual.norm(dim=1) > self._max_norm).cpu().numpy()] = 0
        segments = [
            SegmentActivations(segment.name, segment.index, values[rows])
            for segment, rows in zip(item.segments, item.rows, strict=True)
        ]
        best = self._matcher.best(segments)
        return None if best is None else best[1]

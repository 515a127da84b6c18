"""TorchReader: any transformers causal LM, cut after the hook layer, and the curated rows of its SAE."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.feature_set import HookName
from monitor.readers.batches import token_budgeted
from monitor.readers.cut_model import CutModel, TorchPrecision
from monitor.readers.reader import Chunk


@dataclass(frozen=True)
class TorchPast:
    """Keys and values of one sequence that was read."""

    cache: Any
    length: int


class TorchReader:
    """Reads chunks with torch: the reference for correctness, and the reader for GPUs.

    Chunks that continue the same past share batches.
    """

    def __init__(
        self,
        folder: Path,
        layer: int,
        encoder: Callable[[Tensor], Tensor],
        *,
        device: str = "cpu",
        dtype: TorchPrecision = "float32",
        batch_tokens: int = 4096,
        max_norm: float | None = None,
        threads: int = 0,
        hook: HookName = "resid_post",
    ) -> None:
        """`encoder` maps the hook point [token, d] to activations [token, feature]; it is usually a CuratedEncoder.

        The other arguments are those of CutModel, and raise as it does.
        """
        self._encoder = encoder
        self._batch_tokens = batch_tokens
        self._max_norm = max_norm
        self._layer = layer
        self._model = CutModel(folder, (layer,), precision=dtype, device=device, threads=threads, hook=hook)

    @property
    def max_tokens(self) -> int | None:
        return self._model.max_tokens

    @property
    def cached_tokens(self) -> int:
        return 0

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self._model.d_model

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        results: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(chunks)
        by_past: dict[int, list[int]] = {}
        for position, chunk in enumerate(chunks):
            by_past.setdefault(id(chunk.past), []).append(position)
        for positions in by_past.values():
            for batch in token_budgeted([chunks[p].tokens.size for p in positions], self._batch_tokens):
                members = [positions[b] for b in batch]
                for position, activations in zip(members, self._read_batch([chunks[p] for p in members]), strict=True):
                    results[position] = activations
        return results

    def prefill(self, tokens: NDArray[np.int32]) -> TorchPast:
        cache = self._model.new_cache()
        ids = torch.from_numpy(tokens.astype(np.int64)).unsqueeze(0).to(self._model.device)
        with torch.inference_mode():
            self._model.residuals(ids, past_key_values=cache, use_cache=True)
        return TorchPast(cache, int(tokens.size))

    @torch.inference_mode()
    def _read_batch(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        lengths = [chunk.tokens.size for chunk in chunks]
        width = max(lengths)
        ids = torch.zeros((len(chunks), width), dtype=torch.long)
        for row, chunk in enumerate(chunks):
            ids[row, : chunk.tokens.size] = torch.from_numpy(chunk.tokens.astype(np.int64))
        residual = self._run(ids.to(self._model.device), chunks[0].past)  # [chunk, token, d]
        real = torch.arange(width) < torch.tensor(lengths)[:, None]  # [chunk, token]
        flat = residual[real.to(self._model.device)].float()  # [token, d]
        activations = self._encoder(flat)  # [token, feature]
        if self._max_norm is not None:
            # massive activations (Sun et al. 2024) lie far outside what the SAE was trained on
            activations[flat.norm(dim=1) > self._max_norm] = 0
        return list(np.split(activations.cpu().numpy(), np.cumsum(lengths)[:-1]))

    def _run(self, ids: Tensor, past: Any) -> Tensor:
        cache = None
        if isinstance(past, TorchPast):
            cache = copy.deepcopy(past.cache)  # the model appends to it
            cache.batch_repeat_interleave(ids.shape[0])
        # Padding needs no mask: it comes after the text, and a causal model's tokens never look ahead
        return self._model.residuals(ids, past_key_values=cache, use_cache=cache is not None)[self._layer]

"""TorchReader: any transformers causal LM, cut after the hook layer, and the curated rows of its SAE."""

from __future__ import annotations

import copy
import logging
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

log = logging.getLogger(__name__)

# How far a text after a past may be from the text read as a whole, as a share of its length
_TOLERANCES: dict[TorchPrecision, float] = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.05}


@dataclass(frozen=True)
class TorchPast:
    """One sequence that was read: its keys and values, or its tokens [token] if the model does not keep a past."""

    cache: Any
    tokens: NDArray[np.int32]

    @property
    def length(self) -> int:
        return int(self.tokens.size)


@dataclass(frozen=True)
class TorchHook:
    """A hook point, and what maps its activations [token, d] to columns [token, feature]."""

    layer: int
    encoder: Callable[[Tensor], Tensor]
    hook: HookName = "resid_post"
    max_norm: float | None = None

    @property
    def point(self) -> tuple[int, HookName]:
        """Block and place in it."""
        return self.layer, self.hook

    def columns(self, flat: Tensor) -> Tensor:
        """[token, feature] of the activations `flat` [token, d] at the hook point."""
        activations = self.encoder(flat)
        if self.max_norm is not None:
            # massive activations (Sun et al. 2024) lie far outside what the SAE was trained on
            activations[flat.norm(dim=1) > self.max_norm] = 0
        return activations


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
        further: Sequence[TorchHook] = (),
    ) -> None:
        """`encoder` maps the hook point [token, d] to activations [token, feature]; it is usually a CuratedEncoder.

        `further` are hook points that are read in the same pass; their columns follow.
        The other arguments are those of CutModel, and raise as it does.
        """
        self._hooks = (TorchHook(layer, encoder, hook, max_norm), *further)
        self._batch_tokens = batch_tokens
        self._model = CutModel(
            folder,
            (layer,),
            precision=dtype,
            device=device,
            threads=threads,
            hook=hook,
            further=[of.point for of in further],
        )
        self._keeps_past = self._continues(_TOLERANCES[dtype])
        if not self._keeps_past:
            log.info("%s: its architecture keeps no past, so shared prefixes are read again with every text", folder)

    @property
    def max_tokens(self) -> int | None:
        return self._model.max_tokens

    @property
    def cached_tokens(self) -> int:
        return 0

    @property
    def vocabulary(self) -> int:
        """Tokens that have an embedding."""
        return self._model.vocabulary

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
        return TorchPast(self._cache_of(tokens) if self._keeps_past else None, tokens)

    def _cache_of(self, tokens: NDArray[np.int32]) -> Any:
        cache = self._model.new_cache()
        with torch.inference_mode():
            self._model.residuals(self._ids([tokens]), past_key_values=cache, use_cache=True)
        return cache

    def _continues(self, tolerance: float) -> bool:
        """Whether the model reads a text after a cached past as it reads both together.

        Recurrent and hybrid models do not, or only in ways of their own. Some ignore the cache without an error.
        """
        tokens = np.arange(1, 13, dtype=np.int32) % max(self._model.vocabulary, 1)
        start, rest = tokens[:8], tokens[8:]
        point = self._hooks[0].point
        whole = self._run(self._ids([tokens, tokens]), None)[point][:, start.size :].float()
        try:
            found = self._run(self._ids([rest, rest]), TorchPast(self._cache_of(start), start))[point].float()
        except Exception:  # noqa: BLE001 - a cache that the model cannot use fails anywhere
            return False
        return bool((found - whole).norm() <= tolerance * whole.norm())

    @torch.inference_mode()
    def _read_batch(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        past = chunks[0].past
        # tokens of a past that the model does not keep come first in every row
        again = past.tokens if isinstance(past, TorchPast) and past.cache is None else np.empty(0, np.int32)
        lengths = [chunk.tokens.size for chunk in chunks]
        rows = self._ids([np.concatenate([again, chunk.tokens]) for chunk in chunks])
        found = self._run(rows, past)
        real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]  # [chunk, token]
        real = real.to(self._model.device)
        # of each hook point, the activations [chunk, token, d] of the real tokens as [token, d]
        parts = [of.columns(found[of.point][:, again.size :][real].float()) for of in self._hooks]
        activations = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)  # [token, feature]
        return list(np.split(activations.cpu().numpy(), np.cumsum(lengths)[:-1]))

    def _ids(self, texts: Sequence[NDArray[np.int32]]) -> Tensor:
        """The texts as rows [text, token], filled up with 0."""
        ids = torch.zeros((len(texts), max(text.size for text in texts)), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.size] = torch.from_numpy(text.astype(np.int64))
        return ids.to(self._model.device)

    @torch.inference_mode()
    def _run(self, ids: Tensor, past: Any) -> dict[tuple[int, HookName], Tensor]:
        # Padding needs no mask: it comes after the text, and a causal model's tokens never look ahead
        if not isinstance(past, TorchPast) or past.cache is None:
            return self._model.activations(ids, use_cache=False)
        cache = copy.deepcopy(past.cache)  # the model appends to it
        cache.batch_repeat_interleave(ids.shape[0])
        return self._model.activations(ids, past_key_values=cache, use_cache=True)

"""SteeredModel: a whole causal LM whose activations at one hook point can be edited, each text in its own way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig

from detectors.feature_set import HookName
from monitor.errors import ConfigError
from monitor.lab.reading.causal_model import load_causal_model
from monitor.lab.steering.edit import Edit
from monitor.readers.batches import token_budgeted
from monitor.readers.cut_model import TorchPrecision
from monitor.readers.residual_hook import hook_residual, text_blocks

Ids = NDArray[np.int32]
_TOKENS = 2_048
"""Tokens at once; each needs the logits of the whole vocabulary."""


class _AtHookError(Exception):
    """Ends a forward pass from inside, because all that is wanted has been read."""


@dataclass(frozen=True)
class GenerationSettings:
    """How texts are written."""

    tokens: int = 60
    """Most tokens of a text."""
    stop: tuple[int, ...] = ()
    """Tokens that end a text; they are not part of it."""
    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    seed: int = 0


@dataclass(frozen=True)
class TextReading:
    """A text as the model reads it without any edit."""

    residual: Tensor  # [token, d]
    log_probs: Tensor  # [token]
    """Of each token, given those before it, in nats; NaN of the first one."""


class SteeredModel:
    """Runs the model with one edit a row. Tokens with a longer residual than `max_norm` are never edited."""

    def __init__(
        self,
        folder: Path,
        layer: int,
        *,
        hook: HookName = "resid_post",
        max_norm: float | None = None,
        precision: TorchPrecision = "float32",
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        """`folder` is in transformers layout. Raises ConfigError if no causal LM with that layer can be loaded."""
        self._model = load_causal_model(folder, precision=precision, device=device, threads=threads)
        config = self._model.config.get_text_config()
        if layer >= config.num_hidden_layers:
            raise ConfigError(f"{folder}: no layer {layer}: the model has {config.num_hidden_layers}")
        blocks = text_blocks(self._model, config.num_hidden_layers)
        hook_residual(blocks[layer], self._seen, hook)
        self.device: torch.device = self._model.device
        self.d_model = int(config.hidden_size)
        """Width of the residual stream."""
        self.max_tokens: int | None = getattr(config, "max_position_embeddings", None)
        """The longest text that the model was built for, or None."""
        self._max_norm = max_norm
        self._edits: Sequence[Edit | None] = ()
        self._kept: Tensor | None = None
        self._stops = False

    @torch.inference_mode()
    def read(self, texts: Sequence[Ids]) -> list[TextReading]:
        """Every text [token] without an edit."""
        found: list[TextReading | None] = [None] * len(texts)
        for rows in token_budgeted([text.size for text in texts], _TOKENS):
            ids = self._rows([texts[row] for row in rows])
            logits = self._logits(ids, ())
            for n, row in enumerate(rows):
                size = texts[row].size
                residual = self._residual()[n, :size].float().cpu()
                found[row] = TextReading(residual, _of_tokens(logits[n, :size], ids[n, :size]))
        return [reading for reading in found if reading is not None]

    @torch.inference_mode()
    def residuals(self, texts: Sequence[Ids]) -> list[Tensor]:
        """Only the activations [token, d] at the hook point, for each text [token]."""
        found = [torch.empty(0)] * len(texts)
        for rows in token_budgeted([text.size for text in texts], _TOKENS):
            self._stops = True
            try:
                self._model.get_decoder()(input_ids=self._rows([texts[row] for row in rows]), use_cache=False)
            except _AtHookError:
                pass
            finally:
                self._stops = False
            for n, row in enumerate(rows):
                found[row] = self._residual()[n, : texts[row].size].float().cpu()
        return found

    @torch.inference_mode()
    def log_probs(self, text: Ids, edits: Sequence[Edit | None]) -> Tensor:
        """[edit, token] Of each token of one text [token], given those before it, under each edit; the first is NaN."""
        return torch.cat([self._each(text, part, _of_tokens) for part in self._parts(text, edits)])

    @torch.inference_mode()
    def divergence(self, text: Ids, first: int, edits: Sequence[Edit | None]) -> list[float]:
        """KL divergence in nats from the predictions without an edit to those under each edit.

        A mean over the predictions of the tokens from `first` on.
        """
        if first >= text.size:
            return [math.nan] * len(edits)
        plain = self._logits(self._rows([text]), ())[0, first - 1 : -1].float().log_softmax(-1)  # [token, vocabulary]

        def of(logits: Tensor, _: Tensor) -> Tensor:
            edited = logits[first - 1 : -1].float().log_softmax(-1)
            return (plain.exp() * (plain - edited)).sum(-1).mean()[None].cpu()

        return [v for part in self._parts(text, edits) for v in self._each(text, part, of)[:, 0].tolist()]

    @torch.inference_mode()
    def generate(self, prompt: Ids, edits: Sequence[Edit | None], settings: GenerationSettings) -> list[Ids]:
        """What the model writes after `prompt` [token], one text for each edit, which holds for the prompt, too."""
        ids = self._rows([prompt]).repeat(len(edits), 1)
        how = GenerationConfig(
            max_new_tokens=settings.tokens,
            do_sample=settings.temperature > 0,
            temperature=settings.temperature or None,
            eos_token_id=list(settings.stop) or None,
            pad_token_id=settings.stop[0] if settings.stop else 0,
        )
        self._edits = edits
        try:
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(settings.seed)
                done = self._model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)
        finally:
            self._edits = ()
        return [_until(row[prompt.size :].cpu().numpy().astype(np.int32), settings.stop) for row in done]

    def _parts(self, text: Ids, edits: Sequence[Edit | None]) -> list[Sequence[Edit | None]]:
        size = max(1, _TOKENS // max(text.size, 1))
        return [edits[start : start + size] for start in range(0, len(edits), size)]

    def _each(self, text: Ids, edits: Sequence[Edit | None], figure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        ids = self._rows([text] * len(edits))
        logits = self._logits(ids, edits)
        return torch.stack([figure(logits[n], ids[n]) for n in range(len(edits))])

    def _logits(self, ids: Tensor, edits: Sequence[Edit | None]) -> Tensor:
        """[row, token, vocabulary]"""
        self._edits = edits
        try:
            found: Tensor = self._model(input_ids=ids, use_cache=False).logits
        finally:
            self._edits = ()
        return found

    def _rows(self, texts: Sequence[Ids]) -> Tensor:
        """The texts as rows [text, token]; what fills them up comes last, where no token of a causal model looks."""
        ids = torch.zeros((len(texts), max(text.size for text in texts)), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.size] = torch.from_numpy(text.astype(np.int64))
        return ids.to(self.device)

    def _residual(self) -> Tensor:
        if self._kept is None:
            raise RuntimeError("the hook layer did not run")
        return self._kept

    def _seen(self, residual: Tensor) -> Tensor | None:
        if not any(edit is not None for edit in self._edits):
            self._kept = residual
            if self._stops:
                raise _AtHookError  # the layers above are half of the work
            return None
        changed = residual.clone()
        for row, edit in enumerate(self._edits):
            if edit is None:
                continue
            x = residual[row].float()  # [token, d]
            change = edit(x)
            if self._max_norm is not None:
                # massive activations lie far outside what the SAE was trained on
                change = change * (x.norm(dim=1, keepdim=True) <= self._max_norm)
            changed[row] = (x + change).to(residual.dtype)
        return changed


def _of_tokens(logits: Tensor, ids: Tensor) -> Tensor:
    """[token] The log-probability of each token, from `logits` [token, vocabulary]."""
    found = torch.full((ids.shape[0],), math.nan)
    if ids.shape[0] > 1:
        log_probs = logits[:-1].float().log_softmax(-1)
        found[1:] = log_probs.gather(1, ids[1:, None])[:, 0].cpu()
    return found


def _until(text: Ids, stop: Sequence[int]) -> Ids:
    ends = np.flatnonzero(np.isin(text, stop))
    return text[: int(ends[0])] if ends.size else text

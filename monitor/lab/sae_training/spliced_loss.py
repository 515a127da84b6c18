"""SplicedLoss: how much a model's next-token loss rises when an SAE's reconstruction replaces its residual stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monitor.lab.reading.causal_model import load_causal_model
from monitor.lab.sae_training.packed_reader import stacked
from monitor.lab.sae_training.packing import PackedRow
from monitor.readers.cut_model import TorchPrecision, usable_device
from monitor.readers.residual_hook import hook_residual, text_blocks

_TOKENS = 1_024  # tokens at once; each needs the logits of the whole vocabulary
_VARIANTS = ("clean", "sae", "zero", "mean")


class SplicedLoss:
    """The whole model, with the output of one block replaced at the tokens that count."""

    def __init__(
        self,
        folder: Path,
        layer: int,
        *,
        precision: TorchPrecision = "bfloat16",
        device: str = "cpu",
        max_norm: float | None = None,
        threads: int = 0,
    ) -> None:
        """`folder` is in transformers layout. Raises ConfigError if no causal LM can be loaded from it."""
        self._max_norm = max_norm
        self._model = load_causal_model(folder, precision=precision, device=device, threads=threads)
        self._device = usable_device(device)
        blocks = text_blocks(self._model, self._model.config.get_text_config().num_hidden_layers)
        hook_residual(blocks[layer], self._spliced)
        self._counts: Tensor | None = None
        self._replace: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def measure(
        self,
        rows: Iterable[PackedRow],
        reconstruct: Callable[[Tensor], Tensor],
        mean: Tensor,
        tokens: int | None = None,
    ) -> dict[str, Any]:
        """Mean next-token cross-entropy in nats: clean, and with `reconstruct` [token, d], zeros or `mean` [d] instead.

        Only tokens that count are replaced, and only predictions at those tokens (of the next token in the same piece)
        are scored. Stops after about `tokens` predictions. The recovered share is 1 for no harm and 0 for as much harm
        as ablation: (CE_ablated - CE_sae) / (CE_ablated - CE_clean). It is None if ablation does no harm.
        """
        fill = mean.to(self._device)
        replacements: dict[str, Callable[[Tensor], Tensor] | None] = {
            "clean": None,
            "sae": lambda residual: reconstruct(residual).to(residual),
            "zero": torch.zeros_like,
            "mean": lambda residual: fill.to(residual).expand_as(residual),
        }
        sums = dict.fromkeys(_VARIANTS, 0.0)
        scored = 0
        for group in _groups(rows):
            ids, positions, counts = stacked(group, self._device)
            follows = positions[:, 1:] == positions[:, :-1] + 1  # the next token belongs to the same piece
            predicts = counts[:, :-1] & follows
            if not bool(predicts.any()):
                continue
            for name in _VARIANTS:
                sums[name] += self._loss(ids, positions, counts, predicts, replacements[name])
            scored += int(predicts.sum())
            if tokens is not None and scored >= tokens:
                break
        if not scored:
            return {"tokens": 0}
        ce = {f"ce_{name}": total / scored for name, total in sums.items()}
        return {"tokens": scored, **ce, **_recovered(ce)}

    def _loss(
        self,
        ids: Tensor,
        positions: Tensor,
        counts: Tensor,
        predicts: Tensor,
        replace: Callable[[Tensor], Tensor] | None,
    ) -> float:
        """Summed cross-entropy of the predictions marked in `predicts` [row, token - 1]."""
        self._counts, self._replace = counts, replace
        try:
            logits = self._model(input_ids=ids, position_ids=positions, use_cache=False).logits  # [row, token, vocab]
        finally:
            self._counts = self._replace = None
        return float(
            torch.nn.functional.cross_entropy(logits[:, :-1][predicts].float(), ids[:, 1:][predicts], reduction="sum")
        )

    def _spliced(self, residual: Tensor) -> Tensor | None:
        """`residual` [row, token, d] with the replacement at the tokens that count."""
        if self._replace is None or self._counts is None:
            return None
        where = self._counts
        if self._max_norm is not None:
            where = where & (residual.float().norm(dim=2) <= self._max_norm)
        spliced = residual.clone()
        spliced[where] = self._replace(residual[where])
        return spliced


def _recovered(ce: dict[str, float]) -> dict[str, float | None]:
    def share(ablated: float) -> float | None:
        harm = ablated - ce["ce_clean"]
        return (ablated - ce["ce_sae"]) / harm if harm > 0 else None

    return {"ce_recovered": share(ce["ce_zero"]), "ce_recovered_from_mean": share(ce["ce_mean"])}


def _groups(rows: Iterable[PackedRow]) -> Iterator[list[PackedRow]]:
    stream = iter(rows)
    for first in stream:
        yield [first, *islice(stream, max(_TOKENS // first.ids.size - 1, 0))]

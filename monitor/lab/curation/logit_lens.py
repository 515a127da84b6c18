"""Logit lens: the tokens that a latent's decoder row makes more or less likely, as if the model ended there.

Source: nostalgebraist, "interpreting GPT: the logit lens" (2020); the row d of a latent goes through the gain g of the
model's final norm and the unembedding U: logits = U (g * d). The norm's division is skipped because it
doesn't change the order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

SHOWN = 12
_ROWS_AT_ONCE = 16_384
_NORMS = ("model.norm", "model.language_model.norm", "language_model.model.norm", "transformer.ln_f",
          "gpt_neox.final_layer_norm", "model.final_layernorm")  # fmt: skip
_UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight", "language_model.lm_head.weight")
_EMBEDDINGS = ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight",
               "language_model.model.embed_tokens.weight", "transformer.wte.weight")  # fmt: skip


@dataclass(frozen=True)
class LensTokens:
    """Tokens (text, logit), with the most promoted and the most demoted first."""

    promoted: tuple[tuple[str, float], ...]
    demoted: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class NotAvailable:
    """Why there is no logit lens."""

    reason: str


def logit_lens(model_folder: Path, tokenizer_file: Path, decoder: Tensor | None) -> list[LensTokens] | NotAvailable:
    """The tokens of rows of a `decoder` [latent, d]; NotAvailable if it or the model lack the weights, or don't fit."""
    if decoder is None:
        return NotAvailable("the SAE has no decoder")
    try:
        weights = _Weights(model_folder)
        norm = next((name for name in _NORMS if f"{name}.weight" in weights), None)
        table = next((name for name in _UNEMBEDDINGS if name in weights), None)
        if table is None and weights.tied:
            table = next((name for name in _EMBEDDINGS if name in weights), None)
        if norm is None or table is None:
            return NotAvailable(f"the model folder has no {'final norm' if norm is None else 'unembedding'}")
        gain = weights.whole(f"{norm}.weight")
        if f"{norm}.bias" in weights:  # a LayerNorm, which subtracts the mean
            decoder = decoder - decoder.mean(dim=1, keepdim=True)
        if weights.model_type.startswith("gemma"):  # Gemma stores the gain minus 1
            gain = gain + 1
        if decoder.shape[1] != gain.shape[0]:
            return NotAvailable(f"the SAE has width {decoder.shape[1]}, the model's final norm {gain.shape[0]}")
        logits = weights.products(table, decoder * gain)  # [latent, vocabulary]
    except (OSError, ValueError, SafetensorError) as e:
        return NotAvailable(f"weights could not be read: {e}")
    return _words(logits, Tokenizer.from_file(str(tokenizer_file)))


class _Weights:
    """The tensors of a model folder, read one at a time."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text = config.get("text_config") or config
        self.tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", True)))
        self.model_type = str(config.get("model_type", ""))
        self._file_of: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                self._file_of |= dict.fromkeys(file.keys(), path)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def whole(self, name: str) -> Tensor:
        """A tensor in float32."""
        with safe_open(self._file_of[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name).float()
            return tensor

    def products(self, name: str, rows: Tensor) -> Tensor:
        """`rows` [n, d] times the transposed table `name` [vocabulary, d], read in pieces: [n, vocabulary]."""
        with safe_open(self._file_of[name], framework="pt") as file:
            table = file.get_slice(name)
            size = int(table.get_shape()[0])
            parts = [rows @ table[at : at + _ROWS_AT_ONCE].float().T for at in range(0, size, _ROWS_AT_ONCE)]
        return torch.cat(parts, dim=1)


def _words(logits: Tensor, tokenizer: Tokenizer) -> list[LensTokens]:
    known = torch.tensor([i for i in range(logits.shape[1]) if tokenizer.id_to_token(i) is not None])
    logits = logits[:, known]
    shown = min(SHOWN, known.numel())

    def side(row: Tensor, largest: bool) -> tuple[tuple[str, float], ...]:
        values, places = row.topk(shown, largest=largest)
        return tuple((_word(tokenizer, int(known[p])), float(v)) for p, v in zip(places, values, strict=True))

    return [LensTokens(side(row, True), side(row, False)) for row in logits]


def _word(tokenizer: Tokenizer, token: int) -> str:
    text: str = tokenizer.decode([token], skip_special_tokens=False)
    if not text or "\ufffd" in text:  # only a part of a character
        return str(tokenizer.id_to_token(token))
    return text

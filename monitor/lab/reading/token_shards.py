"""TokenShard: the active latents of every token of a few rows, stored so that each text is read only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.row_cache import RowCache, load_arrays, save_arrays
from monitor.readers.windows import WindowReader
from monitor.sae.encoder import CuratedEncoder
from monitor.tokens.tokeniser import EventTokeniser, Tokenised

SHARD_ROWS = 64
_TOKENS_AT_ONCE = 2_048
_LAYOUT = "token shard 1"


@dataclass(frozen=True)
class TokenShard:
    """One entry for each non-empty segment of each row; tokens are in the order of the entries.

    `row` [entry] counts from the shard's first row, `turn` [entry] is the position in the conversation, and `tokens`
    [entry] the number of tokens. `start` and `end` [token] are character offsets in the turn's text. `latent`, `token`
    and `value` [active] are the activations that are not 0, sorted by latent, then by token.
    """

    row: NDArray[np.int64]
    segment: NDArray[np.str_]
    turn: NDArray[np.int64]
    tokens: NDArray[np.int64]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    latent: NDArray[np.int32]
    token: NDArray[np.int32]
    value: NDArray[np.float32]

    @cached_property
    def entry(self) -> NDArray[np.int64]:
        """[token] The entry that the token belongs to."""
        return np.repeat(np.arange(self.tokens.size), self.tokens)

    def active(self, first: int, last: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """`latent`, `token` and `value` of the latents [first, last)."""
        low, high = np.searchsorted(self.latent, [first, last])
        return self.latent[low:high], self.token[low:high], self.value[low:high]

    def save(self, path: Path) -> None:
        """Writes the shard."""
        save_arrays(path, self)

    @classmethod
    def load(cls, path: Path) -> TokenShard:
        """Reads a shard. Raises ConfigError if the file is damaged."""
        return load_arrays(path, cls)


class ShardReader:
    """Reads rows into shards as the sidecar would: with the same template, windows and tokens."""

    def __init__(
        self,
        *,
        reader: WindowReader,
        d_model: int,
        encoder: CuratedEncoder,
        tokeniser: EventTokeniser,
        max_norm: float | None,
        key: str,
        folder: Path,
        latents: NDArray[np.int32] | None = None,
    ) -> None:
        """`reader` returns the residual stream [token, d_model], `encoder` all latents, or `latents` in rising order.

        Shards are stored in `folder`, and no text is read twice; `key` names model, SAE and precision.
        """
        self._reader = reader
        self._d_model = d_model
        self._encoder = encoder
        self._tokeniser = tokeniser
        self._max_norm = max_norm
        self._latents = latents
        self._cache = RowCache(folder, f"{_LAYOUT}\n{key}", "tokens-")

    def read(self, rows: Sequence[LabelledRow], progress: Callable[[int], None] = lambda _: None) -> list[Path]:
        """The shards of `rows`, SHARD_ROWS rows each."""
        files = []
        for start in range(0, len(rows), SHARD_ROWS):
            group = rows[start : start + SHARD_ROWS]
            file = self._cache.file(group)
            if not file.is_file():
                self._shard(group).save(file)
            files.append(file)
            progress(len(group))
        return files

    def _shard(self, rows: Sequence[LabelledRow]) -> TokenShard:
        items = self._tokeniser.tokenise([row.event(n) for n, row in enumerate(rows)])
        entries = [(n, turn) for n, item in enumerate(items) for turn, tokens in enumerate(item.rows) if tokens.size]
        spans = [_spans(items[n], turn) for n, turn in entries]
        residuals = [values for values, _ in self._reader.read([item.ids for item in items], self._d_model)]
        empty = np.zeros((0, self._d_model), np.float32)
        flat = np.concatenate([empty, *(residuals[n][items[n].rows[turn]] for n, turn in entries)])  # [token, d]
        latent, token, value = self._active(flat)
        return TokenShard(
            row=np.array([n for n, _ in entries], dtype=np.int64),
            segment=np.array([items[n].segments[turn].name for n, turn in entries], dtype=np.str_),
            turn=np.array([turn for _, turn in entries], dtype=np.int64),
            tokens=np.array([items[n].rows[turn].size for n, turn in entries], dtype=np.int64),
            start=np.array([first for span in spans for first, _ in span], dtype=np.int32),
            end=np.array([last for span in spans for _, last in span], dtype=np.int32),
            latent=latent,
            token=token,
            value=value,
        )

    @torch.inference_mode()
    def _active(
        self, residual: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """`latent`, `token` and `value` of `residual` [token, d]; none for tokens with massive activations."""
        latents, tokens, values = [], [], []
        for start in range(0, residual.shape[0], _TOKENS_AT_ONCE):
            part = torch.from_numpy(residual[start : start + _TOKENS_AT_ONCE]).to(self._encoder.device)
            acts = self._encoder(part)  # [token, s]
            if self._max_norm is not None:
                acts[torch.linalg.vector_norm(part, dim=1) > self._max_norm] = 0
            token, latent = acts.nonzero(as_tuple=True)
            latents.append(latent.cpu().numpy().astype(np.int32))
            tokens.append(token.cpu().numpy().astype(np.int32) + np.int32(start))
            values.append(acts[token, latent].cpu().numpy())
        if not latents:
            return np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)
        latent_of, token_of = np.concatenate(latents), np.concatenate(tokens)
        if self._latents is not None:
            latent_of = self._latents[latent_of]
        order = np.lexsort((token_of, latent_of))
        return latent_of[order], token_of[order], np.concatenate(values)[order]


def _spans(item: Tokenised, turn: int) -> list[tuple[int, int]]:
    segment = item.segments[turn]
    return [segment.own_span(int(item.starts[token]), int(item.ends[token])) for token in item.rows[turn]]

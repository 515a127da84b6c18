"""SegmentTable: all latents and the residual stream of many rows, pooled over each segment and cached on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.pooling import Pooling
from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.row_cache import RowCache, load_arrays, save_arrays
from monitor.readers.windows import WindowReader
from monitor.sae.encoder import CuratedEncoder
from monitor.tokens.tokeniser import EventTokeniser

_GROUP = 64
_TOKENS_AT_ONCE = 2_048


@dataclass(frozen=True)
class SegmentTable:
    """One entry for each non-empty segment of each row, or for each window of the long ones.

    `latents` [entry, s] are mean SAE activations over the entry's tokens, `residual` [entry, d] the mean residual
    stream, and `tokens` [entry] the number of tokens. `row` [entry], `segment` [entry] and `turn` [entry] (the
    position in the conversation, from 0) say which segment it is.
    """

    row: NDArray[np.int64]
    segment: NDArray[np.str_]
    turn: NDArray[np.int64]
    tokens: NDArray[np.int32]
    latents: NDArray[np.float16]
    residual: NDArray[np.float32]


# one entry: row, segment, turn, tokens, latents [s], residual [d]
_Entry = tuple[int, str, int, int, NDArray[np.float16], NDArray[np.float32]]
# the parts [start, stop) of a segment of so many tokens that are entries
_Parts = Callable[[int], list[tuple[int, int]]]


class SegmentReader:
    """Reads labelled rows into SegmentTables as the sidecar would: with the same template, windows and tokens."""

    def __init__(
        self,
        *,
        reader: WindowReader,
        d_model: int,
        encoder: CuratedEncoder,
        tokeniser: EventTokeniser,
        max_norm: float | None,
        key: str,
        folder: Path | None,
    ) -> None:
        """`reader` returns the residual stream [token, d_model], `encoder` all latents.

        Tables are stored in `folder`, if it is given; `key` names model, SAE and precision.
        """
        self._reader = reader
        self._d_model = d_model
        self._encoder = encoder
        self._max_norm = max_norm
        self._tokeniser = tokeniser
        self._key = key
        self._folder = folder

    def read(self, rows: Sequence[LabelledRow], progress: Callable[[int], None] = lambda _: None) -> SegmentTable:
        """The table of `rows`, from the cache if the same rows were read before."""
        return self._kept(self._key, rows, progress, lambda tokens: [(0, tokens)] if tokens else [])

    def read_windows(
        self, rows: Sequence[LabelledRow], pooling: Pooling, progress: Callable[[int], None] = lambda _: None
    ) -> SegmentTable:
        """A table of the windows of `pooling`, in order, for only those segments that have several."""

        def several(tokens: int) -> list[tuple[int, int]]:
            windows = pooling.windows(tokens)
            return windows if len(windows) > 1 else []

        return self._kept(f"{self._key} windows {pooling.window_tokens}", rows, progress, several)

    def _kept(
        self, key: str, rows: Sequence[LabelledRow], progress: Callable[[int], None], parts: _Parts
    ) -> SegmentTable:
        if self._folder is None:
            return self._read(rows, progress, parts)
        file = RowCache(self._folder, key).file(rows)
        if file.is_file():
            progress(len(rows))
            return load_arrays(file, SegmentTable)
        table = self._read(rows, progress, parts)
        save_arrays(file, table)
        return table

    def _read(self, rows: Sequence[LabelledRow], progress: Callable[[int], None], parts: _Parts) -> SegmentTable:
        entries: list[_Entry] = []
        for start in range(0, len(rows), _GROUP):
            group = rows[start : start + _GROUP]
            entries += self._group(start, group, parts)
            progress(len(group))
        latents = np.zeros((len(entries), self._encoder.features), np.float16)
        residual = np.zeros((len(entries), self._d_model), np.float32)
        for n, entry in enumerate(entries):
            latents[n], residual[n] = entry[4], entry[5]
        return SegmentTable(
            row=np.array([e[0] for e in entries], dtype=np.int64),
            segment=np.array([e[1] for e in entries], dtype=np.str_),
            turn=np.array([e[2] for e in entries], dtype=np.int64),
            tokens=np.array([e[3] for e in entries], dtype=np.int32),
            latents=latents,
            residual=residual,
        )

    def _group(self, start: int, group: Sequence[LabelledRow], parts: _Parts) -> list[_Entry]:
        items = self._tokeniser.tokenise([row.event(start + n) for n, row in enumerate(group)])
        entries = [
            (n, segment.name, turn, tokens[first:stop])
            for n, item in enumerate(items)
            for turn, (segment, tokens) in enumerate(zip(item.segments, item.rows, strict=True))
            for first, stop in parts(tokens.size)
        ]
        if not entries:
            return []
        needed = sorted({n for n, *_ in entries})
        read = self._reader.read([items[n].ids for n in needed], self._d_model)
        residuals = {n: values for n, (values, _) in zip(needed, read, strict=True)}
        counts = np.array([tokens.size for *_, tokens in entries])
        latents, residual = self._means(np.concatenate([residuals[n][tokens] for n, *_, tokens in entries]), counts)
        return [
            (start + n, name, turn, tokens.size, latents[e], residual[e])
            for e, (n, name, turn, tokens) in enumerate(entries)
        ]

    def _means(
        self, tokens: NDArray[np.float32], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Mean latents [entry, s] and residual [entry, d]; entry n has the next `counts[n]` of `tokens` [token, d].

        A token with massive activations counts as 0 in the mean, as it does for the detectors.
        """
        residual = torch.from_numpy(tokens)
        entry = torch.from_numpy(np.repeat(np.arange(counts.size), counts))
        if self._max_norm is not None:
            usual = torch.linalg.vector_norm(residual, dim=1) <= self._max_norm
            residual, entry = residual[usual], entry[usual]
        latents = torch.zeros(counts.size, self._encoder.features)
        for part, of in zip(torch.split(residual, _TOKENS_AT_ONCE), torch.split(entry, _TOKENS_AT_ONCE), strict=True):
            latents.index_add_(0, of, self._encoder(part.to(self._encoder.device)).cpu())
        means = torch.zeros(counts.size, residual.shape[1]).index_add_(0, entry, residual)
        size = torch.from_numpy(counts)[:, None]
        return (latents / size).numpy().astype(np.float16), (means / size).numpy()

"""ShardedTexts: rows together with the shards read from them, and which of their segments count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.shard_pooling import POOLINGS, pooled
from monitor.lab.reading.token_shards import SHARD_ROWS, TokenShard


@dataclass(frozen=True)
class LatentBlock:
    """Some latents over all rows: pooled activations [row, latent] by pooling, and active tokens [latent]."""

    pooled: dict[str, NDArray[np.float32]]
    active_tokens: NDArray[np.int64]


@dataclass(frozen=True)
class ActiveTokens:
    """The counted tokens on which one latent is active: where they are [active] and how strongly."""

    shard: NDArray[np.int64]
    token: NDArray[np.int64]
    entry: NDArray[np.int64]
    row: NDArray[np.int64]
    """Position in `ShardedTexts.rows`."""
    value: NDArray[np.float32]


class ShardedTexts:
    """The rows with at least one counted segment. `tokens` [row] is the number of their counted tokens."""

    def __init__(
        self, name: str, rows: Sequence[LabelledRow], files: Sequence[Path], segments: Sequence[str] | None = None
    ) -> None:
        """Counts all segments named in `segments`; by default, only the segment that each row's label is about."""
        self.name = name
        self._files = list(files)
        self._load = lru_cache(maxsize=4)(TokenShard.load)
        self._entries: list[NDArray[np.int64]] = []  # for each shard, the entries that count
        self._rows: list[NDArray[np.int64]] = []  # and the rows that they belong to
        self.rows: list[LabelledRow] = []
        sizes: list[int] = []
        for number, file in enumerate(self._files):
            shard = self._load(file)
            entries, owners = [], []
            for n, row in enumerate(rows[number * SHARD_ROWS : (number + 1) * SHARD_ROWS]):
                seen = _seen(shard, n, row, segments)
                if not seen:
                    continue
                entries += seen
                owners += [len(self.rows)] * len(seen)
                self.rows.append(row)
                sizes.append(int(shard.tokens[seen].sum()))
            self._entries.append(np.array(entries, dtype=np.int64))
            self._rows.append(np.array(owners, dtype=np.int64))
        self.unseen = len(rows) - len(self.rows)
        self.tokens = np.array(sizes, dtype=np.int64)
        self.labels = np.array([row.label for row in self.rows], dtype=np.int64)

    def block(self, first: int, last: int) -> LatentBlock:
        """The latents [first, last). A row with several segments gets their maximum, as in the sidecar."""
        found = {name: np.zeros((len(self.rows), last - first), np.float32) for name in POOLINGS}
        active = np.zeros(last - first, dtype=np.int64)
        for _, shard, entries, owners in self._shards():
            for name, values in pooled(shard, first, last).items():
                np.maximum.at(found[name], owners, values[entries])
            latent, token, _ = shard.active(first, last)
            seen = np.isin(shard.entry[token], entries)
            active += np.bincount(latent[seen] - first, minlength=last - first)
        return LatentBlock(found, active)

    def active_tokens(self, latents: Sequence[int]) -> dict[int, ActiveTokens]:
        """Every counted token on which one of `latents` is active."""
        parts: dict[int, list[ActiveTokens]] = {latent: [] for latent in latents}
        for number, shard, entries, owners in self._shards():
            owner = np.full(shard.tokens.size, -1, dtype=np.int64)
            owner[entries] = owners
            for latent in latents:
                _, active, value = shard.active(latent, latent + 1)
                token = active.astype(np.int64)
                entry = shard.entry[token].astype(np.int64)
                seen = owner[entry] >= 0
                token, entry = token[seen], entry[seen]
                parts[latent].append(
                    ActiveTokens(np.full(token.size, number, np.int64), token, entry, owner[entry], value[seen])
                )
        return {latent: _joined(found) for latent, found in parts.items()}

    def random_token(self, rng: np.random.Generator) -> ActiveTokens:
        """A random counted token of a random row, with the activation 0."""
        row = int(rng.integers(len(self.rows)))
        number = next(n for n, owners in enumerate(self._rows) if row in owners)
        entry = int(rng.choice(self._entries[number][self._rows[number] == row]))
        inside = np.flatnonzero(self.shard(number).entry == entry)
        token = int(rng.choice(inside))
        shard, place, of, owner = (np.array([n], np.int64) for n in (number, token, entry, row))
        return ActiveTokens(shard=shard, token=place, entry=of, row=owner, value=np.zeros(1, np.float32))

    def shard(self, number: int) -> TokenShard:
        """One of the shards."""
        return self._load(self._files[number])

    def _shards(self) -> Iterator[tuple[int, TokenShard, NDArray[np.int64], NDArray[np.int64]]]:
        for number, (entries, owners) in enumerate(zip(self._entries, self._rows, strict=True)):
            if entries.size:
                yield number, self.shard(number), entries, owners


def _joined(parts: Sequence[ActiveTokens]) -> ActiveTokens:
    return ActiveTokens(
        shard=np.concatenate([part.shard for part in parts]),
        token=np.concatenate([part.token for part in parts]),
        entry=np.concatenate([part.entry for part in parts]),
        row=np.concatenate([part.row for part in parts]),
        value=np.concatenate([part.value for part in parts]),
    )


def _seen(shard: TokenShard, n: int, row: LabelledRow, segments: Sequence[str] | None) -> list[int]:
    """The entries of the shard's row `n` that count."""
    entries = [int(e) for e in np.flatnonzero(shard.row == n)]
    if segments is not None:
        return [e for e in entries if shard.segment[e] in segments]
    named = [e for e in entries if shard.segment[e] == row.labelled_segment]
    return named[-1:] or entries[:1]

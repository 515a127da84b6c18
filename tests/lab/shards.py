"""Shards with made-up activations, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.lab.data.rows import LabelledRow
from monitor.lab.reading.sharded_texts import ShardedTexts
from monitor.lab.reading.token_shards import SHARD_ROWS, TokenShard


def shard_of(texts: Sequence[NDArray[np.float32]]) -> TokenShard:
    """One entry a row, of its response, with the activations [token, s]; each token is a word of two characters."""
    dense = np.concatenate(texts)
    latent, token = np.nonzero(dense.T)
    tokens = np.array([t.shape[0] for t in texts])
    place = np.concatenate([np.arange(n) for n in tokens])
    return TokenShard(
        row=np.arange(len(texts)),
        segment=np.array(["response"] * len(texts)),
        turn=np.zeros(len(texts), np.int64),
        tokens=tokens,
        start=(3 * place).astype(np.int32),
        end=(3 * place + 2).astype(np.int32),
        latent=latent.astype(np.int32),
        token=token.astype(np.int32),
        value=dense.T[latent, token].astype(np.float32),
    )


def sharded(
    folder: Path, name: str, texts: Sequence[NDArray[np.float32]], labels: Sequence[int], words: Sequence[str] = ()
) -> ShardedTexts:
    """The texts as a run would have them; `words` are those of every text, by position, where they matter."""
    longest = max(t.shape[0] for t in texts)
    said = list(words) or [f"{n % 90 + 10}" for n in range(longest)]
    rows = [
        LabelledRow(id=f"{name}-{n}", response=" ".join(said[: t.shape[0]]), label=1 if label else 0, source=name)
        for n, (t, label) in enumerate(zip(texts, labels, strict=True))
    ]
    files = []
    for number, start in enumerate(range(0, len(texts), SHARD_ROWS)):
        files.append(folder / f"{name}-{number}.npz")
        shard_of(texts[start : start + SHARD_ROWS]).save(files[-1])
    return ShardedTexts(name, rows, files)

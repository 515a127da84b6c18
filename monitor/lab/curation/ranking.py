"""Ranking: how well each latent of an SAE separates risky from harmless, by source and by pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.lab.reading.shard_pooling import POOLINGS
from monitor.lab.reading.sharded_texts import LatentBlock, ShardedTexts
from monitor.lab.statistics import Floats, column_aurocs, length_matched_aurocs

LATENTS_AT_ONCE = 1_024


@dataclass(frozen=True)
class LatentFigures:
    """The figures of one latent. Figures of several sources are means, and each source counts the same."""

    latent: int
    score: float
    """(2 * a - 1) * (1 - benign_texts), where a is the lower of `worst_auroc` and `length_matched_auroc`."""
    cohens_d: float
    auroc: dict[str, float]
    """By pooling."""
    auroc_by_source: dict[str, float]
    """With the pooling used for ranking."""
    worst_auroc: float
    agreement: float
    """Share of sources in which the latent is on the same side of .5 as its mean AUROC."""
    length_matched_auroc: float
    """NaN if no source has enough texts of similar length."""
    benign_texts: float
    """Share of the benign texts on which the latent is active at all."""
    benign_tokens: float
    """Share of the tokens of the benign texts on which it is active."""


@dataclass(frozen=True)
class Ranking:
    """Every latent's figures as arrays [latent]; `auroc` by pooling, `by_source` [source, latent]."""

    sources: tuple[str, ...]
    score: Floats
    cohens_d: Floats
    auroc: dict[str, Floats]
    by_source: NDArray[np.float64]
    length_matched: Floats
    benign_texts: Floats
    benign_tokens: Floats

    def best(self, top: int) -> list[LatentFigures]:
        """The latents with the highest scores, best first, except those with a score of 0 or less."""
        order = np.argsort(-self.score, kind="stable")[:top]
        return [self.of(int(latent)) for latent in order if self.score[latent] > 0]

    def of(self, latent: int) -> LatentFigures:
        """One latent's figures."""
        by_source = self.by_source[:, latent]
        return LatentFigures(
            latent=latent,
            score=float(self.score[latent]),
            cohens_d=float(self.cohens_d[latent]),
            auroc={name: float(values[latent]) for name, values in self.auroc.items()},
            auroc_by_source={name: float(value) for name, value in zip(self.sources, by_source, strict=True)},
            worst_auroc=float(by_source.min()),
            agreement=float((np.sign(by_source - 0.5) == np.sign(by_source.mean() - 0.5)).mean()),
            length_matched_auroc=float(self.length_matched[latent]),
            benign_texts=float(self.benign_texts[latent]),
            benign_tokens=float(self.benign_tokens[latent]),
        )


def rank(
    sources: Sequence[ShardedTexts],
    benign: ShardedTexts,
    width: int,
    pooling: str,
    progress: Callable[[int], None] = lambda _: None,
) -> Ranking:
    """Measures all `width` latents, LATENTS_AT_ONCE at a time; `pooling` names the one of POOLINGS used for ranking.

    A source without rows of label 0 is compared with the benign texts. `progress` gets the number of latents done.
    """
    parts = []
    for first in range(0, width, LATENTS_AT_ONCE):
        last = min(first + LATENTS_AT_ONCE, width)
        parts.append(_measured(sources, benign, first, last, pooling))
        progress(last - first)

    def joined(pick: Callable[[Ranking], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([pick(part) for part in parts], axis=-1)

    return Ranking(
        sources=parts[0].sources,
        score=joined(lambda p: p.score),
        cohens_d=joined(lambda p: p.cohens_d),
        auroc={name: np.concatenate([p.auroc[name] for p in parts]) for name in POOLINGS},
        by_source=joined(lambda p: p.by_source),
        length_matched=joined(lambda p: p.length_matched),
        benign_texts=joined(lambda p: p.benign_texts),
        benign_tokens=joined(lambda p: p.benign_tokens),
    )


def _measured(sources: Sequence[ShardedTexts], benign: ShardedTexts, first: int, last: int, pooling: str) -> Ranking:
    quiet = benign.block(first, last)
    aurocs: dict[str, list[Floats]] = {name: [] for name in POOLINGS}
    effects, matched = [], []
    for source in sources:
        values, labels, tokens = _compared(source, source.block(first, last), benign, quiet)
        for name in POOLINGS:
            aurocs[name].append(column_aurocs(values[name], labels))
        effects.append(cohens_d(values[pooling], labels))
        matched.append(length_matched_aurocs(values[pooling], labels, tokens))
    by_source = np.stack(aurocs[pooling])
    length_matched = _mean_of_known(np.stack(matched))
    benign_texts = (quiet.pooled["max"] > 0).mean(axis=0)
    lower = np.fmin(by_source.min(axis=0), length_matched)  # fmin ignores NaN
    return Ranking(
        sources=tuple(source.name for source in sources),
        score=(2 * lower - 1) * (1 - benign_texts),
        cohens_d=np.stack(effects).mean(axis=0),
        auroc={name: np.stack(values).mean(axis=0) for name, values in aurocs.items()},
        by_source=by_source,
        length_matched=length_matched,
        benign_texts=benign_texts,
        benign_tokens=quiet.active_tokens / max(int(benign.tokens.sum()), 1),
    )


def _compared(
    source: ShardedTexts, block: LatentBlock, benign: ShardedTexts, quiet: LatentBlock
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64], NDArray[np.int64]]:
    """Pooled activations [row, latent], labels [row] and lengths [row] of the two sides to compare."""
    if (source.labels == 0).any():
        return block.pooled, source.labels, source.tokens
    values = {name: np.concatenate([block.pooled[name], quiet.pooled[name]]) for name in POOLINGS}
    return values, np.concatenate([source.labels, benign.labels]), np.concatenate([source.tokens, benign.tokens])


def cohens_d(values: NDArray[np.float32], labels: NDArray[np.int64]) -> Floats:
    """Difference of the means of label 1 and 0, divided by the pooled standard deviation (Cohen 1988), by column.

    `values` is [row, column]. 0 if a column doesn't vary; NaN if there are fewer than two rows of a label.
    """
    risky, harmless = values[labels == 1].astype(np.float64), values[labels == 0].astype(np.float64)
    n, m = risky.shape[0], harmless.shape[0]
    if n < 2 or m < 2:
        return np.full(values.shape[1], math.nan)
    squares = (n - 1) * risky.var(axis=0, ddof=1) + (m - 1) * harmless.var(axis=0, ddof=1)
    deviation = np.sqrt(squares / (n + m - 2))
    difference: Floats = risky.mean(axis=0) - harmless.mean(axis=0)
    effect: Floats = np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 0)
    return effect


def _mean_of_known(values: NDArray[np.float64]) -> Floats:
    """Means [column] over the rows of `values` that are not NaN; NaN if all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    means: Floats = np.divide(total, count, out=np.full(values.shape[1], math.nan), where=count > 0)
    return means

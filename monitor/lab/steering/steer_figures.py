"""SteerFigures: what the texts of one condition show together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.lab.steering.steer import Kind, SteeredText

_DRAWS = 1_000


@dataclass(frozen=True)
class SteerFigures:
    """Figures of a kind of condition at one value. Controls of one kind are taken together."""

    kind: Kind
    value: float
    """NaN of the base."""
    texts: int
    score: float
    """Mean of the set's score; NaN without a set."""
    score_interval: tuple[float, float]
    """95 %, resampling texts."""
    held_score: float
    """Mean of the set's score on the base's text while the edit is made; NaN without a set."""
    rate: float
    """Share of the texts whose score reaches the set's threshold; NaN without a set."""
    activation: float
    """Mean over texts of the feature's largest activation, as the model reads them without an edit."""
    divergence: float
    """Mean KL divergence in nats a token."""
    perplexity: float
    """Of the texts under the model without an edit."""
    distinct: float
    """Mean share of different tokens in a text."""

    def row(self) -> dict[str, Any]:
        """The figures as JSON has them, with null for NaN."""
        data = {
            "kind": self.kind,
            "value": self.value,
            "texts": self.texts,
            "score": self.score,
            "score_interval_95": list(self.score_interval),
            "held_score": self.held_score,
            "rate": self.rate,
            "activation": self.activation,
            "kl_nats": self.divergence,
            "perplexity": self.perplexity,
            "distinct_tokens": self.distinct,
        }
        return {key: _json(value) for key, value in data.items()}


def steer_figures(texts: Sequence[SteeredText], threshold: float | None, seed: int = 0) -> list[SteerFigures]:
    """Figures by kind and value, in the order of the texts. `threshold` is that of the set, None without one."""
    groups: dict[tuple[Kind, str], list[SteeredText]] = {}
    for text in texts:
        groups.setdefault((text.condition.kind, repr(text.condition.value)), []).append(text)
    return [_figures(group, threshold, seed) for group in groups.values()]


def _figures(texts: Sequence[SteeredText], threshold: float | None, seed: int) -> SteerFigures:
    scores = np.array([text.score for text in texts if not math.isnan(text.score)])
    log_probs = np.array([p for text in texts for p in text.log_probs])
    draw = np.random.default_rng(seed)
    interval = (math.nan, math.nan)
    if scores.size:
        means = scores[draw.integers(scores.size, size=(_DRAWS, scores.size))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        interval = (float(low), float(high))
    return SteerFigures(
        kind=texts[0].condition.kind,
        value=texts[0].condition.value,
        texts=len(texts),
        score=_mean(scores),
        score_interval=interval,
        held_score=_mean([text.held_score for text in texts if not math.isnan(text.held_score)]),
        rate=math.nan if threshold is None else _mean(scores >= threshold),
        activation=_mean([max((a for _, _, a in text.activations), default=0.0) for text in texts]),
        divergence=_mean([text.divergence for text in texts]),
        perplexity=math.exp(min(-float(log_probs.mean()), 700)) if log_probs.size else math.nan,
        distinct=_mean([text.distinct for text in texts if not math.isnan(text.distinct)]),
    )


def _mean(values: Any) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else math.nan


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value

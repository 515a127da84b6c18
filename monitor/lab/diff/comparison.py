"""Comparison: two readings of the same texts, or of what two models answered to the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from monitor.lab.change_test import Change, Figures, changes
from monitor.lab.diff.model_reading import ModelReading
from monitor.report.shading import Window
from monitor.sets.load import LoadedSet

Over = Literal["texts", "generations"]

_ACTIVE = 1e-9  # a mean above it: the latent is active on at least one token
_FEWEST_ACTIVE = 5  # texts on which a mover must be active
# The fit of an SAE moves a little with any texts; beyond these, its latents may not mean what they meant
_FVU_RATIO = 1.25
_L0_RATIO = 1.25
_DEAD_RISE = 0.05


@dataclass(frozen=True)
class Mover:
    """A latent whose mean activation moved most, among all of the SAE. It was not tested for chance."""

    latent: int
    label: str
    texts_before: int
    """Texts on which it is active."""
    texts_after: int
    mean_before: float
    mean_after: float
    effect: float
    strongest: tuple[int, ...]
    """The texts on which it rose most, or fell most if it fell."""


@dataclass(frozen=True)
class Comparison:
    """Everything that differs. Sets and features are families of their own for the false discovery rate."""

    over: Over
    sets: tuple[Change, ...]
    features: tuple[Change, ...]
    """The features that the sets' files name, as INDEX: LABEL."""
    movers: tuple[Mover, ...]
    fit_before: dict[str, Any]
    fit_after: dict[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the SAE may no longer fit. Of generations, it is the texts that changed, not the model."""
        return tuple(fit_warnings(self.fit_before, self.fit_after))


def compare(
    over: Over,
    before: ModelReading,
    after: ModelReading,
    sets: Sequence[LoadedSet],
    *,
    resamples: int,
    seed: int,
    movers: int = 10,
) -> Comparison:
    """Compares readings of texts in the same order."""
    labels = labels_of(sets)
    by_set = [
        Figures(s.set.id, before.scores[s.set.id], after.scores[s.set.id], s.set.active_from)
        for s in sets
        if s.set.id in before.scores
    ]
    by_feature = [
        Figures(
            f"{index}: {label}",
            before.latents[:, index].astype(np.float64),
            after.latents[:, index].astype(np.float64),
            _ACTIVE,
        )
        for index, label in labels.items()
    ]
    return Comparison(
        over,
        tuple(changes(by_set, resamples, seed)),
        tuple(changes(by_feature, resamples, seed)),
        tuple(top_movers(before, after, labels, movers)),
        before.fit,
        after.fit,
    )


def labels_of(sets: Sequence[LoadedSet]) -> dict[int, str]:
    """The labels of the features that the sets' files list, by index."""
    return {f.index: f.label for s in sets for f in s.set.features if f.index in s.listed or not s.listed}


def top_movers(before: ModelReading, after: ModelReading, labels: dict[int, str], count: int) -> list[Mover]:
    """The latents with the largest effect size, up or down, of those that are active on enough texts."""
    kept = ~(np.isnan(before.latents[:, 0]) | np.isnan(after.latents[:, 0]))
    where = np.flatnonzero(kept)
    if where.size < 2 or not count:
        return []
    first, second = before.latents[kept], after.latents[kept]
    rises = second - first  # [text, s]
    deviation = rises.std(axis=0, ddof=1)
    effect = np.divide(rises.mean(axis=0), deviation, out=np.zeros_like(deviation), where=deviation > 0)
    active = (first > _ACTIVE).sum(axis=0), (second > _ACTIVE).sum(axis=0)
    effect[np.maximum(*active) < _FEWEST_ACTIVE] = 0
    chosen = [int(s) for s in np.argsort(-np.abs(effect), kind="stable")[:count] if effect[s] != 0]
    return [
        Mover(
            latent=s,
            label=labels.get(s, ""),
            texts_before=int(active[0][s]),
            texts_after=int(active[1][s]),
            mean_before=float(first[:, s].mean()),
            mean_after=float(second[:, s].mean()),
            effect=float(effect[s]),
            strongest=tuple(where[np.argsort(-rises[:, s] * np.sign(effect[s]), kind="stable")[:2]].tolist()),
        )
        for s in chosen
    ]


def fit_warnings(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """In words, how the SAE fits worse; empty if it fits about as well."""
    found = []
    if before["fvu"] and after["fvu"] and after["fvu"] > before["fvu"] * _FVU_RATIO:
        found.append(f"the SAE leaves {after['fvu']:.1%} of the variance unexplained, {before['fvu']:.1%} before")
    if before["l0"] and after["l0"] and not 1 / _L0_RATIO <= after["l0"] / before["l0"] <= _L0_RATIO:
        found.append(f"{after['l0']:.1f} latents are active on a token, {before['l0']:.1f} before")
    if after["never_active_share"] > before["never_active_share"] + _DEAD_RISE:
        found.append(
            f"{after['never_active_share']:.1%} of the latents are never active, {before['never_active_share']:.1%} "
            "before"
        )
    return found


@dataclass(frozen=True)
class Context:
    """A text on which a mover moved, in the part where it is strongest."""

    text_id: str
    window: Window

"""Causal evidence: how much the features that fired in an alert matter for the text that the model reads next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.alerts.alert import Alert
from monitor.errors import ConfigError
from monitor.events.event import Event
from monitor.lab.steering.edit import Clamp, Edit, Elsewhere, random_directions, unit
from monitor.lab.steering.rig import SteeringRig
from monitor.tokens.tokeniser import Tokenised

MAX_TOKENS = 1_024
"""Longest text that is read: as much as fits, up to the last flagged token and the one after it."""
_DRAWS = 2_000


@dataclass(frozen=True)
class EvidenceRequest:
    """What to compare with, and how often."""

    controls: int = 16
    """Other directions that every ablation is compared with."""
    seed: int = 0


@dataclass(frozen=True)
class CausalWeight:
    """What ablating one feature, or all of them, does. `index` is None for all together."""

    index: int | None
    label: str
    active_tokens: int
    """Tokens of the text on which at least one of them is active."""
    change: float
    """Mean fall of the log-likelihood of the flagged tokens in nats a token: above 0 if they become less likely."""
    control_change: float
    """The same for controls: as much is taken away from the same tokens, but along other directions."""
    weight: float
    """The causal weight: `change` minus `control_change`."""
    interval: tuple[float, float]
    """95 % of the weight, resampling flagged tokens and controls."""
    segment_change: float
    """Mean fall over all tokens of the segment."""
    score: float
    """The set's score without the feature. This is arithmetic at the hook, where the set reads, and proves nothing."""

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "index": self.index,
            "label": self.label,
            "active_tokens": self.active_tokens,
            "log_likelihood_fall": _rounded(self.change),
            "control_fall": _rounded(self.control_change),
            "causal_weight": _rounded(self.weight),
            "interval_95": [_rounded(end) for end in self.interval],
            "segment_fall": _rounded(self.segment_change),
            "score_without": _rounded(self.score),
        }


@dataclass(frozen=True)
class CausalEvidence:
    """The answer for one alert."""

    alert_id: str
    set_id: str
    score: float
    """As the text is read now; the alert's own may come from another config."""
    flagged_tokens: int
    read_tokens: int
    cut: bool
    """Whether the start or the end of the text was not read, because it is long."""
    controls: int
    weights: tuple[CausalWeight, ...]
    """Of each feature, and of all of them together at the end."""

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "alert": self.alert_id,
            "set": self.set_id,
            "score": _rounded(self.score),
            "flagged_tokens": self.flagged_tokens,
            "read_tokens": self.read_tokens,
            "cut": self.cut,
            "controls": self.controls,
            "features": [weight.row() for weight in self.weights[:-1]],
            "all": self.weights[-1].row(),
        }


@torch.inference_mode()
def causal_evidence(rig: SteeringRig, alert: Alert, event: Event, request: EvidenceRequest) -> CausalEvidence:
    """Ablates each named feature of `alert`, and all of them, in the text of `event`.

    A feature that is active on a token can change only what comes after it, so the flagged tokens are those of the
    evidence and the one after each. Controls are the directions of latents that are active in the same text and not
    in the set; if there are too few, random directions join them. Raises ConfigError if the alert names no feature,
    or the event doesn't have the text that the alert is about.
    """
    if not alert.features:
        raise ConfigError(f"alert {alert.id}: it names no feature, so there is nothing to ablate")
    if rig.reading is None or rig.reading.loaded.set.id != alert.set.id:
        raise ConfigError(f"alert {alert.id}: it is of the set {alert.set.id}; name that with --set")
    (item,) = rig.tokeniser.tokenise([event])
    segment_rows, flagged = _flagged(item, alert)
    stop = int(flagged[-1]) + 1
    start = max(0, stop - min(MAX_TOKENS, rig.model.max_tokens or MAX_TOKENS))
    ids = item.ids[start:stop]
    scored, segment = (rows[(rows > start) & (rows < stop)] - start for rows in (flagged, segment_rows))
    latents = [feature.index for feature in alert.features]
    (residual,) = rig.model.residuals([ids])
    of = rig.decomposition(latents)
    controls = _control_directions(rig, residual, latents, request)
    plain = rig.model.log_probs(ids, [None])[0]
    # the score is that of the whole text, whatever part of it the likelihoods are about
    whole = rig.model.residuals([item.ids])[0] if item.ids.size <= (rig.model.max_tokens or item.ids.size) else residual
    scored_item = item if whole.shape[0] == item.ids.size else None
    base = math.nan if scored_item is None else _score(rig, scored_item, whole, None, ())
    weights: list[CausalWeight] = []
    for places in [*((n,) for n in range(len(latents))), tuple(range(len(latents)))]:
        edit = Clamp(of, places, 0.0)
        change = edit(residual.to(rig.model.device))
        along = unit(change.sum(dim=0, keepdim=True))[0]
        edits: list[Edit] = [edit, *(Elsewhere(edit, along, direction) for direction in controls)]
        falls = (plain[None] - rig.model.log_probs(ids, edits)).numpy()  # [edit, token]
        active = int((change.norm(dim=1) > 0).sum())
        single = len(places) == 1 and len(weights) < len(latents)
        chosen = [latents[place] for place in places]
        weights.append(
            CausalWeight(
                index=chosen[0] if single else None,
                label=alert.features[places[0]].label if single else "all of them",
                active_tokens=active,
                change=float(falls[0, scored].mean()),
                control_change=float(falls[1:, scored].mean()),
                weight=float(falls[0, scored].mean() - falls[1:, scored].mean()),
                interval=_interval(falls[:, scored], request.seed),
                segment_change=float(falls[0, segment].mean()),
                score=math.nan if scored_item is None else _score(rig, scored_item, whole, edit, chosen),
            )
        )
    return CausalEvidence(
        alert_id=alert.id,
        set_id=alert.set.id,
        score=base,
        flagged_tokens=int(scored.size),
        read_tokens=int(ids.size),
        cut=start > 0,
        controls=len(controls),
        weights=tuple(weights),
    )


def _flagged(item: Tokenised, alert: Alert) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens of the alert's segment, and those that its evidence may change, as rows of the text."""
    name, index = alert.segment.name, alert.segment.index
    # captured content has only the segment, so that its index is lower there
    places = [n for n, s in enumerate(item.segments) if s.name == name and len(s.text) == alert.segment.chars]
    exact = [n for n in places if item.segments[n].index == index]
    if not places or not item.rows[(exact or places)[-1]].size:
        raise ConfigError(f"alert {alert.id}: the event does not have the text that the alert is about")
    place = (exact or places)[-1]
    segment, rows = item.segments[place], item.rows[place]
    parts = [part for part in (*alert.features, alert.unnamed, alert.probe) if part is not None]
    spans = [(token.start, token.end) for part in parts for token in part.tokens]
    hit = [
        any(first < end and start < last for start, end in spans)
        for first, last in (segment.own_span(int(item.starts[row]), int(item.ends[row])) for row in rows)
    ]
    flagged = rows[np.array(hit, dtype=np.bool_)]
    after = np.unique(np.concatenate([flagged, flagged + 1]))
    after = after[np.isin(after, rows) & (after > 0)]
    if not after.size:
        raise ConfigError(f"alert {alert.id}: none of its evidence is in the text of the event")
    return rows, after


def _control_directions(
    rig: SteeringRig, residual: Tensor, latents: Sequence[int], request: EvidenceRequest
) -> list[Tensor]:
    seen = rig.active_latents(residual)
    used = set(latents) | (set() if rig.reading is None else set(rig.reading.loaded.set.indices()))
    others = [latent for latent in seen if latent not in used]
    draw = np.random.default_rng(request.seed)
    chosen = [others[n] for n in draw.permutation(len(others))[: request.controls]]
    found = list(unit(rig.decomposition(chosen).rows)) if chosen else []
    missing = request.controls - len(found)
    return found + list(random_directions(missing, rig.model.d_model, request.seed).to(rig.model.device))


def _score(rig: SteeringRig, item: Tokenised, residual: Tensor, edit: Edit | None, ablated: Sequence[int]) -> float:
    if rig.reading is None:
        return math.nan
    change = None if edit is None else edit(residual.to(rig.model.device))
    score = rig.reading.score(item, residual, ablated, change)
    return math.nan if score is None else score.value


def _interval(falls: NDArray[np.float32], seed: int) -> tuple[float, float]:
    """Of the mean of `falls[0]` minus that of the other rows [control, token]."""
    draw = np.random.default_rng(seed)
    controls, tokens = falls.shape[0] - 1, falls.shape[1]
    own = draw.integers(tokens, size=(_DRAWS, tokens))
    values = falls[0][own].mean(axis=1)
    if controls:
        drawn = draw.integers(1, controls + 1, size=(_DRAWS, controls))
        values = values - np.array([falls[rows][:, cols].mean() for rows, cols in zip(drawn, own, strict=True)])
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)

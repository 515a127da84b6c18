"""Steering: what a model writes while one feature is held at a value, next to what it writes otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from monitor.events.event import Event, Message, Origin
from monitor.lab.steering.decomposition import Decomposition
from monitor.lab.steering.edit import AddDirection, Clamp, Edit, Elsewhere, random_directions, unit
from monitor.lab.steering.rig import SteeringRig
from monitor.lab.steering.steered_model import GenerationSettings, Ids, TextReading
from monitor.tokens.tokeniser import Tokenised

Mode = Literal["clamp", "add"]
Kind = Literal["base", "feature", "control feature", "random direction"]


@dataclass(frozen=True)
class SteerRequest:
    """What to steer, and how."""

    feature: int
    values: tuple[float, ...]
    """Activations to hold the feature at; 0 ablates it."""
    prompts: tuple[str, ...]
    system: str = ""
    mode: Mode = "clamp"
    controls: tuple[int, ...] = ()
    """Latents along whose directions the residual stream is moved as far, for comparison."""
    directions: int = 0
    """How many random directions are compared, too."""
    samples: int = 1
    """Texts for each prompt and condition."""
    generation: GenerationSettings = field(default_factory=GenerationSettings)


@dataclass(frozen=True)
class Condition:
    """One way to run the model. `which` is a latent, or the number of a random direction."""

    kind: Kind
    which: int
    value: float
    edit: Edit | None


@dataclass(frozen=True)
class SteeredText:
    """One text that the model wrote."""

    condition: Condition
    prompt: int
    text: str
    activations: tuple[tuple[int, int, float], ...]
    """(start, end, activation) of the feature on each token of the text, as the model reads it without an edit."""
    score: float
    """Of the set, on the text as the sidecar reads it; NaN without a set, or if the set sees nothing of the text."""
    held_score: float
    """Of the set on the text that the model writes without an edit, while the edit is made: the score that a sidecar
    reading the edited model would see. It follows from the set's weights, and says nothing about behaviour."""
    log_probs: tuple[float, ...]
    """Of the text's tokens under the model without an edit, in nats."""
    distinct: float
    """Share of the tokens that are different ones: near 0 if the text repeats itself. NaN of an empty text."""
    divergence: float
    """KL divergence from the model to the edited one in nats, a mean over the tokens of the text without an edit."""


def steer(
    rig: SteeringRig, request: SteerRequest, progress: Callable[[int], None] = lambda _: None
) -> list[SteeredText]:
    """Texts of every condition on every prompt, the base first. Tells `progress` how many are done."""
    of = rig.decomposition([request.feature, *request.controls])
    conditions = _conditions(of, request, rig.model.d_model)
    found = []
    for number, prompt in enumerate(request.prompts):
        messages = [Message("system", request.system)] if request.system else []
        messages.append(Message("user", prompt))
        opening = rig.tokeniser.opening(messages)
        runs = [condition for condition in conditions for _ in range(request.samples)]
        written = rig.model.generate(opening, [run.edit for run in runs], request.generation)
        base = np.concatenate([opening, written[0]])
        divergences = rig.model.divergence(base, opening.size, [c.edit for c in conditions])
        texts = [rig.tokeniser.text(ids) for ids in written]
        events = [Event(f"{number}", tuple(messages), text, Origin("lab", 0, n)) for n, text in enumerate(texts)]
        items = rig.tokeniser.tokenise(events)
        read = rig.model.read([item.ids for item in items])
        for n, (run, text, ids) in enumerate(zip(runs, texts, written, strict=True)):
            found.append(
                SteeredText(
                    condition=run,
                    prompt=number,
                    text=text,
                    activations=_activations(of, items[n], read[n]),
                    score=_score(rig, items[n], read[n], text),
                    held_score=_score(rig, items[0], read[0], texts[0], run.edit),
                    log_probs=tuple(read[n].log_probs[torch.from_numpy(items[n].rows[-1])].tolist()),
                    distinct=_distinct(ids),
                    divergence=divergences[n // request.samples],
                )
            )
        progress(len(runs))
    return found


def condition_count(request: SteerRequest) -> int:
    """How many conditions a request has, the base included."""
    return 1 + len(request.values) * (1 + len(request.controls) + request.directions)


def _conditions(of: Decomposition, request: SteerRequest, d: int) -> list[Condition]:
    along = unit(of.rows)  # [latent, d]; the feature comes first, then the controls
    drawn = random_directions(request.directions, d, request.generation.seed).to(along.device)
    found = [Condition("base", request.feature, math.nan, None)]
    for value in request.values:
        edit: Edit = Clamp(of, (0,), value) if request.mode == "clamp" else AddDirection(of, 0, value)
        found.append(Condition("feature", request.feature, value, edit))
        for n, latent in enumerate(request.controls, start=1):
            found.append(Condition("control feature", latent, value, Elsewhere(edit, along[0], along[n])))
        for n in range(request.directions):
            found.append(Condition("random direction", n, value, Elsewhere(edit, along[0], drawn[n])))
    return found


def _score(rig: SteeringRig, item: Tokenised, read: TextReading, text: str, edit: Edit | None = None) -> float:
    if rig.reading is None or not text.strip():
        return math.nan
    residual = read.residual.to(rig.model.device)
    score = rig.reading.score(item, residual if edit is None else residual + edit(residual))
    return math.nan if score is None else score.value


@torch.inference_mode()
def _activations(of: Decomposition, item: Tokenised, read: TextReading) -> tuple[tuple[int, int, float], ...]:
    segment, rows = item.segments[-1], item.rows[-1]
    if segment.name != "response" or not rows.size:
        return ()
    values = of.activations(read.residual[torch.from_numpy(rows)].to(of.rows.device))[:, 0].tolist()
    spans = (segment.own_span(int(item.starts[row]), int(item.ends[row])) for row in rows)
    return tuple((*span, value) for span, value in zip(spans, values, strict=True) if value > 0)


def _distinct(ids: Sequence[int] | Ids) -> float:
    return len(set(np.asarray(ids).tolist())) / len(ids) if len(ids) else math.nan

"""Contexts: where a latent is active in the texts, from its strongest tokens to random ones, and how strongly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.lab.reading.sharded_texts import ActiveTokens, ShardedTexts
from monitor.lab.reading.top_tokens import KEPT, token_label
from monitor.report.shading import Run, shaded
from monitor.report.visible_text import visible, visible_line

BEFORE, AFTER = 24, 12
"""Tokens of a context before and after the token that it was chosen for."""
EACH = 8
"""Most contexts of each kind."""
BINS = 24
_MIDDLE = (0.25, 0.75)
"""The middle of the range, as shares of the strongest activation."""


@dataclass(frozen=True)
class Context:
    """A piece of one text, shaded by activation relative to the latent's strongest one. Escape it before showing it."""

    activation: float
    """Activation of the token that the context was chosen for."""
    token: str
    side: str
    """risky (label 1), harmless (label 0) or benign (from a benign file)."""
    file: str
    row: str
    runs: tuple[Run, ...]
    cut_before: bool
    cut_after: bool


@dataclass(frozen=True)
class Histogram:
    """Active tokens by activation: for each side, `counts` in BINS bins of equal width from 0 to `highest`."""

    highest: float
    counts: dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Contexts:
    """What a person needs to see to name a latent."""

    label: str
    strongest: tuple[Context, ...]
    middle: tuple[Context, ...]
    drawn: tuple[Context, ...]
    histogram: Histogram


@dataclass(frozen=True)
class Place:
    """A token on which a latent is active, or one that stands for a text on which it is not."""

    texts: ShardedTexts
    side: str
    found: ActiveTokens
    at: int


def contexts_of(
    latents: Sequence[int], sources: Sequence[ShardedTexts], benign: ShardedTexts | None, seed: int
) -> Iterator[Contexts]:
    """The contexts of each of `latents`, which must be active somewhere. `seed` and latent decide the drawn ones."""
    everywhere = [(texts, texts.active_tokens(latents)) for texts in (*sources, *([] if benign is None else [benign]))]
    for latent in latents:
        found = [(texts, active[latent]) for texts, active in everywhere]
        rng = np.random.default_rng([seed, latent])
        yield _contexts(latent, found, benign, rng)


def _contexts(
    latent: int, found: list[tuple[ShardedTexts, ActiveTokens]], benign: ShardedTexts | None, rng: np.random.Generator
) -> Contexts:
    places = [
        Place(texts, side_of(texts, active, at, benign), active, at)
        for texts, active in found
        for at in range(active.value.size)
    ]
    values = np.concatenate([active.value for _, active in found])
    highest = float(values.max())
    by_strength = np.argsort(-values, kind="stable")
    peaks = peaks_of(places, by_strength)
    shares = values[peaks] / highest
    in_middle = peaks[(shares >= _MIDDLE[0]) & (shares <= _MIDDLE[1])]
    in_middle = in_middle[np.argsort(np.abs(values[in_middle] - highest / 2), kind="stable")]
    shown: set[str] = set()

    def built(order: NDArray[np.int64]) -> tuple[Context, ...]:
        """Contexts of the first EACH places whose text was not shown before."""
        contexts: list[Context] = []
        for n in order:
            if len(contexts) == EACH:
                break
            context = context_at(places[n], latent, highest)
            text = "".join(run.text for run in context.runs)
            if text not in shown:
                shown.add(text)
                contexts.append(context)
        return tuple(contexts)

    return Contexts(
        label=visible_line(token_label((float(values[n]), _text(places[n])) for n in by_strength[:KEPT])),
        strongest=built(peaks),
        middle=built(in_middle),
        drawn=built(rng.permutation(values.size)),
        histogram=_histogram(places, values, highest),
    )


def peaks_of(places: Sequence[Place], by_strength: NDArray[np.int64]) -> NDArray[np.int64]:
    """The strongest place of each segment, strongest first."""
    seen: set[tuple[int, int, int]] = set()
    peaks = []
    for n in by_strength:
        place = places[n]
        segment = (id(place.texts), int(place.found.shard[place.at]), int(place.found.entry[place.at]))
        if segment not in seen:
            seen.add(segment)
            peaks.append(n)
    return np.array(peaks, dtype=np.int64)


def side_of(texts: ShardedTexts, active: ActiveTokens, at: int, benign: ShardedTexts | None) -> str:
    """Where the text of a token is from: risky (label 1), harmless (label 0) or benign."""
    if texts is benign:
        return "benign"
    return "risky" if texts.labels[active.row[at]] == 1 else "harmless"


def _histogram(places: Sequence[Place], values: NDArray[np.float32], highest: float) -> Histogram:
    edges = np.linspace(0, highest, BINS + 1)
    sides = np.array([place.side for place in places])
    return Histogram(
        highest, {side: np.histogram(values[sides == side], edges)[0] for side in ("risky", "harmless", "benign")}
    )


def _text(place: Place) -> str:
    """The text of the place's token."""
    found, at = place.found, place.at
    shard = place.texts.shard(int(found.shard[at]))
    turn = int(shard.turn[found.entry[at]])
    token = int(found.token[at])
    return place.texts.rows[int(found.row[at])].text(turn)[int(shard.start[token]) : int(shard.end[token])]


def context_at(place: Place, latent: int, highest: float) -> Context:
    """The text around the place, shaded relative to the activation `highest`."""
    found, at = place.found, place.at
    shard = place.texts.shard(int(found.shard[at]))
    entry, token = int(found.entry[at]), int(found.token[at])
    row = place.texts.rows[found.row[at]]
    text = row.text(int(shard.turn[entry]))
    begins = int(shard.tokens[:entry].sum())
    first = max(token - BEFORE, begins)
    last = min(token + AFTER, begins + int(shard.tokens[entry]) - 1)
    start, end = int(shard.start[first]), int(shard.end[last])
    _, tokens, values = shard.active(latent, latent + 1)
    inside = (tokens >= first) & (tokens <= last)
    strengths = [
        (int(shard.start[t]) - start, int(shard.end[t]) - start, float(v) / highest)
        for t, v in zip(tokens[inside], values[inside], strict=True)
    ]
    return Context(
        activation=float(found.value[at]),
        token=visible_line(_text(place)),
        side=place.side,
        file=visible_line(place.texts.name),
        row=visible_line(row.id),
        runs=tuple(Run(visible(run.text), run.strength) for run in shaded(text[start:end], strengths)),
        cut_before=first > begins or start > 0,
        cut_after=end < len(text),
    )

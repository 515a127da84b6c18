"""HeldBack: contexts of a latent that were not used to name it, to judge its label with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.lab.curation.contexts import Context, Place, context_at, peaks_of
from monitor.lab.reading.sharded_texts import ActiveTokens, ShardedTexts

Kind = Literal["detection", "fuzzing"]
OPEN, CLOSE = "[[", "]]"
_TRIES = 12
"""How often a text without the latent is looked for, for each that is wanted."""
_STRONG, _WEAK = 0.5, 0.1
"""From which share of the context's peak a word counts as active, and up to which as not active."""


@dataclass(frozen=True)
class JudgedContext:
    """One question about a label. `answer` is the right one."""

    id: str
    """Says nothing about the answer."""
    index: int
    kind: Kind
    """detection: is the latent active on this text? fuzzing: are the marked words those on which it is active?"""
    answer: bool
    text: str
    file: str
    row: str


def held_back(
    latents: Sequence[int], texts: Sequence[ShardedTexts], seed: int, each: int
) -> Iterator[list[JudgedContext]]:
    """For each of `latents`, at most `each` contexts of each kind and answer; as many of both answers.

    Contexts with the latent are spread evenly over its total activation, because that is what a score adds up: a peak
    twice as strong is twice as likely to be asked about. Those without it are from the same files. Source: detection
    and fuzzing of Paulo et al., "Automatically interpreting millions of features in large language models" (2024).
    """
    everywhere = [(one, one.active_tokens(latents)) for one in texts]
    for latent in latents:
        rng = np.random.default_rng([seed, latent])
        yield _of_latent(latent, [(one, active[latent]) for one, active in everywhere], rng, each)


def _of_latent(
    latent: int, found: list[tuple[ShardedTexts, ActiveTokens]], rng: np.random.Generator, each: int
) -> list[JudgedContext]:
    places = [Place(texts, "", active, at) for texts, active in found for at in range(active.value.size)]
    if not places:
        return []
    values = np.concatenate([active.value for _, active in found])
    peaks = peaks_of(places, np.argsort(-values, kind="stable"))
    spread = peaks[_spread(values[peaks], 2 * each)]
    contexts = [(places[n].texts, context_at(places[n], latent, float(values.max()))) for n in spread]
    judged: list[JudgedContext] = []
    for texts, context in contexts[::2]:
        other = _without(latent, texts, rng)
        if other is not None:
            judged += [_question(latent, "detection", True, _plain(context), context)]
            judged += [_question(latent, "detection", False, _plain(other), other)]
    for n, (_, context) in enumerate(contexts[1::2]):
        marked = _marked(context, n % 2 == 0, rng)
        if marked is not None:
            judged.append(_question(latent, "fuzzing", n % 2 == 0, marked, context))
    return judged


def _spread(strengths: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """At most `count` positions of `strengths`, as far from each other in their sum as possible."""
    total = np.cumsum(strengths, dtype=np.float64)
    wanted = (np.arange(count) + 0.5) / count * total[-1]
    return np.unique(np.searchsorted(total, wanted).clip(max=strengths.size - 1))


def _without(latent: int, texts: ShardedTexts, rng: np.random.Generator) -> Context | None:
    """A random context of `texts` in which the latent is nowhere active."""
    for _ in range(_TRIES):
        place = texts.random_token(rng)
        context = context_at(Place(texts, "", place, 0), latent, 1.0)
        if all(run.strength == 0 for run in context.runs) and _plain(context).strip():
            return context
    return None


def _plain(context: Context) -> str:
    return "".join(run.text for run in context.runs)


def _marked(context: Context, rightly: bool, rng: np.random.Generator) -> str | None:
    """The text with the words marked on which the latent is active, or as many others. None if there are too few."""
    text = _plain(context)
    strength: NDArray[np.float64] = np.repeat(
        [run.strength for run in context.runs], [len(run.text) for run in context.runs]
    )
    words = [(m.start(), m.end(), float(strength[m.start() : m.end()].max())) for m in re.finditer(r"\S+", text)]
    peak = max((word[2] for word in words), default=0.0)
    if peak <= 0:
        return None
    chosen = [word for word in words if word[2] >= _STRONG * peak]
    if not rightly:
        others = [word for word in words if word[2] <= _WEAK * peak]
        if len(others) < len(chosen):
            return None
        chosen = [others[n] for n in sorted(rng.choice(len(others), len(chosen), replace=False))]
    for start, end, _ in reversed(chosen):
        text = f"{text[:start]}{OPEN}{text[start:end]}{CLOSE}{text[end:]}"
    return text


def _question(latent: int, kind: Kind, answer: bool, text: str, context: Context) -> JudgedContext:
    digest = hashlib.sha256("\0".join((str(latent), kind, context.file, context.row, text)).encode()).hexdigest()
    return JudgedContext(digest[:12], latent, kind, answer, text, context.file, context.row)

"""Planted passages: what a set finds of a short risky text inside a long harmless one, by length."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import own_contrasts
from monitor.lab.data.rows import LabelledRow, load_rows
from monitor.lab.statistics import Floats
from monitor.sets.load import LoadedSet

Scorer = Callable[[Sequence[LabelledRow], str], Mapping[str, Floats]]
"""Scores [row] by set id of rows with a name for the progress bar; NaN if a set sees nothing of a row."""
TokenCounts = Callable[[Sequence[str]], Sequence[int]]


@dataclass(frozen=True)
class PlantedRequest:
    """How long the texts are, and how many."""

    lengths: tuple[int, ...] = (100, 250, 500, 1000, 2000, 4000)
    """Tokens of a whole text, about."""
    passage_tokens: int = 100
    """Tokens of the risky passage, at most."""
    texts: int = 40
    """Texts with a passage, and as many without one, for each set and length."""
    seed: int = 0


@dataclass(frozen=True)
class PlantedFigures:
    """What one set finds at one length."""

    set_id: str
    length: int
    texts: int
    recall: float
    """Share of the texts with a passage whose score reaches the set's threshold."""
    fpr: float
    """Share of the texts without one that reach it."""

    def row(self) -> dict[str, Any]:
        """The figures with the names that `--json` writes."""
        return {
            "set": self.set_id,
            "tokens": self.length,
            "texts": self.texts,
            "recall": round(self.recall, 4),
            "fpr": round(self.fpr, 4),
        }


@dataclass(frozen=True)
class Piece:
    """A text and how many tokens it has."""

    text: str
    tokens: int


def planted_figures(
    sets: Sequence[LoadedSet], score: Scorer, counts: TokenCounts, request: PlantedRequest
) -> list[PlantedFigures]:
    """Figures by set and length.

    Passages are risky texts of the contrasts of a set's category, planted in harmless texts of the contrasts of other
    categories; those of sets with the tag `code` only in each other's. Raises ConfigError if a set has too few texts.
    """
    rows = {loaded.set.id: [r for path in own_contrasts(loaded.set) for r in load_rows(path)] for loaded in sets}
    figures = []
    for loaded in sets:
        used = loaded.set
        alike = [o.set.id for o in sets if o is not loaded and ("code" in o.set.tags) == ("code" in used.tags)]
        risky = [p for p in _pieces(rows[used.id], 1, counts) if p.tokens <= request.passage_tokens]
        harmless = [p for other in alike for p in _pieces(rows[other], 0, counts)]
        if not risky:
            raise ConfigError(f"{used.id}: no contrast has a risky text of at most {request.passage_tokens} tokens")
        if not harmless:
            raise ConfigError(f"{used.id}: no other set to take harmless texts from; name one more, or none for all")
        segment = "response" if "response" in used.segments else "user"
        for length in request.lengths:
            draw = random.Random(f"{request.seed} {used.id} {length}")  # noqa: S311 - a sample, not a secret
            texts = [planted(draw, harmless, risky, length, request.passage_tokens) for _ in range(request.texts)]
            texts += [paragraphs(draw, harmless, length) for _ in range(request.texts)]
            made = [_row(n, text, segment) for n, text in enumerate(texts)]
            scores = score(made, f"{used.id}, {length} tokens")[used.id]
            fires = scores >= used.active_from
            found, false = fires[: request.texts], fires[request.texts :]
            figures.append(PlantedFigures(used.id, length, request.texts, float(found.mean()), float(false.mean())))
    return figures


def planted(
    draw: random.Random, harmless: Sequence[Piece], risky: Sequence[Piece], length: int, passage_tokens: int
) -> list[str]:
    """A text of about `length` tokens as paragraphs, one of which is risky; that one has at most `passage_tokens`."""
    parts = [draw.choice(risky)]
    while sum(p.tokens for p in parts) + (part := draw.choice(risky)).tokens <= passage_tokens:
        parts.append(part)
    text = paragraphs(draw, harmless, length - sum(p.tokens for p in parts))
    text.insert(draw.randint(0, len(text)), "\n".join(p.text for p in parts))
    return text


def paragraphs(draw: random.Random, pieces: Sequence[Piece], tokens: int) -> list[str]:
    """Random texts of about so many tokens together, the last one cut; empty for 0 or less."""
    texts: list[str] = []
    while tokens > 0:
        piece = draw.choice(pieces)
        share = min(tokens / piece.tokens, 1.0)
        texts.append(piece.text[: math.ceil(len(piece.text) * share)])
        tokens -= piece.tokens
    return texts


def planted_table(figures: Sequence[PlantedFigures]) -> str:
    """Recall, and the false-positive rate in brackets, by set and length as Markdown."""
    lengths = sorted({f.length for f in figures})
    by_key = {(f.set_id, f.length): f for f in figures}
    lines = [f"| Set | {' | '.join(f'{length:,}' for length in lengths)} |", "|---" * (len(lengths) + 1) + "|"]
    for set_id in dict.fromkeys(f.set_id for f in figures):
        cells = [f"{by_key[set_id, n].recall:.2f} ({by_key[set_id, n].fpr:.2f})" for n in lengths]
        lines.append(f"| {set_id} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pieces(rows: Sequence[LabelledRow], label: int, counts: TokenCounts) -> list[Piece]:
    """The labelled texts of the rows with that label."""
    chosen = [row for row in rows if row.label == label]
    texts = [r.response if r.labelled_segment == "response" else r.turns[-1].content for r in chosen]
    return [Piece(text, tokens) for text, tokens in zip(texts, counts(texts), strict=True) if tokens]


def _row(number: int, parts: Sequence[str], segment: str) -> LabelledRow:
    text = "\n\n".join(parts)
    said = {"response": text} if segment == "response" else {"prompt": text}
    return LabelledRow.model_validate({"id": str(number), "label": 0, **said})

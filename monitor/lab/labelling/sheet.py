"""NamingSheet: all that a person needs to see to name one latent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.feature_set import Feature
from monitor.lab.curation.contexts import Context, Contexts, contexts_of
from monitor.lab.curation.logit_lens import LensTokens, NotAvailable, logit_lens
from monitor.lab.labelling.texts import LabelTexts
from monitor.lab.reading.sharded_texts import ActiveTokens, ShardedTexts

KINDS = ("top", "middle", "random")
SIDES = ("risky", "harmless", "benign")


@dataclass(frozen=True)
class FiringRate:
    """On how many texts, and on how many of their tokens, a latent is active; shares."""

    texts: float
    tokens: float
    n: int
    """Texts."""


@dataclass(frozen=True)
class NamingSheet:
    """One latent."""

    feature: Feature
    contexts: Contexts
    lens: LensTokens | NotAvailable
    rates: dict[str, FiringRate]
    """By side: risky (label 1), harmless (label 0), benign (from a benign file)."""

    @property
    def by_kind(self) -> dict[str, tuple[Context, ...]]:
        """The contexts by KINDS."""
        found = self.contexts
        return dict(zip(KINDS, (found.strongest, found.middle, found.drawn), strict=True))

    def lens_row(self) -> dict[str, Any] | None:
        """The tokens of the logit lens; None if there is none."""
        if isinstance(self.lens, NotAvailable):
            return None
        sides = {"promoted": self.lens.promoted, "demoted": self.lens.demoted}
        return {side: [text for text, _ in tokens] for side, tokens in sides.items()}

    def rates_row(self) -> dict[str, Any]:
        """The rates, rounded."""
        return {
            side: {"texts": round(rate.texts, 4), "tokens": round(rate.tokens, 6), "n": rate.n}
            for side, rate in self.rates.items()
        }

    def row(self) -> dict[str, Any]:
        """One line of the JSONL file."""
        weight = self.feature.weight
        return {
            "index": self.feature.index,
            "label": self.feature.label,
            "label_score": self.feature.label_score,
            "weight": weight,
            "sign": None if weight is None else "+" if weight >= 0 else "-",
            "firing": self.rates_row(),
            "logit_lens": self.lens_row(),
            "contexts": [
                context_row(context, kind, self.contexts.histogram.highest)
                for kind, contexts in self.by_kind.items()
                for context in contexts
            ],
        }


def context_row(context: Context, kind: str, highest: float) -> dict[str, Any]:
    """A context as JSON: pieces of the text in order, each with its activation."""
    return {
        "kind": kind,
        "file": context.file,
        "row": context.row,
        "side": context.side,
        "token": context.token,
        "activation": round(context.activation, 4),
        "tokens": [[run.text, round(run.strength * highest, 4)] for run in context.runs],
    }


def naming_sheets(read: LabelTexts, show_benign: bool = True) -> tuple[list[NamingSheet], list[int]]:
    """The sheets of the latents that are active on the texts for naming, and the indices of those that are not.

    Without `show_benign`, benign texts give rates but no contexts.
    """
    features = read.features
    rates = {feature.index: rate for feature, rate in zip(features, _rates(read), strict=True)}
    sides = SIDES if show_benign else SIDES[:2]
    active = [f for f in features if any(rate.tokens > 0 for side, rate in rates[f.index].items() if side in sides)]
    latents = [f.index for f in active]
    if not latents:
        return [], [f.index for f in features]
    hook = read.hook
    lens = logit_lens(hook.model.folder, hook.model.tokenizer_file, hook.decoder_rows(latents))
    shown = contexts_of(latents, read.naming, read.benign if show_benign else None, read.request.seed)
    sheets = [
        NamingSheet(feature, contexts, lens if isinstance(lens, NotAvailable) else lens[n], rates[feature.index])
        for n, (feature, contexts) in enumerate(zip(active, shown, strict=True))
    ]
    return sheets, [f.index for f in features if f not in active]


def _rates(read: LabelTexts) -> Iterator[dict[str, FiringRate]]:
    """The rates of each latent on the texts for naming."""
    latents = [feature.index for feature in read.features]
    found = [(texts, texts.active_tokens(latents)) for texts in (*read.naming, *([read.benign] if read.benign else []))]
    for latent in latents:
        yield _rates_of([(texts, active[latent]) for texts, active in found], read.benign)


def _rates_of(found: list[tuple[ShardedTexts, ActiveTokens]], benign: ShardedTexts | None) -> dict[str, FiringRate]:
    totals = {side: np.zeros(4, np.int64) for side in SIDES}  # texts, tokens, active texts, active tokens
    for texts, active in found:
        for label in (0, 1):
            side = "benign" if texts is benign else SIDES[1 - label]
            rows = texts.labels == label
            of_side = rows[active.row]
            totals[side] += (
                int(rows.sum()),
                int(texts.tokens[rows].sum()),
                np.unique(active.row[of_side]).size,
                int(of_side.sum()),
            )
    return {
        side: FiringRate(float(at[2] / at[0]), float(at[3] / max(at[1], 1)), int(at[0]))
        for side, at in totals.items()
        if at[0]
    }

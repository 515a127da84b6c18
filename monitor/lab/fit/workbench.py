"""Workbench: fits the models of sets on the texts of all sources, and scores texts with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import CombineSegments
from detectors.matching import highest_by_name
from monitor.lab.data.recipe import BenignUse, Recipes, SetRecipe
from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.logistic import SparseLogistic, fit_logistic
from monitor.lab.fit.residual_probe import ResidualProbe, fit_residual_probe
from monitor.lab.fit.stability import stable_order
from monitor.lab.fit.text_windows import TextWindows
from monitor.lab.reading.segment_table import SegmentTable


@dataclass(frozen=True)
class Texts:
    """The rows of one file with their activations. `x` [entry, s] are mean latents, shrunk as in the set's pooling."""

    rows: list[LabelledRow]
    table: SegmentTable
    x: NDArray[np.float16]
    entries: list[list[int]]
    """For each row, its entries in the table."""
    shrink: NDArray[np.float32]
    """[entry] The factor by which the set's pooling shrinks a mean."""
    windows: TextWindows | None = None
    """Of the long segments; None if no set has windows."""

    @classmethod
    def of(
        cls, rows: list[LabelledRow], table: SegmentTable, prior_tokens: int, windows: SegmentTable | None = None
    ) -> Texts:
        """The texts of `rows`. Every mean includes `prior_tokens` more tokens without activation."""
        x, shrink = table.shrunk(prior_tokens)
        entries: list[list[int]] = [[] for _ in rows]
        for entry, row in enumerate(table.row):
            entries[int(row)].append(entry)
        long = None if windows is None else TextWindows.of(windows, table, prior_tokens)
        return cls(rows, table, x, entries, shrink, long)

    def labelled(self, label: int) -> list[int]:
        """Entries of the labelled segments of the rows with that label."""
        found = []
        for row, entries in zip(self.rows, self.entries, strict=True):
            if row.label == label and entries:
                named = [e for e in entries if self.table.segment[e] == row.labelled_segment]
                found.append(named[-1] if named else entries[0])
        return found

    def seen(self, segments: tuple[str, ...]) -> list[list[int]]:
        """For each row, the entries that a set with these segments looks at; may be empty."""
        return [[e for e in entries if self.table.segment[e] in segments] for entries in self.entries]

    def judged(self, segments: tuple[str, ...]) -> list[list[int]]:
        """As `seen`, but with all entries of a row in which the set would see nothing."""
        return [seen or entries for seen, entries in zip(self.seen(segments), self.entries, strict=True)]

    def harmless(self, segments: tuple[str, ...]) -> list[int]:
        """The entries that a set with these segments looks at in rows of label 0."""
        pairs = zip(self.rows, self.judged(segments), strict=True)
        return [e for row, entries in pairs if row.label == 0 for e in entries]

    def combined(self, entries: list[int], by_entry: NDArray[np.float64], rule: CombineSegments) -> float:
        """The score of some entries of a row by FeatureSet.combine_segments; `by_entry` [entry] are logits."""
        if rule == "max":
            return float(by_entry[entries].max())
        highest = highest_by_name((str(self.table.segment[entry]), float(by_entry[entry])) for entry in entries)
        return sum(highest) / len(highest)

    def text(self, entry: int) -> str:
        """The text of an entry's segment."""
        return self.rows[int(self.table.row[entry])].text(int(self.table.turn[entry]))

    def texts(self) -> list[str]:
        """The texts of all entries."""
        return [self.text(entry) for entry in range(self.table.row.size)]


@dataclass(frozen=True)
class SetModel:
    """The fitted model of a set: weights on latents, and for a probe set also a probe."""

    features: SparseLogistic
    probe: ResidualProbe | None = None
    window_penalty: float | None = None
    """Of Pooling; None if the set has no windows."""

    @property
    def bias(self) -> float:
        """The bias of the logit."""
        return self.features.bias + (0.0 if self.probe is None else self.probe.bias)

    def logits(self, texts: Texts) -> NDArray[np.float64]:
        """Logits [entry]."""
        whole = self.whole_logits(texts)
        if self.window_penalty is None or texts.windows is None:
            return whole
        return texts.windows.highest(whole, self.window_logits(texts.windows), self.window_penalty)

    def whole_logits(self, texts: Texts) -> NDArray[np.float64]:
        """Logits [entry] of the segments without windows."""
        return self._logits(texts.x, texts.table.residual, texts.shrink)

    def window_logits(self, windows: TextWindows) -> NDArray[np.float64]:
        """Logits [window]."""
        return self._logits(windows.x, windows.residual, windows.shrink)

    def _logits(
        self, x: NDArray[np.float16], residual: NDArray[np.float32], shrink: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        logits = self.features.logits(x)
        if self.probe is None:
            return logits
        return logits + self.probe.bias + self.probe.evidence(residual, shrink)


@dataclass(frozen=True)
class Scored:
    """Scores of the rows of one file by one model, combined over segments as the set does."""

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    rows: list[LabelledRow]


class Workbench:
    """Fits models on texts that were read, and scores texts with them."""

    def __init__(self, recipes: Recipes, texts: dict[str, Texts], benign: list[tuple[BenignUse, Texts]]) -> None:
        self.recipes = recipes
        self._texts = texts
        self._benign = benign

    def training(self, recipe: SetRecipe, held_out: str | None) -> Training:
        """The weighted groups that a set is fitted on, without the family `held_out`."""
        groups: list[tuple[Texts, list[int], int, float]] = []
        for source in recipe.sources:
            if source.train and source.family != held_out:
                texts = self._texts[source.file]
                groups += [(texts, texts.labelled(label), label, 1.0) for label in (1, 0)]
        fit = [(use.kind, texts) for use, texts in self._benign if use.role == "fit"]
        alike = [texts for kind, texts in fit if kind == recipe.benign]
        # harmless rows of other categories are harmless here, too, including their prompts
        others = [*(texts for kind, texts in fit if kind != recipe.benign), *self.other_own(recipe)]
        for harmless, share in ((alike, recipe.benign_share), (others, 1.0)):
            entries = [texts.harmless(recipe.segments) for texts in harmless]
            size = sum(map(len, entries))
            groups += [(t, e, 0, share * len(e) / size) for t, e in zip(harmless, entries, strict=True)]
        return Training([g for g in groups if g[1]])

    def latents(self, data: Training, whole: SetModel) -> NDArray[np.int64]:
        """Latents to choose from, those first on which the sources of `data` agree most; `whole` is of `fit_all`."""
        latents, c = data.latents(), self.recipes.c
        return stable_order(whole.features, latents, data.y, data.weights, data.source, c)

    def fit(self, recipe: SetRecipe, data: Training, latents: NDArray[np.int64]) -> SetModel:
        """A weighted set's model over these latents."""
        columns = np.sort(latents)
        c = recipe.refit_c or self.recipes.refit_c
        fitted = fit_logistic(data.latents()[:, columns], data.y, data.weights, c)
        return SetModel(SparseLogistic(columns, fitted.weights, fitted.bias))

    def fit_all(self, data: Training) -> SetModel:
        """A model over all latents: what a set that keeps a few of them could have."""
        return SetModel(fit_logistic(data.latents(), data.y, data.weights, self.recipes.c))

    def with_probe(self, recipe: SetRecipe, data: Training, weighted: SetModel) -> SetModel:
        """A probe set's model: the logit of the weighted set and that of a probe, `probe_weight` times as wide.

        The logit keeps the spread of the weighted set's.
        """
        residual, shrink = data.residual(), data.shrink()
        probe = fit_residual_probe(residual, shrink, data.y, data.weights, recipe.probe_c or self.recipes.probe_c)
        f = weighted.features
        share = 1 / (1 + recipe.probe_weight)
        spread = f.logits(data.latents()).std() / probe.evidence(residual, shrink).std() * (1 - share)
        return SetModel(
            SparseLogistic(f.latents, f.weights * share, f.bias * share),
            ResidualProbe(probe.direction * spread, probe.offset * spread, probe.bias * spread),
        )

    def score(self, recipe: SetRecipe, texts: Texts, model: SetModel) -> Scored:
        """Scores of all rows that have a segment to look at."""
        return row_scores(recipe, texts, model.logits(texts))

    def judge_texts(self, recipe: SetRecipe) -> list[Texts]:
        """Harmless texts by authors that took no part in fitting."""
        return [t for use, t in self._benign if use.role == "judge" and use.kind == recipe.benign]

    def judge_all(self) -> list[Texts]:
        """Harmless texts as in `judge_texts`, of chat and of code."""
        return [t for use, t in self._benign if use.role == "judge"]

    def other_own(self, recipe: SetRecipe) -> list[Texts]:
        """The project's own rows of the other categories."""
        return [
            self._texts[source.file]
            for other in self.recipes.sets
            for source in other.sources
            if source.family == "own" and other.id != recipe.id
        ]

    def calibration_texts(self, kind: str | None = None) -> list[Texts]:
        """Harmless texts that set the threshold, by source; of only one kind if it is given."""
        return [t for use, t in self._benign if use.role == "calibrate" and kind in (None, use.kind)]


class Training:
    """Entries of several sources with weights. Sources of one label count the same, and so do the two labels."""

    def __init__(self, groups: list[tuple[Texts, list[int], int, float]]) -> None:
        self._groups = groups
        self.y = np.concatenate([np.full(len(e), label, dtype=np.int64) for _, e, label, _ in groups])
        weights = np.concatenate([np.full(len(e), share / len(e)) for _, e, _, share in groups])
        for label in (0, 1):
            weights[self.y == label] /= weights[self.y == label].sum()
        self.weights = weights * self.y.size / 2
        numbers = {id(texts): n for n, (texts, *_) in enumerate(groups)}
        self.source = np.concatenate([np.full(len(e), numbers[id(texts)]) for texts, e, _, _ in groups])

    def latents(self) -> NDArray[np.float32]:
        """Pooled latents [entry, s]."""
        return np.concatenate([t.x[e] for t, e, _, _ in self._groups]).astype(np.float32)

    def residual(self) -> NDArray[np.float32]:
        """Mean residual [entry, d]."""
        return np.concatenate([t.table.residual[e] for t, e, _, _ in self._groups])

    def shrink(self) -> NDArray[np.float32]:
        """[entry] The factor by which the set's pooling shrinks a mean."""
        return np.concatenate([t.shrink[e] for t, e, _, _ in self._groups])

    def words(self) -> list[str]:
        """The texts of the entries."""
        return [t.text(i) for t, e, _, _ in self._groups for i in e]


def joined(parts: Sequence[Scored]) -> Scored:
    """The rows of several files as if they were one."""
    return Scored(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
        [row for part in parts for row in part.rows],
    )


def row_scores(recipe: SetRecipe, texts: Texts, by_entry: NDArray[np.float64]) -> Scored:
    """Scores of the rows, from the scores of their entries."""
    kept = [(row, entries) for row, entries in zip(texts.rows, texts.judged(recipe.segments), strict=True) if entries]
    return Scored(
        np.array([texts.combined(entries, by_entry, recipe.combine_segments) for _, entries in kept]),
        np.array([row.label for row, _ in kept], dtype=np.int64),
        [row for row, _ in kept],
    )

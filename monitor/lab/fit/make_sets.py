"""Fits, calibrates and measures the feature sets of a recipe, and writes their files and lock.

Every source family is held out once: a set fitted on all others gives the figures for it. The weights that ship are
fitted on all sources together, with thresholds from harmless texts that took no part in fitting; the false-positive
rate is measured on harmless texts by yet other authors.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from monitor.auroc import auroc
from monitor.errors import ConfigError
from monitor.lab.data.recipe import BenignUse, Recipes, SetRecipe, SourceUse
from monitor.lab.data.rows import LabelledRow, load_rows, sampled
from monitor.lab.fit.baselines import word_only_scores
from monitor.lab.fit.contenders import DENSE_C
from monitor.lab.fit.logistic import fit_logistic
from monitor.lab.fit.set_file import set_body, write_labels, write_reader, write_set
from monitor.lab.fit.set_thresholds import Thresholds, calibrated, thresholds_of
from monitor.lab.fit.window_penalty import over_windows
from monitor.lab.fit.workbench import Scored, SetModel, Texts, Training, Workbench, joined, row_scores
from monitor.lab.reading.compiled_residual import compiled_residual_reader
from monitor.lab.reading.segment_table import SegmentReader
from monitor.lab.reading.top_tokens import TopTokens
from monitor.lab.statistics import (
    bootstrap_interval,
    pair_win_rate,
    recall_at_fpr,
)
from monitor.model.files import file_sha256, locate
from monitor.readers.cut_model import TorchPrecision
from monitor.readers.reader import Reader
from monitor.readers.torch_reader import TorchReader
from monitor.readers.windows import WindowReader
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.saelens import WEIGHTS_FILE, load_saelens
from monitor.sets.probe import Probe
from monitor.sets.weights import SetWeights
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser

KINDS = ("weighted", "probe")
MIN_PROBE_GAIN = 0.005
"""What a probe must gain on held-out sources to be worth a score that features explain only in part."""
SIZES = (64, 32, 16)
"""How many latents the models have that show what fewer of them cost."""

_LABEL_ROWS = 150
"""Rows of each of the project's own files that latents are labelled by."""

# by kind of detector: model of a set
Fitted = dict[str, SetModel]
Figures = dict[str, dict[str, Any]]


def fitted_kinds(bench: Workbench, recipe: SetRecipe, data: Training, latents: NDArray[np.int64]) -> Fitted:
    """The set over these latents as each kind of detector."""
    weighted = bench.fit(recipe, data, latents)
    kinds = {"weighted": weighted, "probe": bench.with_probe(recipe, data, weighted)}
    return {kind: over_windows(bench, recipe, model) for kind, model in kinds.items()}


def shipped_model(bench: Workbench, recipe: SetRecipe, kind: str) -> SetModel:
    """The set fitted on all sources, over the latents that people chose, or that were found."""
    data = bench.training(recipe, None)
    if recipe.latents:
        latents = np.array(recipe.latents, np.int64)
    else:
        latents = bench.latents(data, bench.fit_all(data))[: _keep(bench, recipe)]
    return fitted_kinds(bench, recipe, data, latents)[kind]


def held_out_metrics(bench: Workbench, recipe: SetRecipe, family: str, texts: dict[str, Texts]) -> dict[str, Figures]:
    """Figures of every source of `family`, by models fitted without it, by kind and then by file stem."""
    data = bench.training(recipe, family)
    if not (data.y == 1).any():
        return {}
    whole = bench.fit_all(data)
    found_latents = bench.latents(data, whole)
    models = fitted_kinds(bench, recipe, data, found_latents[: _keep(bench, recipe)])
    dense = fit_logistic(data.residual(), data.y, data.weights, DENSE_C)
    words = word_only_scores(data.words(), data.y, data.weights)
    judged = bench.judge_texts(recipe)
    benign = {k: np.concatenate([bench.score(recipe, t, m).scores for t in judged]) for k, m in models.items()}
    thresholds = {kind: thresholds_of(bench, recipe, model) for kind, model in models.items()}
    few = {
        str(size): bench.fit(recipe.model_copy(update={"refit_c": None}), data, found_latents[:size]) for size in SIZES
    }
    sizes = {size: over_windows(bench, recipe, model) for size, model in {"all": whole, **few}.items()}
    found: dict[str, Figures] = {kind: {} for kind in KINDS}
    for source in (s for s in recipe.sources if s.family == family):
        labels = {row.label for row in texts[source.file].rows}
        if 1 not in labels:
            continue
        these = [texts[source.file], *([] if 0 in labels else hard_negatives(recipe, texts))]
        scored = {kind: joined([bench.score(recipe, t, model) for t in these]) for kind, model in models.items()}
        by_residual = joined([row_scores(recipe, t, dense.logits(t.table.residual)) for t in these])
        by_words = joined([row_scores(recipe, t, words(t.texts())) for t in these])
        shared = {
            "weighted_auroc": _area(scored["weighted"]),
            "with_probe_auroc": _area(scored["probe"]),
            **_baseline("dense_probe", by_residual),
            **_baseline("word_only", by_words),
            "by_size": {size: _size_figures(bench, recipe, these, model) for size, model in sizes.items()},
        }
        for kind in KINDS:
            found[kind][_name(source)] = {
                **_figures(scored[kind], benign[kind], thresholds[kind]),
                **shared,
                "held_out": True,
            }
    return found


def _keep(bench: Workbench, recipe: SetRecipe) -> int:
    return recipe.keep or bench.recipes.keep


def hard_negatives(recipe: SetRecipe, texts: dict[str, Texts]) -> list[Texts]:
    """Sources of only harmless rows that nothing is fitted on: a source of only risky rows is compared with them."""
    judged = [texts[source.file] for source in recipe.sources if not source.train]
    return [t for t in judged if all(row.label == 0 for row in t.rows)]


def best_kind(metrics: dict[str, Figures], recipe: SetRecipe) -> str:
    """The kind that generalises best over held-out sources: mean AUROC against own and against unrelated negatives."""
    contrary = {_name(source) for source in recipe.sources if not source.train}

    def mean(kind: str) -> float:
        rows = [row for name, row in metrics[kind].items() if name not in contrary]
        values = [row[key] for row in rows for key in ("auroc", "auroc_vs_benign") if row[key] is not None]
        return float(np.mean(values))

    return "probe" if mean("probe") >= mean("weighted") + MIN_PROBE_GAIN else "weighted"


def _figures(own: Scored, benign: NDArray[np.float64], thresholds: Thresholds) -> dict[str, Any]:
    positive = own.scores[own.labels == 1]
    return {
        "auroc": _area(own),
        "auroc_interval_95": _interval(own),
        "auroc_vs_benign": _round(auroc(positive, benign)),
        "recall_at_1pct_fpr": _round(recall_at_fpr(positive, benign, 0.01)),
        "recall_at_threshold": _round(float((positive >= thresholds.watch).mean())),
        "recall_at_escalation": _round(float((positive >= thresholds.page).mean())),
        "pair_win_rate": _round(pair_win_rate(own.scores, own.labels, [row.pair for row in own.rows])),
        "n_positive": int(positive.size),
        "n_negative": int((own.labels == 0).sum()),
    }


def _size_figures(bench: Workbench, recipe: SetRecipe, texts: list[Texts], model: SetModel) -> dict[str, Any]:
    own = joined([bench.score(recipe, t, model) for t in texts])
    benign = np.concatenate([bench.score(recipe, t, model).scores for t in bench.judge_texts(recipe)])
    recall = recall_at_fpr(own.scores[own.labels == 1], benign, 0.01)
    return {"auroc": _area(own), "recall_at_1pct_fpr": _round(recall)}


def _baseline(name: str, scored: Scored) -> dict[str, Any]:
    return {f"{name}_auroc": _area(scored), f"{name}_interval_95": _interval(scored)}


def _area(scored: Scored) -> float | None:
    return _round(auroc(scored.scores[scored.labels == 1], scored.scores[scored.labels == 0]))


def _interval(scored: Scored) -> list[float] | None:
    if len(set(scored.labels.tolist())) < 2:
        return None
    clusters = [row.cluster for row in scored.rows]
    return [round(v, 3) for v in bootstrap_interval(auroc, scored.scores, scored.labels, clusters)]


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


def _name(source: SourceUse) -> str:
    stem = Path(source.file).stem
    return f"own_{stem}" if source.family == "own" else stem


def make_sets(
    *,
    out: Path,
    data: list[Path],
    recipes: Recipes,
    model: str,
    cache: Path,
    device: str,
    precision: TorchPrecision,
    bundle: Path | None = None,
) -> None:
    """Makes the sets of `recipes` in the folder `out`, which contains their SAE in the folder `sae`.

    `data` are the folders with the labelled files. Activations are stored in `cache`, so that no text is read twice.
    Texts are read with torch, or with the compiled `bundle`.
    """
    console = Console(stderr=True)
    files = locate(model, None, None)
    sae = load_saelens(out / "sae")
    sae_sha256 = file_sha256(out / "sae" / WEIGHTS_FILE)
    tokeniser = EventTokeniser.load(files.tokenizer_file, ChatTemplate(files.chat_template(), files.special_tokens()))

    def residual_reader() -> tuple[Reader, str]:
        if bundle is None:
            return TorchReader(files.folder, recipes.layer, lambda x: x, device=device, dtype=precision), precision
        return compiled_residual_reader(bundle, files.sha256, recipes.layer)

    reader, read_in = residual_reader()
    windows = WindowReader(reader, tokeniser.shared_prefixes(), window_tokens=2048, overlap_tokens=256)
    segments = SegmentReader(
        reader=windows,
        d_model=sae.d_in,
        encoder=CuratedEncoder(sae, range(sae.d_sae), "raw", device),
        tokeniser=tokeniser,
        max_norm=recipes.max_norm,
        key=f"{files.sha256} {sae_sha256} {recipes.layer} {read_in}",
        folder=cache,
    )

    windowed = next((recipes.pooling(r) for r in recipes.sets if r.windows), None)

    def texts_of(rows: list[LabelledRow], name: str) -> Texts:
        with console.status(f"reading {name}"):
            if windowed is None:
                table, long = segments.read(rows), None
            else:
                table, long = segments.read_with_windows(rows, windowed)
        console.print(f"{name}: {len(rows)} rows, {int(table.tokens.sum())} tokens", highlight=False)
        return Texts.of(rows, table, recipes.prior_tokens, long)

    sources = {s.file: s for r in recipes.sets for s in r.sources}
    own = {s.file for r in recipes.sets for s in r.sources if s.family == "own"}
    texts = {
        f: texts_of(source_rows(use, data, None if f in own else recipes.rows_per_source), f)
        for f, use in sorted(sources.items())
    }
    benign = [
        (use, texts_of(benign_rows(use, data), f"{use.file} ({use.source or 'all'}, {use.role})"))
        for use in recipes.benign
    ]
    bench = Workbench(recipes, texts, benign)

    metrics: dict[str, dict[str, Figures]] = {r.id: {kind: {} for kind in KINDS} for r in recipes.sets}
    for recipe in recipes.sets:
        for family in track(dict.fromkeys(s.family for s in recipe.sources), recipe.id, console=console):
            for kind, figures in held_out_metrics(bench, recipe, family, texts).items():
                metrics[recipe.id][kind] |= figures
    kinds = {r.id: best_kind(metrics[r.id], r) for r in recipes.sets}
    models = {r.id: shipped_model(bench, r, kinds[r.id]) for r in track(recipes.sets, "all sources", console=console)}

    latents = sorted({int(i) for m in models.values() for i in m.features.latents})
    labels = TopTokens(windows, sae.d_in, CuratedEncoder(sae, latents, "raw", device), tokeniser)
    with console.status("labelling features"):
        labels.look_at([row for file in sorted(own) for row in texts[file].rows[:_LABEL_ROWS]])
    label = {latent: labels.label(n) for n, latent in enumerate(latents)}
    write_reader(out, recipes, files.sha256, sae_sha256, sae.d_sae)
    write_labels(out, label, labels.evidence())
    lock: dict[str, Any] = {}
    for recipe in recipes.sets:
        fitted, kind = models[recipe.id], kinds[recipe.id]
        console.print(f"{recipe.id}: {kind}", highlight=False)
        body = {
            **set_body(recipe, recipes, fitted.window_penalty),
            "detector": kind,
            "bias": round(float(fitted.bias), 5),
            **calibrated(bench, recipe, fitted),
        }
        lock[recipe.id] = write_set(out, body, set_weights(fitted), metrics[recipe.id][kind], label)
    (out / "sets.lock").write_text(yaml.safe_dump(lock, sort_keys=True))


def set_weights(fitted: SetModel) -> SetWeights:
    """What is written of a model: five digits, the highest weight first."""
    order = np.argsort(-fitted.features.weights, kind="stable")
    weights = np.array([float(f"{w:.5g}") for w in fitted.features.weights[order]], np.float32)
    probe = None
    if fitted.probe is not None:
        probe = Probe.of(fitted.probe.direction.astype(np.float32), float(np.float32(fitted.probe.offset)))
    return SetWeights(fitted.features.latents[order].astype(np.int64), weights, probe)


def find(file: str, folders: list[Path]) -> Path:
    """`file` in the first folder that has it. Raises ConfigError if none does."""
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    raise ConfigError(f"{file}: in none of {', '.join(map(str, folders))}")


def source_rows(use: SourceUse, folders: list[Path], limit: int | None) -> list[LabelledRow]:
    """The rows that `use` names; whole clusters of them if there are more than `limit`."""
    return sampled([r for r in load_rows(find(use.file, folders)) if use.only.search(r.id)], limit)


def benign_rows(use: BenignUse, folders: list[Path]) -> list[LabelledRow]:
    """The rows that `use` names, the same in every run."""
    low, high = use.part
    rows = [r for r in load_rows(find(use.file, folders)) if r.source.startswith(use.source)]
    rows = [r for r in rows if low <= _unit_hash(r.id) < high]
    return sorted(rows, key=lambda r: _unit_hash(r.id + "order"))[: use.rows]


def _unit_hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

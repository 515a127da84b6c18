"""Curate: from labelled contrasts to ranked candidate features for a category."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from detectors.feature_set import SegmentName
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.curation.candidates import FeatureCandidate, threshold_of
from monitor.lab.curation.contexts import contexts_of
from monitor.lab.curation.logit_lens import NotAvailable, logit_lens
from monitor.lab.curation.ranking import LatentFigures, rank
from monitor.lab.data.rows import LabelledRow, load_benign, load_rows
from monitor.lab.reading.hook import Hook, shard_reader
from monitor.lab.reading.progress import row_progress
from monitor.lab.reading.sharded_texts import ShardedTexts

_FEW = 20
"""With fewer rows of a label than this, a source's figures are mostly chance."""
_ORDER: tuple[SegmentName, ...] = ("user", "response")


@dataclass(frozen=True)
class CurationRequest:
    """What to look for, and in which rows."""

    data: tuple[Path, ...]
    benign: tuple[Path, ...]
    category: str
    top: int = 20
    pooling: str = "mean"
    """One of POOLINGS, for the ranking and for the written set."""
    target_fpr: float = 0.01
    seed: int = 0
    limit: int | None = None
    """Most rows of each file, drawn with `seed`; pairs stay whole."""
    cache: Path | None = None


@dataclass(frozen=True)
class CurationResult:
    """Candidates, best first, and notes that anyone who reads them needs."""

    candidates: list[FeatureCandidate]
    segments: tuple[SegmentName, ...]
    benign: int
    """Number of benign texts that count."""
    together: float
    """Share of the benign texts that reach the threshold of at least one candidate."""
    notes: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows of each file were used."""


def curate(request: CurationRequest, hook: Hook, config: Config, console: Console) -> CurationResult:
    """Ranks the latents of the hook's SAE. Raises ConfigError if a file, a row or the SAE can't be used."""
    data = {path: load_rows(path, request.limit, request.seed) for path in dict.fromkeys(request.data)}
    limits = config.events.limits
    benign = {
        path: load_benign(path, request.limit, request.seed, limits, config.events.body_format())
        for path in dict.fromkeys(request.benign)
    }
    _check_rows(data, benign)
    with tempfile.TemporaryDirectory(prefix="latentwatch-") as scratch:
        return _Curator(request, hook, config, console, request.cache or Path(scratch)).result(data, benign)


class _Curator:
    """Reads every text once, ranks the latents, and gathers the contexts of the best."""

    def __init__(self, request: CurationRequest, hook: Hook, config: Config, console: Console, cache: Path) -> None:
        self._request = request
        self._hook = hook
        self._console = console
        self._shards = shard_reader(hook, config, cache)
        self._notes: list[str] = []

    def result(self, data: dict[Path, list[LabelledRow]], benign: dict[Path, list[LabelledRow]]) -> CurationResult:
        request, hook = self._request, self._hook
        names = _short_names(list(data))
        sources = [self._texts(names[path], rows) for path, rows in data.items()]
        segments = hook.segments or _labelled_segments(data.values())
        harmless = self._texts("benign rows", [row for rows in benign.values() for row in rows], segments)
        self._check_sides(sources, harmless, segments)
        with row_progress(self._console) as progress:
            task = progress.add_task("ranking latents", total=hook.sae.d_sae)
            ranking = rank(
                sources, harmless, hook.sae.d_sae, request.pooling, lambda count: progress.advance(task, count)
            )
        best = ranking.best(request.top)
        if not best:
            raise ConfigError(
                "--data: no latent is more active on label 1 in every source and inactive on some benign text; check "
                "the labels, or give more rows or sources that have more in common"
            )
        if len(best) < request.top:
            self._notes.append(f"only {len(best)} latents have a score above 0; --top asked for {request.top}")
        if np.isnan(ranking.length_matched).all():
            self._notes.append("too few texts of similar length for length-matched figures; scores ignore them")
        candidates = self._candidates(best, sources, harmless)
        together = float(np.stack([c.threshold.reached for c in candidates]).any(axis=0).mean())
        counts = {str(path): len(rows) for path, rows in (*data.items(), *benign.items())}
        return CurationResult(candidates, segments, len(harmless.rows), together, self._notes, counts)

    def _texts(self, name: str, rows: list[LabelledRow], segments: Sequence[SegmentName] | None = None) -> ShardedTexts:
        with row_progress(self._console) as progress:
            task = progress.add_task(f"reading {name}", total=len(rows))
            files = self._shards.read(rows, lambda count: progress.advance(task, count))
        texts = ShardedTexts(name, rows, files, segments)
        if texts.unseen:
            self._notes.append(
                f"{texts.unseen} of {len(rows)} rows of {name} have no text in the segments read and are not counted"
            )
        return texts

    def _check_sides(
        self, sources: Sequence[ShardedTexts], benign: ShardedTexts, segments: Sequence[SegmentName]
    ) -> None:
        if not benign.rows:
            raise ConfigError(f"--benign: no row has text in the segments that are read ({', '.join(segments)})")
        for source in sources:
            risky = int((source.labels == 1).sum())
            harmless = int((source.labels == 0).sum())
            if not risky:
                raise ConfigError(f"--data {source.name}: no row of label 1 has text in the segment that is read")
            if not harmless:
                self._notes.append(f"{source.name}: no rows of label 0, so it is compared with the benign texts")
            if min(risky, harmless or len(benign.rows)) < _FEW:
                self._notes.append(
                    f"{source.name}: fewer than {_FEW} rows of a label, so its figures are mostly chance"
                )
        if len(benign.rows) * self._request.target_fpr < 1:
            self._notes.append(
                f"a target rate of {self._request.target_fpr:g} needs {math.ceil(1 / self._request.target_fpr)} benign "
                f"texts, but there are {len(benign.rows)}: thresholds are above all of them, the true rate is unknown"
            )

    def _candidates(
        self, best: Sequence[LatentFigures], sources: Sequence[ShardedTexts], benign: ShardedTexts
    ) -> list[FeatureCandidate]:
        request, hook = self._request, self._hook
        latents = [figures.latent for figures in best]
        lens = logit_lens(hook.model.folder, hook.model.tokenizer_file, hook.decoder_rows(latents))
        if isinstance(lens, NotAvailable):
            self._notes.append(f"logit lens not available: {lens.reason}")
        found = []
        with row_progress(self._console) as progress:
            shown = progress.track(
                contexts_of(latents, sources, benign, request.seed), len(best), description="gathering contexts"
            )
            for n, (figures, contexts) in enumerate(zip(best, shown, strict=True)):
                threshold, recall = threshold_of(figures.latent, request.pooling, sources, benign, request.target_fpr)
                tokens = lens if isinstance(lens, NotAvailable) else lens[n]
                found.append(FeatureCandidate(n + 1, figures, threshold, recall, contexts, tokens))
        return found


def _check_rows(data: dict[Path, list[LabelledRow]], benign: dict[Path, list[LabelledRow]]) -> None:
    problems = [f"{path}: no rows" for path, rows in (*data.items(), *benign.items()) if not rows]
    problems += [
        f"{path}: label: no row has label 1; every --data file needs some; give files of harmless rows as --benign"
        for path, rows in data.items()
        if rows and not any(row.label for row in rows)
    ]
    if problems:
        raise ConfigError(problems)


def _short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The files' names, or their paths if two names are the same."""
    names = [path.name for path in paths]
    return {path: path.name if names.count(path.name) == 1 else str(path) for path in paths}


def _labelled_segments(files: Iterable[list[LabelledRow]]) -> tuple[SegmentName, ...]:
    """The segments that the labels are about, in the order of a conversation."""
    found = {row.labelled_segment for rows in files for row in rows}
    return tuple(name for name in _ORDER if name in found)

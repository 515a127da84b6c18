"""Compiles a model and an SAE into a bundle, in the fastest precision that decides as float32 does."""

from __future__ import annotations

import json
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

import monitor
from detectors.feature_set import ReaderRef
from detectors.matching import Matcher
from monitor.activations.bundle import (
    EMBEDDINGS,
    EXACT_GOLDEN,
    EXACT_GRAPH,
    EXACT_TOLERANCE,
    GOLDEN,
    GRAPH,
    MANIFEST,
    STARTS,
    TEXT_FILES,
    Bundle,
    BundleModel,
    BundlePrecision,
    BundleSae,
    Candidate,
    Manifest,
    PrecisionName,
    load_bundle,
    load_starts,
)
from monitor.activations.compact import RESIDUAL
from monitor.activations.golden import Golden
from monitor.activations.model_files import ModelFiles, file_sha256
from monitor.activations.onnx_reader import OnnxReader
from monitor.activations.reader import Chunk
from monitor.activations.tokens import EventTokeniser, Tokenised
from monitor.auroc import auroc
from monitor.calibration_events import CalibrationEvent
from monitor.errors import ConfigError
from monitor.feature_set_files import LoadedSet
from monitor.probe import Probe
from monitor.sae.weights import SaeWeights

PrecisionChoice = Literal["auto", "fp32", "int8"]

MIN_AGREEMENT = 0.995
MAX_AUROC_LOSS = 0.005
MAX_POSITIONS = 8_192
"""Longest past plus chunk that a graph is written for; the tables of the rotary embedding end there."""

_SPEED_TOKENS = 128 * 8
_SPEED_ROUNDS = 3
_FVU_EVENTS = 100
_BOOTSTRAP_DRAWS = 200
_MARGIN_DEVIATIONS = 3.0
_GOLDEN_TEXTS, _GOLDEN_TOKENS = 8, 160
# What the same graph may differ by on another processor. fp32 sums in another order; int8 rounds now and then the
# other way after it. A wrong result (saturated sums, another weight) is far beyond both.
_GOLDEN_TOLERANCE: dict[PrecisionName, float] = {"fp32": EXACT_TOLERANCE, "int8": 0.05}


@dataclass(frozen=True)
class Source:
    """What a bundle is made of."""

    model: ModelFiles
    sae: SaeWeights
    ref: ReaderRef
    latents: Sequence[int]
    """SAE latents that must be readable; all of them for TopK."""
    probes: Sequence[Probe]
    sets: Sequence[LoadedSet]


# Scores of every set on every event, [event, set], by a reader; NaN where a set has no segment to look at
Judge = Callable[[OnnxReader, Sequence[CalibrationEvent]], NDArray[np.float64]]


def compile_bundle(
    source: Source,
    out: Path,
    tokeniser: EventTokeniser,
    judge: Judge,
    events: Sequence[CalibrationEvent],
    precision: PrecisionChoice = "auto",
    threads: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    accept: Callable[[OnnxReader], None] = lambda _: None,
) -> Bundle:
    """Writes the bundle `out`; the folder appears complete or not at all.

    Under `auto`, fp32 and int8 are built and timed on this machine, and the fastest is taken that decides as fp32 on
    `MIN_AGREEMENT` of the events and whose AUROC is not lower by more than `MAX_AUROC_LOSS` (beyond what chance gives
    on so many events) on any set. With a rounding graph comes the one in float32, which is asked where a score comes
    near a threshold.
    Raises ConfigError for a model or an SAE that cannot be built, and where `out` exists. `accept` sees the reader in
    float32 before anything is measured or left, and may refuse it by the same error.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; a bundle is never changed, name another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as work:
        made = _Compiler(source, Path(work), tokeniser, judge, events, threads, progress).make(precision, accept)
        made.chmod(0o755)
        try:
            made.rename(out)
        except OSError as e:
            if not out.exists():
                raise
            raise ConfigError(f"{out}: another process made it in the meantime: {e.strerror}") from None
    return load_bundle(out)


class _Compiler:
    def __init__(
        self,
        source: Source,
        work: Path,
        tokeniser: EventTokeniser,
        judge: Judge,
        events: Sequence[CalibrationEvent],
        threads: int,
        progress: Callable[[str], None],
    ) -> None:
        try:
            import monitor.compiler.graph  # noqa: F401 - onnx is asked for before any work is done
            from monitor.compiler.architectures import architecture_of
            from monitor.compiler.model_weights import ModelWeights, read_config
            from monitor.compiler.rotation import rotation
        except ImportError as e:
            raise ConfigError(f"compiling needs {e.name}; run: pip install 'latentwatch[compile]'") from None
        self._source = source
        self._work = work
        self._tokeniser = tokeniser
        self._judge = judge
        self._events = events
        self._threads = threads
        self._say = progress
        folder = source.model.folder
        self._architecture = architecture_of(read_config(folder), str(folder / "config.json"))
        self._weights = ModelWeights(folder)
        self._blocks = source.ref.layer + 1
        if self._blocks > self._architecture.layers:
            raise ConfigError(
                f"reader.layer: {source.ref.layer}, but the model has blocks 0 to {self._architecture.layers - 1}"
            )
        self._positions = min(self._architecture.max_positions, MAX_POSITIONS)
        # Norms behind the branches stand between weights and residual stream, so that nothing could be folded there
        foldable = not self._architecture.branch_norms
        self._turn = rotation(self._architecture.d_model) if foldable else None

    @cached_property
    def _items(self) -> list[Tokenised]:
        """The calibration events as tokens."""
        return self._tokeniser.tokenise([e.event for e in self._events])

    def make(self, precision: PrecisionChoice, accept: Callable[[OnnxReader], None]) -> Path:
        golden = self._golden_texts()
        self._write_embeddings()
        self._build("fp32")
        self._write_starts()
        accept(self._reader("fp32"))
        candidates: tuple[Candidate, ...] = ()
        chosen: PrecisionName = "fp32"
        if precision != "fp32":
            self._build("int8")
            candidates = tuple(self._measure(("fp32", "int8") if precision == "auto" else ("int8",)))
            chosen = candidates[-1].precision
        return self._finish(precision, chosen, candidates, golden)

    def _finish(
        self,
        asked: PrecisionChoice,
        chosen: PrecisionName,
        candidates: tuple[Candidate, ...],
        golden: Sequence[NDArray[np.int32]],
    ) -> Path:
        folder = self._work / "bundle"
        folder.mkdir()
        Golden.read(self._reader(chosen), golden).save(folder / GOLDEN)
        graphs: dict[PrecisionName, str] = {chosen: GRAPH}
        if chosen != "fp32":
            graphs["fp32"] = EXACT_GRAPH
            Golden.read(self._reader("fp32"), golden).save(folder / EXACT_GOLDEN)
        for name, graph in graphs.items():
            self._build(name, folder / graph)  # anew: a graph names the file of its weights
        for file in (EMBEDDINGS, STARTS):
            (self._work / file).rename(folder / file)
        for text in TEXT_FILES:
            if (self._source.model.folder / text).is_file():
                shutil.copyfile(self._source.model.folder / text, folder / text)
        files = {}
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)
            files[path.name] = file_sha256(path)
        manifest = self._manifest(asked, chosen, candidates, files)
        (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")
        return folder

    def _build(self, name: PrecisionName, path: Path | None = None) -> None:
        from monitor.compiler.graph import Graph
        from monitor.compiler.model_graph import add_blocks
        from monitor.compiler.sae_graph import add_encoder

        self._say(f"building the graph in {name}")
        source, ref, graph = self._source, self._source.ref, Graph()
        residual = add_blocks(graph, self._weights, self._architecture, self._blocks, name, self._turn, self._positions)
        basis = ref.sae.activation_basis
        add_encoder(graph, residual, source.sae, source.latents, basis, ref.max_norm, self._turn, name, source.probes)
        graph.output(residual, RESIDUAL, "float32", ["token", self._architecture.d_model])
        graph.save(path or self._graph(name))

    def _graph(self, name: PrecisionName) -> Path:
        return self._work / f"{name}.onnx"

    def _write_embeddings(self) -> None:
        embeddings = self._weights.get("embed_tokens.weight") * np.float32(self._architecture.embedding_scale)
        np.save(self._work / EMBEDDINGS, embeddings if self._turn is None else embeddings @ self._turn, False)

    def _write_starts(self) -> None:
        """Reads the beginnings that all events share, in float32: an attention sink's activations overwhelm int8."""
        reader = self._bare_reader("fp32")
        tensors: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {}
        starts = [s for s in self._tokeniser.constant_starts() if s.size < self._positions]
        for n, tokens in enumerate(starts):
            keys, values = reader.keys_values(reader.remember(tokens))
            tensors |= {f"tokens.{n}": tokens, f"keys.{n}": keys, f"values.{n}": values}
        save_file(tensors, self._work / STARTS)

    def _bare_reader(self, name: PrecisionName) -> OnnxReader:
        embeddings = np.load(self._work / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        manifest = self._manifest("fp32", "fp32", (), {})
        columns = manifest.slots_of([*self._source.latents, *manifest.sae.probes])
        return OnnxReader(self._graph(name), manifest.shape(), embeddings, columns, threads=self._threads)

    def _reader(self, name: PrecisionName) -> OnnxReader:
        reader = self._bare_reader(name)
        for start in load_starts(self._work / STARTS):
            reader.preload(*start)
        return reader

    def _measure(self, names: Sequence[PrecisionName]) -> Iterator[Candidate]:
        """Candidates from the fastest on, up to the first that is accepted; float32 always is."""
        readers: dict[PrecisionName, OnnxReader] = {name: self._reader(name) for name in {*names, "fp32"}}
        speeds = self._speeds(readers)
        exact: NDArray[np.float64] | None = None
        for name in sorted(names, key=lambda name: -speeds[name]):
            self._say(f"{name}: {speeds[name]:,.0f} tokens/s")
            if name == "fp32":
                yield _exact_candidate(speeds["fp32"])
                return
            if exact is None:
                self._say(f"judging {len(self._events)} events in fp32")
                exact = self._judge(readers["fp32"], self._events)
            self._say(f"judging {len(self._events)} events in {name}")
            found = self._judge(readers[name], self._events)
            candidate = self._candidate(name, speeds, exact, found, self._residual_fvu(readers[name], readers["fp32"]))
            yield candidate
            if candidate.accepted:
                return

    def _candidate(
        self,
        name: PrecisionName,
        speeds: Mapping[PrecisionName, float],
        exact: NDArray[np.float64],
        found: NDArray[np.float64],
        fvu: tuple[float, int, float | None],
    ) -> Candidate:
        sets = self._source.sets
        before, after = (_distances(sets, scores) for scores in (exact, found))
        measured = np.isfinite(after - before).sum(axis=0) > 0  # a set may look at segments that no event has
        noise = np.zeros(len(sets))
        noise[measured] = np.nanstd((after - before)[:, measured], axis=0)
        near = (after >= -_MARGIN_DEVIATIONS * noise).sum(axis=1) > 0  # what is compared with NaN is False
        decided = np.where(near[:, None], exact, found)
        usual = np.array([event.label != 1 for event in self._events])
        again = float(near[usual].mean()) if usual.any() else 1.0
        agreement = float((((after >= 0) & near[:, None]) == (before >= 0))[~near].all(axis=1).sum() + near.sum())
        effective = 1 / (1 / speeds[name] + again / speeds["fp32"])
        losses = {s.set.id: self._auroc_loss(s.set.category, exact[:, n], decided[:, n]) for n, s in enumerate(sets)}
        known = {name: loss for name, loss in losses.items() if loss is not None}
        return Candidate(
            precision=name,
            tokens_per_s=round(speeds[name], 1),
            read_again=round(again, 4),
            effective_tokens_per_s=round(effective, 1),
            raw_agreement=round(float(((after >= 0) == (before >= 0)).all(axis=1).mean()), 5),
            agreement=round(agreement / len(self._events), 5),
            auroc_loss={name: round(loss, 5) for name, (loss, _) in known.items()},
            auroc_loss_at_least={name: round(low, 5) for name, (_, low) in known.items()},
            margins={
                loaded.set.id: round(_MARGIN_DEVIATIONS * float(n), 5)
                for loaded, n, known_noise in zip(sets, noise, measured, strict=True)
                if known_noise
            },
            residual_fvu=fvu[0],
            massive_tokens=fvu[1],
            massive_residual_fvu=fvu[2],
            accepted=agreement / len(self._events) >= MIN_AGREEMENT
            and max((low for _, low in known.values()), default=0.0) <= MAX_AUROC_LOSS
            and effective > speeds["fp32"],
        )

    def _auroc_loss(
        self, category: str, exact: NDArray[np.float64], decided: NDArray[np.float64]
    ) -> tuple[float, float] | None:
        """The loss and the lower end of its interval, on the events labelled for that category; None without any."""
        labels = np.array([-1 if e.label is None or e.category != category else e.label for e in self._events])
        usable = np.flatnonzero((labels >= 0) & ~np.isnan(exact) & ~np.isnan(decided))
        if len(set(labels[usable])) < 2:
            return None
        draws = np.random.default_rng(0).choice(usable, (_BOOTSTRAP_DRAWS, usable.size))
        losses = [_area(exact[d], labels[d]) - _area(decided[d], labels[d]) for d in (usable, *draws)]
        return losses[0], float(np.nanquantile(losses[1:], 0.05))

    def _residual_fvu(self, rounding: OnnxReader, exact: OnnxReader) -> tuple[float, int, float | None]:
        """Of ordinary tokens; the number of tokens with massive activations; and of those."""
        items = self._items[:_FVU_EVENTS]
        texts = [item.ids[: self._positions] for item in items if item.ids.size]
        expected, found = (np.concatenate([r.residual(t) for t in texts]) for r in (exact, rounding))
        limit = self._source.ref.max_norm
        massive = np.zeros(expected.shape[0], np.bool_) if limit is None else np.linalg.norm(expected, axis=1) > limit
        return (
            _fvu(expected[~massive], found[~massive]) or 0.0,
            int(massive.sum()),
            _fvu(expected[massive], found[massive]),
        )

    def _speeds(self, readers: Mapping[PrecisionName, OnnxReader]) -> dict[PrecisionName, float]:
        """Tokens/s of each on the same tokens, the median of rounds that take turns."""
        items = self._items[:_FVU_EVENTS]
        ids = np.resize(np.concatenate([item.ids for item in items]), _SPEED_TOKENS)
        seconds: dict[PrecisionName, list[float]] = {name: [] for name in readers}
        chunks = [Chunk(part) for part in np.split(ids, 8)]
        for _ in range(_SPEED_ROUNDS + 1):  # the first warms up
            for name, reader in readers.items():
                started = time.perf_counter()
                reader.read(chunks)
                seconds[name].append(time.perf_counter() - started)
        return {name: _SPEED_TOKENS / float(np.median(times[1:])) for name, times in seconds.items()}

    def _golden_texts(self) -> list[NDArray[np.int32]]:
        longest = sorted((item.ids for item in self._items if item.ids.size), key=lambda ids: -ids.size)[:_GOLDEN_TEXTS]
        if not longest:
            raise ConfigError("no calibration event has any text")
        return [ids[: min(_GOLDEN_TOKENS, self._positions)] for ids in longest]

    def _manifest(
        self,
        asked: PrecisionChoice,
        chosen: PrecisionName,
        candidates: tuple[Candidate, ...],
        files: dict[str, str],
    ) -> Manifest:
        a, ref, sae = self._architecture, self._source.ref, self._source.sae
        topk = sae.architecture == "topk"
        items = self._items if candidates else []
        return Manifest(
            format=1,
            latentwatch=monitor.__version__,
            machine=machine(),
            model=BundleModel(
                sha256=self._source.model.sha256,
                model_type=a.model_type,
                layer=ref.layer,
                d_model=a.d_model,
                heads=a.heads,
                kv_heads=a.kv_heads,
                head_dim=a.head_dim,
                windows=tuple(sorted({w for w in a.windows[: self._blocks] if w is not None})),
                max_tokens=self._positions,
            ),
            sae=BundleSae(
                sha256=ref.sae.sha256,
                architecture=sae.architecture,
                width=sae.d_sae,
                activation_basis=ref.sae.activation_basis,
                max_norm=ref.max_norm,
                latents=None if topk else tuple(self._source.latents),
                slots=(sae.k or 1) if topk else len(self._source.latents),
                probes=tuple(probe.sha256 for probe in self._source.probes),
            ),
            sets={loaded.set.id: loaded.sha256 for loaded in self._source.sets},
            precision=BundlePrecision(
                chosen=chosen,
                margins=candidates[-1].margins if candidates else {},
                asked=asked,
                events=len(self._events) if candidates else 0,
                tokens=sum(int(item.ids.size) for item in items),
                candidates=candidates,
            ),
            golden_tolerance=_GOLDEN_TOLERANCE[chosen],
            files=files,
        )


def _exact_candidate(speed: float) -> Candidate:
    return Candidate(
        precision="fp32",
        tokens_per_s=round(speed, 1),
        read_again=0.0,
        effective_tokens_per_s=round(speed, 1),
        raw_agreement=1.0,
        agreement=1.0,
        auroc_loss={},
        auroc_loss_at_least={},
        margins={},
        residual_fvu=0.0,
        massive_tokens=0,
        massive_residual_fvu=None,
        accepted=True,
    )


def _distances(sets: Sequence[LoadedSet], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far scores [event, set] lie above the sets' thresholds; NaN stays."""
    detectors = [Matcher(loaded.set).detector for loaded in sets]
    columns = [
        [math.nan if math.isnan(score) else detector.distance(float(score)) for score in scores[:, n]]
        for n, detector in enumerate(detectors)
    ]
    return np.array(columns).T


def _area(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return auroc(scores[labels == 1], scores[labels == 0])


def _fvu(exact: NDArray[np.float32], found: NDArray[np.float32]) -> float | None:
    """Fraction of variance unexplained: squared error over squared distance from the mean; None without tokens."""
    if exact.shape[0] == 0:
        return None
    spread = float(((exact - exact.mean(axis=0)) ** 2).sum())
    return round(float(((exact - found) ** 2).sum()) / spread, 6) if spread > 0 else 0.0


def machine() -> str:
    """The processor, for what was measured and what rounds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return name

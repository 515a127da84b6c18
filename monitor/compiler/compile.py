"""Compiles a model and an SAE into a bundle, in the fastest precision that decides as float32 does."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

import monitor
from detectors.feature_set import ReaderRef
from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.precision_trials import Judge, PrecisionTrials
from monitor.errors import ConfigError
from monitor.machine import machine
from monitor.model.files import ModelFiles, file_sha256
from monitor.readers.onnx.bundle import (
    BUNDLE_FORMAT,
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
from monitor.readers.onnx.golden import Golden
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.onnx.sparse import RESIDUAL
from monitor.sae.weights import SaeWeights
from monitor.sets.load import LoadedSet
from monitor.sets.probe import Probe
from monitor.tokens.tokeniser import EventTokeniser

PrecisionChoice = Literal["auto", "fp32", "int8"]

MAX_POSITIONS = 8_192
"""Longest past plus chunk that a graph is written for; the tables of the rotary embedding end there."""

_GOLDEN_TEXTS, _GOLDEN_TOKENS = 8, 160
# What the same graph may differ by on another processor. fp32 sums in another order; int8 rounds now and then the
# other way after it. A wrong result (such as another weight) is far beyond both.
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
    `precision_trials.MIN_AGREEMENT` of the events and whose AUROC is not lower by more than `MAX_AUROC_LOSS` there
    (beyond what chance gives on so many events) on any set. With a rounding graph comes the one in float32, which is
    asked where a score comes near a threshold.
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
    def _texts(self) -> list[NDArray[np.int32]]:
        """The tokens of each calibration event that has any."""
        items = self._tokeniser.tokenise([e.event for e in self._events])
        return [item.ids for item in items if item.ids.size]

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
            candidates = tuple(
                self._trials().run(("fp32", "int8") if precision == "auto" else ("int8",), self._reader, self._say)
            )
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

    def _trials(self) -> PrecisionTrials:
        return PrecisionTrials(
            self._source.sets, self._judge, self._events, self._texts, self._positions, self._source.ref.max_norm
        )

    def _golden_texts(self) -> list[NDArray[np.int32]]:
        longest = sorted(self._texts, key=lambda ids: -ids.size)[:_GOLDEN_TEXTS]
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
        return Manifest(
            format=BUNDLE_FORMAT,
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
                tokens=sum(int(ids.size) for ids in self._texts) if candidates else 0,
                candidates=candidates,
            ),
            golden_tolerance=_GOLDEN_TOLERANCE[chosen],
            files=files,
        )

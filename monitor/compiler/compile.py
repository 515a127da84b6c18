"""Compiles a model and an SAE into a bundle, in the fastest precision that decides as float32 does."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

import monitor
from detectors.feature_set import ReaderRef
from monitor.compiler.architectures import Architecture, architecture_of
from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.model_weights import ModelWeights, read_config
from monitor.compiler.precision_trials import PrecisionTrials, ScoreFn
from monitor.compiler.rotation import rotation
from monitor.errors import ConfigError
from monitor.machine import machine
from monitor.model.files import ModelFiles, file_sha256
from monitor.readers.onnx.bundle import (
    EMBEDDINGS,
    EXACT_GRAPH,
    EXACT_SELF_TEST,
    EXACT_TOLERANCE,
    GRAPH,
    MANIFEST,
    PREFIXES,
    SELF_TEST,
    TEXT_FILES,
    Bundle,
    load_bundle,
    load_prefixes,
)
from monitor.readers.onnx.manifest import (
    BUNDLE_FORMAT,
    BundleManifest,
    BundleModel,
    BundlePrecision,
    BundleSae,
    PrecisionCandidate,
    PrecisionName,
)
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.onnx.sparse import RESIDUAL
from monitor.readers.reference import ReferenceActivations
from monitor.readers.sae_reference import ReferenceCheck
from monitor.sae.weights import SaeWeights
from monitor.sets.load import LoadedSet
from monitor.sets.probe import Probe
from monitor.tokens.tokeniser import EventTokeniser

PrecisionChoice = Literal["auto", "fp32", "int8"]

MAX_POSITIONS = 8_192
"""The longest past plus chunk of a graph; the tables of the rotary embedding end there."""

_SELF_TEST_TEXTS, _SELF_TEST_TOKENS = 8, 160
# How far the same graph may differ on another processor. fp32 sums in another order; int8 then sometimes rounds the
# other way. A wrong result (such as another weight) is far beyond both.
_SELF_TEST_TOLERANCE: dict[PrecisionName, float] = {"fp32": EXACT_TOLERANCE, "int8": 0.05}


@dataclass(frozen=True, kw_only=True)
class CompileInputs:
    """What a bundle is made from, and what its precision is chosen by."""

    model: ModelFiles
    sae: SaeWeights
    ref: ReaderRef
    latents: Sequence[int]
    """SAE latents that must be readable; a TopK SAE always has all of them."""
    probes: Sequence[Probe] = ()
    sets: Sequence[LoadedSet]
    tokeniser: EventTokeniser
    events: Sequence[CalibrationEvent]
    """Precisions are compared on these; the self-test uses the longest of them."""
    scores: ScoreFn
    """How the sets score the events; not called if `precision` is fp32."""
    reference: ReferenceCheck | None = None
    """What the float32 reader must reproduce before anything is measured."""
    precision: PrecisionChoice = "auto"
    threads: int = 0
    progress: Callable[[str], None] = lambda _: None
    """Told each step that takes long."""


def compile_bundle(inputs: CompileInputs, out: Path) -> Bundle:
    """Writes the bundle `out`; the folder appears complete or not at all.

    With precision `auto`, fp32 and int8 are built and timed on this machine. The fastest is taken that decides as fp32
    on `precision_trials.MIN_AGREEMENT` of the events, and whose AUROC is not lower by more than `MAX_AUROC_LOSS`
    (beyond what chance explains on that many events) on any set. A graph that rounds comes with one in float32, which
    is asked when a score comes near a threshold.
    Raises ConfigError for a model or an SAE that cannot be built, if the reference is not reproduced, and if `out`
    exists.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; a bundle is never changed, name another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as work:
        made = _Compiler(inputs, Path(work)).make()
        made.chmod(0o755)
        try:
            made.rename(out)
        except OSError as e:
            if not out.exists():
                raise
            raise ConfigError(f"{out}: another process made it in the meantime: {e.strerror}") from None
    return load_bundle(out)


def compiled_architecture(model: ModelFiles) -> Architecture:
    """The architecture that is compiled for `model`.

    Raises ConfigError if a library that only compiling needs is missing, or if this architecture cannot be compiled.
    """
    try:
        import ml_dtypes  # noqa: F401

        import monitor.compiler.graph  # noqa: F401 - imports onnx
    except ImportError as e:
        raise ConfigError(f"compiling needs {e.name}; run: pip install 'latentwatch[compile]'") from None
    return architecture_of(read_config(model.folder), str(model.folder / "config.json"))


class _Compiler:
    def __init__(self, inputs: CompileInputs, work: Path) -> None:
        self._architecture = compiled_architecture(inputs.model)  # before any work is done
        self._inputs = inputs
        self._work = work
        folder = inputs.model.folder
        self._weights = ModelWeights(folder)
        self._blocks = inputs.ref.layer + 1
        if self._blocks > self._architecture.layers:
            raise ConfigError(
                f"reader.layer: {inputs.ref.layer}, but the model has blocks 0 to {self._architecture.layers - 1}"
            )
        self._positions = min(self._architecture.max_positions, MAX_POSITIONS)
        # Norms after the branches come between weights and residual stream; a rotation could not be folded in there
        foldable = not self._architecture.branch_norms
        self._turn = rotation(self._architecture.d_model) if foldable else None

    @cached_property
    def _texts(self) -> list[NDArray[np.int32]]:
        """The tokens of each calibration event that has any."""
        items = self._inputs.tokeniser.tokenise([e.event for e in self._inputs.events])
        return [item.ids for item in items if item.ids.size]

    def make(self) -> Path:
        inputs = self._inputs
        texts = self._self_test_texts()
        steps = 2 if inputs.precision == "fp32" else 4
        self._step(1, steps, "building the graph in fp32")
        self._write_embeddings()
        self._build("fp32")
        self._write_prefixes()
        if inputs.reference is not None:
            inputs.reference.activations(inputs.latents, self._reader("fp32").read_uncached)
        candidates: tuple[PrecisionCandidate, ...] = ()
        chosen: PrecisionName = "fp32"
        if inputs.precision != "fp32":
            self._step(2, steps, "building the graph in int8")
            self._build("int8")
            names: tuple[PrecisionName, ...] = ("fp32", "int8") if inputs.precision == "auto" else ("int8",)
            candidates = tuple(self._trials().run(names, self._reader, partial(self._step, 3, steps)))
            chosen = candidates[-1].precision
        self._step(steps, steps, "writing the bundle")
        return self._finish(chosen, candidates, texts)

    def _finish(
        self,
        chosen: PrecisionName,
        candidates: tuple[PrecisionCandidate, ...],
        texts: Sequence[NDArray[np.int32]],
    ) -> Path:
        folder = self._work / "bundle"
        folder.mkdir()
        self._write_self_test(chosen, texts, folder / SELF_TEST)
        graphs: dict[PrecisionName, str] = {chosen: GRAPH}
        if chosen != "fp32":
            graphs["fp32"] = EXACT_GRAPH
            self._write_self_test("fp32", texts, folder / EXACT_SELF_TEST)
        for name, graph in graphs.items():
            self._build(name, folder / graph)  # again, because a graph names the file of its weights
        for file in (EMBEDDINGS, PREFIXES):
            (self._work / file).rename(folder / file)
        for text in TEXT_FILES:
            if (self._inputs.model.folder / text).is_file():
                shutil.copyfile(self._inputs.model.folder / text, folder / text)
        files = {}
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)
            files[path.name] = file_sha256(path)
        manifest = self._manifest(chosen, candidates, files)
        (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")
        return folder

    def _step(self, number: int, steps: int, message: str) -> None:
        self._inputs.progress(f"compiling the reader ({number} of {steps}: {message})")

    def _build(self, name: PrecisionName, path: Path | None = None) -> None:
        from monitor.compiler.graph import Graph
        from monitor.compiler.model_graph import add_blocks
        from monitor.compiler.sae_graph import add_encoder

        inputs, graph = self._inputs, Graph()
        residual = add_blocks(graph, self._weights, self._architecture, self._blocks, name, self._turn, self._positions)
        add_encoder(
            graph,
            residual,
            inputs.sae,
            latents=inputs.latents,
            basis=inputs.ref.sae.activation_basis,
            max_norm=inputs.ref.max_norm,
            turn=self._turn,
            precision=name,
            probes=inputs.probes,
        )
        graph.output(residual, RESIDUAL, "float32", ["token", self._architecture.d_model])
        graph.save(path or self._graph(name))

    def _graph(self, name: PrecisionName) -> Path:
        return self._work / f"{name}.onnx"

    def _write_embeddings(self) -> None:
        embeddings = self._weights.get("embed_tokens.weight") * np.float32(self._architecture.embedding_scale)
        np.save(self._work / EMBEDDINGS, embeddings if self._turn is None else embeddings @ self._turn, False)

    def _write_prefixes(self) -> None:
        """Reads the shared prefixes in float32: an attention sink's activations are too large for int8."""
        reader = self._bare_reader("fp32")
        tensors: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {}
        prefixes = [p for p in self._inputs.tokeniser.shared_prefixes() if p.size < self._positions]
        for n, tokens in enumerate(prefixes):
            keys, values = reader.keys_values(reader.prefill(tokens))
            tensors |= {f"tokens.{n}": tokens, f"keys.{n}": keys, f"values.{n}": values}
        save_file(tensors, self._work / PREFIXES)

    def _write_self_test(self, name: PrecisionName, texts: Sequence[NDArray[np.int32]], path: Path) -> None:
        """Stores all latents that the graph can put out, because sets choose among them later."""
        slots = self._manifest("fp32", (), {}).all_slots()
        ReferenceActivations.read(slots, texts, self._reader(name, slots).read_uncached).save(path)

    def _bare_reader(self, name: PrecisionName, slots: Sequence[int] | None = None) -> OnnxReader:
        embeddings = np.load(self._work / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        manifest = self._manifest("fp32", (), {})
        if slots is None:
            slots = manifest.slots_of([*self._inputs.latents, *manifest.sae.probes])
        return OnnxReader(self._graph(name), manifest.shape(), embeddings, slots, threads=self._inputs.threads)

    def _reader(self, name: PrecisionName, slots: Sequence[int] | None = None) -> OnnxReader:
        """With the columns of the sets, unless `slots` names others."""
        reader = self._bare_reader(name, slots)
        for prefix in load_prefixes(self._work / PREFIXES):
            reader.preload(*prefix)
        return reader

    def _trials(self) -> PrecisionTrials:
        return PrecisionTrials(
            sets=self._inputs.sets,
            scores=self._inputs.scores,
            events=self._inputs.events,
            texts=self._texts,
            positions=self._positions,
            max_norm=self._inputs.ref.max_norm,
        )

    def _self_test_texts(self) -> list[NDArray[np.int32]]:
        longest = sorted(self._texts, key=lambda ids: -ids.size)[:_SELF_TEST_TEXTS]
        if not longest:
            raise ConfigError("no calibration event has any text")
        return [ids[: min(_SELF_TEST_TOKENS, self._positions)] for ids in longest]

    def _manifest(
        self, chosen: PrecisionName, candidates: tuple[PrecisionCandidate, ...], files: dict[str, str]
    ) -> BundleManifest:
        a, inputs = self._architecture, self._inputs
        ref, sae = inputs.ref, inputs.sae
        topk = sae.architecture == "topk"
        return BundleManifest(
            format=BUNDLE_FORMAT,
            latentwatch=monitor.__version__,
            machine=machine(),
            model=BundleModel(
                sha256=inputs.model.sha256,
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
                latents=None if topk else tuple(inputs.latents),
                slots=(sae.k or 1) if topk else len(inputs.latents),
                probes=tuple(probe.sha256 for probe in inputs.probes),
            ),
            sets={loaded.set.id: loaded.sha256 for loaded in inputs.sets},
            precision=BundlePrecision(
                chosen=chosen,
                margins=candidates[-1].margins if candidates else {},
                asked=inputs.precision,
                events=len(inputs.events) if candidates else 0,
                tokens=sum(int(ids.size) for ids in self._texts) if candidates else 0,
                candidates=candidates,
            ),
            self_test_tolerance=_SELF_TEST_TOLERANCE[chosen],
            files=files,
        )

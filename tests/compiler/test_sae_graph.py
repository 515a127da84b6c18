"""SAE encoders as graphs against CuratedEncoder: every architecture, normalisation, basis and bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from monitor.compiler.encoder_inputs import encoder_columns
from monitor.compiler.graph import Graph
from monitor.compiler.linear import Precision
from monitor.compiler.rotation import rotation
from monitor.compiler.sae_graph import add_encoder
from monitor.errors import ConfigError
from monitor.readers.onnx.columns import OutputColumns
from monitor.readers.onnx.runtime import onnxruntime
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.saelens import load_saelens
from monitor.sae.probed_encoder import ProbedEncoder
from monitor.sae.storage import load_stored_sae, store_sae
from monitor.sae.weights import SaeWeights
from monitor.sets.probe import Probe
from tests.saelens import save_sae

Basis = Literal["raw", "decoder_norm_folded"]
D, WIDTH = 48, 96
ROWS = (5, 0, 95, 41, 42, 17)  # not in order: columns must follow
KINDS: dict[str, dict[str, Any]] = {
    "standard": {},
    "jumprelu": {},
    "gated": {},
    "topk": {},
    "topk_rescaled": {"rescale_acts_by_decoder_norm": True},
    "topk_ranked": {},  # ranked by the decoder norm, as lm-saes does
}
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
TURN = rotation(D)


@pytest.fixture(scope="module")
def residual() -> NDArray[np.float32]:
    """Tokens [token, d] of very different lengths, and one of zeros."""
    source = np.random.default_rng(1)
    tokens = source.standard_normal((120, D)) * np.logspace(-1, 1, 120)[:, None]
    tokens[60] = 0
    return tokens.astype(np.float32)


@pytest.fixture(scope="module")
def saes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, bool], SaeWeights]:
    """By kind, normalisation, and whether b_dec is subtracted."""
    folder = tmp_path_factory.mktemp("saes")
    made = {}
    for n, (kind, normalisation, bias) in enumerate(product(KINDS, NORMALISATIONS, (True, False))):
        cfg = {"apply_b_dec_to_input": bias, "normalize_activations": normalisation, **KINDS[kind]}
        weights = load_saelens(save_sae(folder / str(n), kind.split("_")[0], D, WIDTH, **cfg))
        weights = replace(weights, rank_by_decoder_norm=kind == "topk_ranked")
        assert (weights.subtract_b_dec, weights.normalisation) == (bias, normalisation)
        made[kind, normalisation, bias] = weights
    return made


def stored(folder: Path, sae: SaeWeights) -> SaeWeights:
    """The rows of an SAE that a reader of ROWS takes, from its file in a bundle."""
    store_sae(folder / "sae.safetensors", sae)
    return load_stored_sae(folder / "sae.safetensors", None if sae.architecture == "topk" else ROWS)


def run(
    folder: Path,
    sae: SaeWeights,
    residual: NDArray[np.float32],
    basis: Basis,
    max_norm: float | None,
    turn: NDArray[np.float32] | None,
    precision: Precision,
    probes: Sequence[Probe] = (),
) -> tuple[list[NDArray[np.float32]], OutputColumns]:
    """What a graph puts out that is fed the (turned) residual stream and ROWS, and what was fed."""
    path, folded = folder / "sae.onnx", basis == "decoder_norm_folded"
    with Graph(path) as graph:
        graph.input("residual", "float32", ["token", D])
        add_encoder(graph, "residual", sae, folded=folded, max_norm=max_norm, turn=turn, precision=precision)
        graph.save()
    rows = stored(folder, sae)
    columns = encoder_columns(rows, probes, folded=folded, turn=turn, precision=precision, latents=ROWS)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {"residual": residual if turn is None else residual @ turn, **columns.inputs}
    return session.run(columns.outputs, feed), columns


def encoded(
    folder: Path,
    sae: SaeWeights,
    residual: NDArray[np.float32],
    basis: Basis = "raw",
    max_norm: float | None = None,
    turn: NDArray[np.float32] | None = None,
    precision: Precision = "fp32",
) -> NDArray[np.float32]:
    """Activations [token, feature] of ROWS by a graph that is fed the (turned) residual stream."""
    outputs, columns = run(folder, sae, residual, basis, max_norm, turn, precision)
    if sae.architecture != "topk":
        return outputs[0]
    values, latents = outputs
    assert columns.of_latent is not None
    assert values.shape == latents.shape == (residual.shape[0], sae.k)
    assert all(np.unique(row).size == sae.k for row in latents)
    whole = np.zeros((residual.shape[0], sae.d_sae), np.float32)
    np.put_along_axis(whole, latents, values, axis=1)
    return whole[:, list(ROWS)]


def assert_equal(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """Relative to the largest activation; what is active on one side alone is next to nothing."""
    scale = float(np.abs(theirs).max())
    assert scale > 0
    assert 0 < (theirs > 0).mean() < 1
    flips = (ours > 0) != (theirs > 0)
    assert flips.sum() <= 1  # on the edge of a threshold or of rank k
    np.testing.assert_allclose(ours[~flips], theirs[~flips], rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("turned", [False, True], ids=["plain", "rotated"])
@pytest.mark.parametrize("basis", ["raw", "decoder_norm_folded"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_torch_encoder(
    kind: str,
    basis: Basis,
    turned: bool,
    saes: dict[tuple[str, str, bool], SaeWeights],
    residual: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    for normalisation, bias in product(NORMALISATIONS, (True, False)):
        sae = saes[kind, normalisation, bias]
        theirs = CuratedEncoder(sae, ROWS, basis)(torch.from_numpy(residual)).numpy()
        assert_equal(encoded(tmp_path, sae, residual, basis, None, TURN if turned else None), theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_near(
    kind: str, saes: dict[tuple[str, str, bool], SaeWeights], residual: NDArray[np.float32], tmp_path: Path
) -> None:
    for normalisation, bias in product(NORMALISATIONS, (True, False)):
        sae = saes[kind, normalisation, bias]
        exact = encoded(tmp_path, sae, residual, turn=TURN)
        error = encoded(tmp_path, sae, residual, turn=TURN, precision="int8") - exact
        # a latent at the edge of a threshold or of rank k comes or goes with all that it has
        assert np.quantile(np.abs(error), 0.9) < 0.02 * np.abs(exact).max()
        assert ((error != 0) & (exact > 0)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_rotation_int8_leaves_the_encoder_in_float32(
    kind: str, saes: dict[tuple[str, str, bool], SaeWeights], residual: NDArray[np.float32], tmp_path: Path
) -> None:
    """A channel that is far larger than the rest would take all 256 levels."""
    exact, rounding = (encoded(tmp_path, saes[kind, "none", True], residual, precision=p) for p in ("fp32", "int8"))
    np.testing.assert_array_equal(rounding, exact)


@pytest.mark.parametrize("turned", [False, True], ids=["plain", "rotated"])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_longer_than_max_norm_read_zero(
    kind: str,
    turned: bool,
    saes: dict[tuple[str, str, bool], SaeWeights],
    residual: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    sae = saes[kind, "none", True]
    lengths = np.linalg.norm(residual, axis=1)
    limit = float(np.median(lengths))
    found = encoded(tmp_path, sae, residual, "raw", limit, TURN if turned else None)
    whole = encoded(tmp_path, sae, residual, "raw", None, TURN if turned else None)
    assert (found[lengths > limit * 1.001] == 0).all()
    assert (whole[lengths > limit * 1.001] > 0).any()
    near = lengths < limit * 0.999
    np.testing.assert_array_equal(found[near], whole[near])


def test_the_longest_token_that_is_read_is_max_norm_long(
    saes: dict[tuple[str, str, bool], SaeWeights], residual: NDArray[np.float32], tmp_path: Path
) -> None:
    direction = residual[-1] / np.linalg.norm(residual[-1])
    tokens = np.outer(np.array([4.999, 5.001]), direction).astype(np.float32)
    found = encoded(tmp_path, saes["standard", "none", True], tokens, max_norm=5.0)
    assert (found[0] > 0).any()
    assert (found[1] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_columns_follow_the_latents(
    kind: str, saes: dict[tuple[str, str, bool], SaeWeights], residual: NDArray[np.float32], tmp_path: Path
) -> None:
    sae = saes[kind, "none", True]
    whole = CuratedEncoder(sae, range(WIDTH))(torch.from_numpy(residual)).numpy()
    assert_equal(encoded(tmp_path, sae, residual), whole[:, list(ROWS)])


@pytest.mark.parametrize("kind", ["standard", "topk_rescaled"])
def test_a_basis_that_needs_a_decoder(
    kind: str, saes: dict[tuple[str, str, bool], SaeWeights], residual: NDArray[np.float32], tmp_path: Path
) -> None:
    sae = replace(saes[kind, "none", True], decoder_norm=None)
    with pytest.raises(ConfigError, match=r"^the SAE has no decoder, whose norms the activation basis needs$"):
        encoded(tmp_path, sae, residual, "decoder_norm_folded" if kind == "standard" else "raw")


def test_a_gated_sae_that_lacks_a_part(
    saes: dict[tuple[str, str, bool], SaeWeights], residual: NDArray[np.float32], tmp_path: Path
) -> None:
    sae = replace(saes["gated", "none", True], b_mag=None)
    with pytest.raises(ConfigError, match=r"^a gated SAE needs b_gate, b_mag and r_mag$"):
        encoded(tmp_path, sae, residual)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("turned", [False, True], ids=["plain", "rotated"])
@pytest.mark.parametrize("kind", ["jumprelu", "topk"])
def test_probes_follow_the_latents(
    kind: str,
    turned: bool,
    precision: Precision,
    saes: dict[tuple[str, str, bool], SaeWeights],
    residual: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    sae, turn = saes[kind, "none", True], TURN if turned else None
    source = np.random.default_rng(5)
    probes = [
        Probe(name, source.standard_normal(D).astype(np.float32), offset) for name, offset in (("a", 3), ("b", -1))
    ]
    limit = float(np.median(np.linalg.norm(residual, axis=1)))
    outputs, _ = run(tmp_path, sae, residual, "raw", limit, turn, precision, probes)
    expected = ProbedEncoder(CuratedEncoder(sae, ROWS), probes, D)(torch.from_numpy(residual)).numpy()
    expected[np.linalg.norm(residual, axis=1) > limit] = 0
    assert (np.abs(expected[:, -2:]).max(axis=0) > 1).all()
    if kind == "topk":
        values, latents = outputs
        assert (latents[:, -2:] == [WIDTH, WIDTH + 1]).all()
    else:
        (values,) = outputs
        assert values.shape == (residual.shape[0], len(ROWS) + 2)
    np.testing.assert_allclose(values[:, -2:], expected[:, -2:], rtol=1e-4, atol=1e-4)

"""Products in int8: rounding is bounded, and no row has to do with another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from monitor.compiler.graph import Graph
from monitor.compiler.linear import Precision, Weight, operand, product
from monitor.compiler.quantise import quantise_columns
from monitor.model.four_bit import FourBitWeight
from monitor.readers.onnx.runtime import onnxruntime
from tests.saturation import exact, saturating, without_pairs, worst_levels

WEIGHTS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-1e6, 1e6, width=32))


@settings(deadline=None, max_examples=50)
@given(WEIGHTS)
def test_columns_round_by_half_a_unit_at_most(weight: NDArray[np.float32]) -> None:
    quantised, units = quantise_columns(weight)
    assert quantised.dtype == np.int8
    assert units.dtype == np.float32
    assert np.abs(quantised.astype(np.int32)).max() <= 127
    assert (units > 0).all()
    error = np.abs(quantised * units.astype(np.float64) - weight)
    assert (error <= 0.501 * units).all()


def largest_pair(quantised: NDArray[np.int8]) -> NDArray[np.int32]:
    """The largest sum [out] of the levels of one sign in channels 0 and 1, 2 and 3, ..."""
    both = [np.clip(sign * quantised.astype(np.int32), 0, None) for sign in (1, -1)]
    alone = [levels[-1:] for levels in both] if len(quantised) % 2 else []
    sums = [levels[0:-1:2] + levels[1::2] for levels in both]
    result: NDArray[np.int32] = np.concatenate([*sums, *alone]).max(axis=0)
    return result


@settings(deadline=None, max_examples=50)
@given(WEIGHTS.filter(lambda w: np.abs(w).max(axis=0).min() > 1e-30))
def test_the_largest_pair_of_a_column_uses_the_whole_range(weight: NDArray[np.float32]) -> None:
    quantised, units = quantise_columns(weight)
    assert set(largest_pair(quantised)) <= {126, 127, 128}  # two weights round by half a level each
    for column in range(weight.shape[1]):
        alone, unit = quantise_columns(weight[:, [column]])
        np.testing.assert_array_equal(alone[:, 0], quantised[:, column])
        assert unit[0] == units[column]


@settings(deadline=None, max_examples=50)
@given(WEIGHTS)
def test_the_sign_does_not_matter(weight: NDArray[np.float32]) -> None:
    quantised, units = quantise_columns(weight)
    mirrored, same = quantise_columns(-weight)
    np.testing.assert_array_equal(mirrored, -quantised)
    np.testing.assert_array_equal(same, units)


def test_columns_of_zeros_stay_zero() -> None:
    quantised, units = quantise_columns(np.array([[0, 3], [0, -1]], np.float32))
    assert quantised[:, 0].tolist() == [0, 0]
    assert units[0] == 1


@settings(deadline=None, max_examples=100)
@given(WEIGHTS)
def test_no_column_saturates(weight: NDArray[np.float32]) -> None:
    quantised, _ = quantise_columns(weight)
    levels = worst_levels(quantised)
    np.testing.assert_array_equal(saturating(levels, quantised), exact(levels, quantised))


@pytest.mark.parametrize("outlier", [1, 1e3])
def test_without_the_bound_on_pairs_columns_saturate(outlier: float) -> None:
    """So that the emulation is known to see it."""
    weight = np.random.default_rng(4).standard_normal((48, 20)).astype(np.float32)
    weight[[6, 7, 20, 21], ::2] = outlier * np.array([[3], [3], [-3], [-3]])
    quantised = without_pairs(weight)
    levels = worst_levels(quantised)
    assert (saturating(levels, quantised) != exact(levels, quantised)).any(axis=0)[::2].all()
    bounded, _ = quantise_columns(weight)
    np.testing.assert_array_equal(saturating(levels, bounded), exact(levels, bounded))


def test_saturation_as_the_instruction_does_it() -> None:
    levels = np.array([[255, 255, 0, 1], [255, 255, 255, 255], [1, 2, 3, 4]], np.uint8)
    weight = np.array([[127, -128, 1], [127, -128, -1], [64, 127, 64], [64, -127, 65]], np.int8)
    assert saturating(levels, weight).tolist() == [
        [32_767 + 64, -32_768 - 127, 65],
        [32_767 + 32_640, -32_768, 32_767],
        [127 + 2 * 127 + 7 * 64, -3 * 128 - 127, -1 + 3 * 64 + 4 * 65],
    ]


class Product:
    """x @ weight as a graph."""

    def __init__(
        self,
        folder: Path,
        weight: Weight,
        precision: Precision,
        limit: float | None = None,
        bias: NDArray[np.float32] | None = None,
    ) -> None:
        graph = Graph(folder / "g.onnx")
        graph.input("x", "float32", ["token", weight.shape[0]])
        result = product(graph, operand(graph, "x", precision, limit), "w", weight, bias)
        graph.output(result, "y", "float32", ["token", weight.shape[1]])
        graph.save()
        self._session = onnxruntime.InferenceSession(str(folder / "g.onnx"), providers=["CPUExecutionProvider"])

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._session.run(None, {"x": x})[0]
        return found


WEIGHT = np.random.default_rng(2).standard_normal((48, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def rounding(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return Product(tmp_path_factory.mktemp("int8"), WEIGHT, "int8")


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    """Tokens [token, channel] from tiny to massive."""
    source = np.random.default_rng(3)
    lengths = np.logspace(-6, 6, 40)[:, None]
    return (source.standard_normal((40, 48)) * lengths).astype(np.float32)


def test_fp32_is_the_product(rows: NDArray[np.float32], tmp_path: Path) -> None:
    np.testing.assert_allclose(Product(tmp_path, WEIGHT, "fp32")(rows), rows @ WEIGHT, rtol=1e-3, atol=0.1)


def test_int8_is_near_in_every_row_whatever_its_size(rounding: Product, rows: NDArray[np.float32]) -> None:
    expected = rows.astype(np.float64) @ WEIGHT
    error = np.linalg.norm(rounding(rows) - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 0.02
    # and as bounded by half a unit on both sides
    unit_x, (_, unit_w) = np.abs(rows).max(axis=1, keepdims=True) / 127, quantise_columns(WEIGHT)
    bound = 0.5 * unit_x * np.abs(WEIGHT).sum(axis=0) + 0.5 * unit_w * np.abs(rows).sum(axis=1, keepdims=True)
    assert (np.abs(rounding(rows) - expected) <= 1.05 * bound + 48 * unit_x * unit_w).all()


@settings(deadline=None, max_examples=30)
@given(chosen=st.lists(st.integers(0, 39), min_size=1, max_size=40))
def test_int8_reads_each_row_alike_in_any_company(
    chosen: list[int], rounding: Product, rows: NDArray[np.float32]
) -> None:
    np.testing.assert_array_equal(rounding(rows[chosen]), rounding(rows)[chosen])


@pytest.mark.parametrize("company", [0.0, 1e6])
def test_a_row_of_zeros_reads_zero(company: float, rounding: Product) -> None:
    rows = np.full((3, 48), company, np.float32)
    rows[1] = 0
    found = rounding(rows)
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()


def test_a_bias_is_added_in_float32(rows: NDArray[np.float32], rounding: Product, tmp_path: Path) -> None:
    bias = np.linspace(-5, 5, 20, dtype=np.float32)
    for precision in ("fp32", "int8"):
        plain = Product(tmp_path, WEIGHT, precision)(rows)
        np.testing.assert_allclose(Product(tmp_path, WEIGHT, precision, bias=bias)(rows), plain + bias, rtol=1e-6)


def test_a_limit_cuts_off_and_keeps_one_unit_for_all(tmp_path: Path) -> None:
    eye = np.eye(4, dtype=np.float32)
    cut = Product(tmp_path, eye, "int8", limit=4.0)
    rows = np.array([[0.01, 1, -1, 3.9], [0.02, 9, -9, 1e6], [0, 4, -4, 4.2]], np.float32)
    unit = 4 / 127
    np.testing.assert_allclose(cut(rows), np.clip(rows, -4, 4), atol=1.01 * unit)
    # a massive value leaves its neighbours all their levels
    np.testing.assert_allclose(cut(rows)[1, 0], np.rint(0.02 / unit) * unit, rtol=1e-5)


@pytest.mark.parametrize("channels", [2, 7, 45, 48, 1_001])
@pytest.mark.parametrize("tokens", [1, None], ids=["one token", "all tokens"])
def test_onnxruntime_is_exact_on_this_processor(channels: int, tokens: int | None, tmp_path: Path) -> None:
    """Also where a pair is at its bound and channels that are no pair are far above it.

    On x86 without VNNI this holds only if onnxruntime pairs neighbouring channels, as `quantise_columns` expects.
    """
    source = np.random.default_rng(5)
    weight = source.integers(-64, 65, (channels, 24)).astype(np.float32)
    for column, pattern in enumerate(([1, 126, 126, 1], [126, 1, 126, 1], [1, 126, 1, 126], [126, 1, 1, 126])):
        weight[:, column] = np.resize(pattern, channels)
        weight[:, column + 4] = -weight[:, column]
    quantised, units = quantise_columns(weight)
    levels = worst_levels(quantised)
    x = (levels.astype(np.float32) - 128) / 127  # one limit for all, so that a level is a level again
    run = Product(tmp_path, weight, "int8", limit=1.0)
    found = run(x) if tokens is None else np.concatenate([run(row[None]) for row in x])
    wanted = (exact(levels, quantised) - 128 * quantised.astype(np.int64).sum(axis=0)) * (
        units.astype(np.float64) / 127
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * float(np.abs(wanted).max()))


@pytest.fixture
def blocks() -> FourBitWeight:
    """Some blocks have only one value, and some have offsets that are far larger than their units."""
    source = np.random.default_rng(5)
    units = np.abs(source.standard_normal((20, 3))).astype(np.float32)
    offsets = (-8 * units + source.standard_normal((20, 3))).astype(np.float32)
    units[:5, 0] = 0
    offsets[5:8, 1] = 100
    return FourBitWeight(source.integers(0, 16, (20, 3, 32), np.uint8), units, offsets)


@pytest.mark.parametrize("tokens", [1, 3, 200])
def test_a_weight_in_4_bits_multiplies_like_the_dense_one(tokens: int, blocks: FourBitWeight, tmp_path: Path) -> None:
    x = np.random.default_rng(6).standard_normal((tokens, 96)).astype(np.float32)
    weight = blocks.dense()
    bias = np.arange(20, dtype=np.float32)
    found = Product(tmp_path, blocks, "fp32", bias=bias)(x)
    exact_product = x.astype(np.float64) @ weight.astype(np.float64) + bias
    sizes = np.abs(x) @ np.abs(weight) + np.abs(bias)
    assert (np.abs(found - exact_product) <= 2e-6 * sizes).all()


def test_a_weight_in_4_bits_is_not_multiplied_in_int8(blocks: FourBitWeight, tmp_path: Path) -> None:
    with Graph(tmp_path / "g.onnx") as graph:
        x = operand(graph, graph.input("x", "float32", ["token", 96]), "int8")
        with pytest.raises(ValueError, match="w: a weight in 4 bits and values in int8"):
            product(graph, x, "w", blocks)

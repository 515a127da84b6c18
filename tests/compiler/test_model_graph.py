"""Compiled blocks against transformers, for tiny random models of every architecture that is built."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from monitor.compiler.architectures import Architecture
from monitor.readers.onnx import reader as onnx_reader
from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchReader
from tests.saturation import exact, saturating, without_pairs, worst_levels
from tests.tiny_model import CONFIGS, WINDOW, TinyModel, TurnedReader, relative, save_tiny, texts

BLOCKS = 3
SIZES = (40, 1, 13, 2, 29, 40)  # in a batch, and longer than the window
EXACT = 1e-5
"""Largest error of a token as a share of the longest token's length; 1e-4 is what the reader promises."""

_ROTATED = [name for name in CONFIGS if not name.startswith("gemma")]


@pytest.fixture(scope="module", params=[*((n, False) for n in CONFIGS), *((n, True) for n in _ROTATED)], ids=str)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyModel, TurnedReader]:
    """A model, and its blocks as a graph, with and without the rotation where it can be folded."""
    name, rotated = request.param
    folder = tmp_path_factory.mktemp(name)
    model = save_tiny(folder / "model", CONFIGS[name]())
    assert model.rotates == (name in _ROTATED)
    return model, model.residual_reader(folder / "reader.onnx", BLOCKS, rotated=rotated)


def test_equals_transformers_in_a_mixed_batch(built: tuple[TinyModel, TurnedReader]) -> None:
    model, turned = built
    given = texts(*SIZES)
    for ids, found in zip(given, turned.reader.read([Chunk(t) for t in given]), strict=True):
        assert relative(turned.back(found), model.hidden(ids, BLOCKS - 1)) < EXACT


def test_equals_transformers_chunk_by_chunk(
    built: tuple[TinyModel, TurnedReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk is read over a past of its own length, and windows end within chunks and within pasts."""
    model, turned = built
    monkeypatch.setattr(onnx_reader, "CHUNK_TOKENS", 7)
    given = texts(*SIZES)
    for ids, found in zip(given, turned.reader.read([Chunk(t) for t in given]), strict=True):
        assert relative(turned.back(found), model.hidden(ids, BLOCKS - 1)) < EXACT


def test_equals_transformers_over_a_past(built: tuple[TinyModel, TurnedReader]) -> None:
    model, turned = built
    (whole,) = texts(60)
    expected = model.hidden(whole, BLOCKS - 1)
    short, long = (turned.reader.prefill(whole[:size]) for size in (3, WINDOW + 10))
    chunks = [Chunk(whole[long.length :], long), Chunk(whole[:30]), Chunk(whole[3:20], short), Chunk(whole[3:5], short)]
    rows = [slice(long.length, 60), slice(0, 30), slice(3, 20), slice(3, 5)]
    for part, found in zip(rows, turned.reader.read(chunks), strict=True):
        assert relative(turned.back(found), expected[part]) < EXACT


def test_fewer_blocks_than_the_model_has(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", CONFIGS["qwen2_windows"]())
    for blocks in (1, 2):
        turned = model.residual_reader(tmp_path / f"{blocks}.onnx", blocks, rotated=True)
        (ids,) = texts(40)
        assert relative(turned.back(turned.reader.read([Chunk(ids)])[0]), model.hidden(ids, blocks - 1)) < EXACT


@pytest.mark.parametrize("hook", ["attn_out", "mlp_out"])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_hooks_on_the_branches(name: str, hook: Literal["attn_out", "mlp_out"], tmp_path: Path) -> None:
    """The torch reader's are held against transformers in tests/readers."""
    model = save_tiny(tmp_path / "model", CONFIGS[name]())
    (ids,) = texts(40)
    torch_reader = TorchReader(tmp_path / "model", BLOCKS - 1, lambda x: x, hook=hook)
    (expected,) = torch_reader.read([Chunk(ids)])
    for rotated, precision in ((False, "fp32"), (True, "fp32"), (True, "int8")):
        if rotated and not model.rotates:
            continue
        out = tmp_path / f"{rotated}{precision}.onnx"
        turned = model.residual_reader(out, BLOCKS, precision=precision, rotated=rotated, hook=hook)
        found = turned.back(turned.reader.read([Chunk(ids)])[0])
        assert relative(found, expected) < (EXACT if precision == "fp32" else 0.2)


def test_no_block_at_all(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", CONFIGS["llama"]())
    with pytest.raises(ValueError, match="at least one block"):
        model.residual_reader(tmp_path / "reader.onnx", 0)


@pytest.mark.parametrize("name", ["gemma2", "mistral"])
def test_the_comparison_sees_what_windows_and_softcaps_do(name: str, tmp_path: Path) -> None:
    """Without them, the results would be far from what is compared above."""
    model = save_tiny(tmp_path / "model", CONFIGS[name]())
    plain = TinyModel(model.folder, model.whole)
    fields: dict[str, object] = {"windows": (None,) * 3} if name == "mistral" else {"softcap": None}
    plain.__dict__["architecture"] = Architecture(**{**model.architecture.__dict__, **fields})
    turned = plain.residual_reader(tmp_path / "reader.onnx", BLOCKS)
    (ids,) = texts(40)
    assert relative(turned.reader.read([Chunk(ids)])[0], model.hidden(ids, BLOCKS - 1)) > 1e-2


@pytest.fixture(scope="module", params=CONFIGS)
def rounding(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TinyModel, TurnedReader, Path]:
    """A model, its blocks in int8, and the graph's file."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save_tiny(folder / "model", CONFIGS[request.param]())
    graph = folder / "int8.onnx"
    return model, model.residual_reader(graph, BLOCKS, precision="int8", rotated=model.rotates), graph


def test_int8_is_near_fp32(rounding: tuple[TinyModel, TurnedReader, Path]) -> None:
    model, turned, _ = rounding
    given = texts(*SIZES)
    read = turned.reader.read([Chunk(t) for t in given])
    expected = np.concatenate([model.hidden(t, BLOCKS - 1) for t in given])
    found = turned.back(np.concatenate(read))
    error = ((found - expected) ** 2).sum() / ((expected - expected.mean(axis=0)) ** 2).sum()
    assert 1e-8 < error < 0.02  # of the variance


def test_no_product_in_int8_saturates(rounding: tuple[TinyModel, TurnedReader, Path]) -> None:
    """On any processor; with levels from -127 to 127 in every column, as was usual before, these weights would."""
    initializers = onnx.load(rounding[2]).graph.initializer
    weights = [numpy_helper.to_array(i) for i in initializers if i.name.endswith(".int8")]
    assert len(weights) == 5 * BLOCKS  # queries with keys and values, output, gate, up, down
    unbounded = 0
    for weight in weights:
        levels = worst_levels(weight)
        np.testing.assert_array_equal(saturating(levels, weight), exact(levels, weight))
        wider = without_pairs(weight.astype(np.float32))
        unbounded += int((saturating(levels, wider) != exact(levels, wider)).sum())
    assert unbounded > 0


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_int8_reads_a_text_alike_alone_and_in_any_batch(name: str, tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", CONFIGS[name]())
    reader = model.residual_reader(tmp_path / "int8.onnx", BLOCKS, precision="int8", rotated=model.rotates).reader
    given = [Chunk(t) for t in texts(*SIZES)]
    together = reader.read(given)
    for chunk, found in zip(given, together, strict=True):
        assert relative(found, reader.read([chunk])[0]) < EXACT
    for found, other in zip(reversed(reader.read(given[::-1])), together, strict=True):
        assert relative(found, other) < EXACT


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", CONFIGS["llama"]())
    model.__dict__["architecture"] = Architecture(**{**model.architecture.__dict__, "qkv_bias": True})
    with pytest.raises(Exception, match=r"no tensor model\.layers\.0\.self_attn\.q_proj\.bias in its"):
        model.residual_reader(tmp_path / "reader.onnx", 1)

"""Embeddings in the encodings of models, against gguf's own decoder and plain numpy."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.compiler.rotation import rotation
from monitor.errors import ConfigError
from monitor.model.gguf.file import GgufTensor
from monitor.model.gguf.weights import split_int8_blocks
from monitor.model.narrow import narrowed
from monitor.readers.onnx.embeddings import TABLE, Embeddings, EmbeddingTable

ROWS, D = 40, 64
TABLE_FLOAT = np.random.default_rng(1).standard_normal((ROWS, D)).astype(np.float32)
TOKENS = np.array([3, 39, 3, 0, 7], np.int32)


def quantised() -> tuple[EmbeddingTable, NDArray[np.float32]]:
    """A table in Q8_0, and what gguf decodes it to."""
    blocks = gguf.quantize(TABLE_FLOAT, gguf.GGMLQuantizationType.Q8_0)
    tensor = GgufTensor("token_embd.weight", (ROWS, D), gguf.GGMLQuantizationType.Q8_0, blocks)
    return EmbeddingTable(*split_int8_blocks(tensor)), gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0)


def halves() -> tuple[EmbeddingTable, NDArray[np.float32]]:
    values = TABLE_FLOAT.astype(np.float16).astype(np.float32)
    return EmbeddingTable(narrowed(values)), values


@pytest.mark.parametrize("make", [quantised, halves, lambda: (EmbeddingTable(TABLE_FLOAT), TABLE_FLOAT)])
def test_rows_are_those_of_the_model(make: object, tmp_path: Path) -> None:
    table, values = make()  # type: ignore[operator]
    table.save(tmp_path)
    loaded = EmbeddingTable.load(tmp_path)
    np.testing.assert_array_equal(loaded.rows(TOKENS), values[TOKENS])
    assert loaded.values.nbytes <= TABLE_FLOAT.nbytes


def test_rows_are_scaled_and_rotated_and_stay_the_same() -> None:
    turn = rotation(D)
    embeddings = Embeddings(EmbeddingTable(TABLE_FLOAT), 8.0, turn)
    first = embeddings[TOKENS]
    np.testing.assert_allclose(first, 8 * TABLE_FLOAT[TOKENS] @ turn, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(embeddings[TOKENS[::-1]], first[::-1])
    np.testing.assert_array_equal(first[0], first[2])


def test_a_table_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{TABLE}: cannot be read: "):
        EmbeddingTable.load(tmp_path)
    (tmp_path / TABLE).write_bytes(b"no table")
    with pytest.raises(ConfigError, match=rf"{TABLE}: cannot be read: "):
        EmbeddingTable.load(tmp_path)

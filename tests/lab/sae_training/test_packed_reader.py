"""Residuals of packed rows against the whole model, one text at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from monitor.errors import ConfigError
from monitor.lab.sae_training.packed_reader import PackedReader
from monitor.lab.sae_training.packing import PackedRow, Packer


def rows() -> list[PackedRow]:
    source = np.random.default_rng(2)
    packer = Packer(32)
    found: list[PackedRow] = []
    for document, length in enumerate([5, 20, 32, 7, 50, 3]):
        ids = source.integers(5, 200, length).astype(np.int32)
        found += packer.add(ids, np.ones(length, np.bool_), ids[:0], document)
    return [*found, *packer.rest()]


def test_no_piece_sees_another(small_llama: Path) -> None:
    whole = transformers.AutoModelForCausalLM.from_pretrained(small_llama, dtype=torch.float32).eval()
    expected: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    wanted = torch.zeros(0, dtype=torch.bool)

    def catch(layer: int, output: torch.Tensor) -> None:
        expected[layer].append(output[0][wanted])

    for layer, block in enumerate(whole.get_decoder().layers):
        block.register_forward_hook(lambda _module, _inputs, output, layer=layer: catch(layer, output))
    for row in rows():
        for start, end in pairwise([*np.flatnonzero(row.positions == 0), row.ids.size]):
            wanted = torch.from_numpy(row.kept[start:end])
            with torch.inference_mode():
                whole(input_ids=torch.from_numpy(row.ids[start:end].astype(np.int64))[None])
    reader = PackedReader(small_llama, (1, 0), precision="float32", batch_rows=2, threads=1)
    found = reader.read(rows())
    assert list(found.by_layer) == [1, 0]
    for layer, parts in expected.items():
        torch.testing.assert_close(found.by_layer[layer], torch.cat(parts), rtol=1e-4, atol=1e-4)


def test_long_residuals_are_skipped_at_all_layers(small_llama: Path) -> None:
    every = PackedReader(small_llama, (0, 1), precision="float32", threads=1).read(rows())
    norms = torch.stack([r.norm(dim=1) for r in every.by_layer.values()]).amax(dim=0)
    limit = float(norms.median())
    found = PackedReader(small_llama, (0, 1), precision="float32", max_norm=limit, threads=1).read(rows())
    usual = norms <= limit
    assert found.massive == int((~usual).sum()) > 0
    assert torch.equal(found.kept[every.kept], usual)
    for layer, residual in every.by_layer.items():
        assert torch.equal(found.by_layer[layer], residual[usual])


@pytest.mark.parametrize("layers", [(), (0, 0), (-1,), (2,)])
def test_layers_that_do_not_exist(layers: tuple[int, ...], small_llama: Path) -> None:
    with pytest.raises(ConfigError, match="layer"):
        PackedReader(small_llama, layers, threads=1)

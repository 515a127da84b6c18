"""Texts as rows: what counts in the lab is what counts in the sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.events.event import Event, Message, Origin
from monitor.lab.sae_training.packed_reader import PackedReader
from monitor.lab.sae_training.row_stream import RowStream, TextOptions
from monitor.lab.sae_training.text_sources import open_sources
from monitor.model.files import locate
from monitor.readers.torch_reader import TorchReader
from monitor.readers.windows import WindowReader
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser
from tests.lab.small_llama import TEMPLATE


def stream(model: Path, file: Path, **options: object) -> RowStream:
    return RowStream(
        open_sources([str(file)]),
        locate(str(model), None, None),
        TextOptions(held_out=0.0, **options),  # type: ignore[arg-type]
    )


def test_tokens_and_residuals_are_those_of_the_sidecar(small_llama: Path, tmp_path: Path) -> None:
    turns = [("user", "w1 w2 w3"), ("assistant", "w4 w5"), ("user", "w6")]
    file = tmp_path / "one.jsonl"
    messages = [{"role": role, "content": content} for role, content in turns]
    file.write_text(json.dumps({"id": "e", "messages": messages, "response": "w7 w8 w9 w10"}))
    ((_, row),) = stream(small_llama, file, context=64).rows()
    event = Event("e", tuple(Message(*turn) for turn in turns), "w7 w8 w9 w10", Origin("t", 0, 0))
    tokeniser = EventTokeniser.load(small_llama / "tokenizer.json", ChatTemplate(TEMPLATE))
    (item,) = tokeniser.tokenise([event])
    assert np.flatnonzero(row.kept).tolist() == np.concatenate(item.rows).tolist()
    assert row.kept.sum() == 10
    sidecar = TorchReader(small_llama, 1, lambda residual: residual.clone(), threads=1)
    (window,) = WindowReader(sidecar, tokeniser.shared_prefixes(), window_tokens=64, overlap_tokens=8).plan(item.ids)
    (theirs,) = sidecar.read([window.chunk])
    ours = PackedReader(small_llama, (1,), precision="float32", threads=1).read([row]).by_layer[1]
    np.testing.assert_allclose(
        ours.numpy(), theirs[-window.new :][np.concatenate(item.rows) - window.start], rtol=1e-4, atol=1e-4
    )


def test_plain_puts_no_template_around(small_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps({"id": "e", "prompt": "w1 w2", "response": "w3"}))
    ((_, row),) = stream(small_llama, file, context=16, chat=False).rows()
    assert row.ids[:4].tolist() == [6, 7, 8, 0]
    assert row.kept[:4].tolist() == [False, True, True, False]


@pytest.mark.parametrize("options", [{"context": 15}, {"held_out": 1.0}, {"held_out": -0.1}])
def test_options_out_of_range(options: dict[str, float], small_llama: Path) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        RowStream([], locate(str(small_llama), None, None), TextOptions(**options))  # type: ignore[arg-type]

"""The operations of a reader, against counts by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from monitor.bench.operations import Span, count_operations, spans
from monitor.compiler.architectures import architecture_of
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS

CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 576,
    "rms_norm_eps": 1e-5,
}
ARCHITECTURE = architecture_of(CONFIG)


def test_the_operations_of_a_token_in_smollm2() -> None:
    counted = count_operations(ARCHITECTURE, inner=1536, blocks=15, latents=8192)
    # a block: q 576 x 576, k and v 576 x 192 each, o 576 x 576, gate, up and down 576 x 1536; an addition for each
    # multiplication
    block = 2 * (576 * 576 + 2 * 576 * 192 + 576 * 576 + 3 * 576 * 1536)
    assert block == 7_077_888
    assert counted.weights == 15 * block == 106_168_320
    assert counted.sae == 2 * 576 * 8192
    assert counted.attention == 15 * 4 * 576  # scores and weighted sum, 9 heads of 64, for each token looked at
    assert counted.windowed == ()
    whole = count_operations(ARCHITECTURE, inner=1536, blocks=30, latents=8192, vocabulary=49_152)
    assert whole.weights == 30 * block + 2 * 576 * 49_152


def test_the_floor_of_three_tokens() -> None:
    counted = count_operations(ARCHITECTURE, inner=1536, blocks=1, latents=10)
    # tokens 2, 3 and 4 look at 3, 4 and 5 tokens
    expected = 3 * (7_077_888 + 2 * 576 * 10) / 1e9 + 12 * 4 * 576 / 1e8
    assert counted.floor_s([Span(2, 5)], 1e9, 1e8) == pytest.approx(expected)
    assert counted.floor_s([], 1e9, 1e8) == 0


def test_layers_with_a_window_look_at_no_more_than_it() -> None:
    windowed = dataclasses.replace(ARCHITECTURE, windows=(None, 2, 2) * 10)
    counted = count_operations(windowed, inner=1536, blocks=3, latents=0)
    assert (counted.attention, counted.windowed) == (4 * 576, ((2, 2 * 4 * 576),))
    only_attention = dataclasses.replace(counted, weights=0.0)
    # four tokens: 1 + 2 + 3 + 4 without a window, 1 + 2 + 2 + 2 with it, in two layers
    assert only_attention.floor_s([Span(0, 4)], 1.0, 1.0) == 4 * 576 * (10 + 2 * 7)


def test_what_is_read_of_events_that_begin_alike() -> None:
    start = np.arange(5, dtype=np.int32)
    first = np.arange(5 + 3 * BLOCK_TOKENS, dtype=np.int32)
    longer = np.concatenate([first, np.arange(40, dtype=np.int32)])
    other = np.full(20, 7, np.int32)
    events = [first, longer, other]
    sizes = [int(ids.size) for ids in events]
    assert spans(events) == [Span(0, sizes[0]), Span(0, sizes[1]), Span(0, sizes[2])]
    assert spans(events, [start]) == [Span(5, sizes[0]), Span(5, sizes[1]), Span(0, sizes[2])]
    known = 5 + 3 * BLOCK_TOKENS
    assert spans(events, [start], cached=True) == [Span(5, sizes[0]), Span(known, sizes[1]), Span(0, sizes[2])]

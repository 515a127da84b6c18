"""OnnxReader on a tiny model: batches, chunks, pasts and the prefix cache change nothing but what is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.compiler.encoder_inputs import encoder_columns
from monitor.compiler.graph import Graph
from monitor.compiler.model_graph import add_blocks
from monitor.compiler.model_weights import ModelWeights
from monitor.compiler.sae_graph import add_encoder
from monitor.errors import ConfigError
from monitor.readers.onnx.columns import OutputColumns
from monitor.readers.onnx.kv_pool import KvPool
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS
from monitor.readers.onnx.reader import OnnxPast, OnnxReader
from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchPast
from monitor.readers.windows import WindowReader
from monitor.sae.formats.saelens import load_saelens
from monitor.sae.storage import load_stored_sae, store_sae
from monitor.sae.weights import SaeWeights
from tests.saelens import reference, save_sae
from tests.tiny_model import CONFIGS, POSITIONS, TinyModel, relative, save_tiny, texts

BLOCKS = 2
LATENTS = (3, 70, 5, 41)
WIDTH, K = 96, 12
SAME = 1e-5


class Compiled:
    """A model with windows in every layer, and graphs of it with a TopK and a JumpReLU SAE."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = save_tiny(folder / "model", CONFIGS["mistral"]())
        self.shape = self.model.shape(BLOCKS)
        self.saes: dict[str, SaeWeights] = {}
        for kind in ("topk", "jumprelu"):
            sae = load_saelens(save_sae(folder / kind, kind, 32, WIDTH, **({"k": K} if kind == "topk" else {})))
            self.saes[kind] = sae
            graph = Graph(folder / f"{kind}.onnx")
            weights, architecture = ModelWeights(self.model.folder), self.model.architecture
            residual = add_blocks(graph, weights, architecture, BLOCKS, "fp32", None, POSITIONS)
            graph.output(residual, "residual", "float32", ["token", 32])
            add_encoder(graph, residual, sae, folded=False, max_norm=None, turn=None, precision="fp32")
            graph.save()
            store_sae(folder / f"{kind}.safetensors", sae)

    def reader(
        self, kind: str = "topk", latents: Sequence[int] = LATENTS, blocks: int = 0, **options: Any
    ) -> OnnxReader:
        """`blocks` is how many the prefix cache may hold."""
        cache_bytes = blocks * BLOCK_TOKENS * (self.shape.token_bytes + 8 * self.slots(kind))
        options = {"window_tokens": 256, "batch_tokens": 256, **options}
        embeddings = self.model.embeddings(None)
        path = self.folder / f"{kind}.onnx"
        rows = load_stored_sae(self.folder / f"{kind}.safetensors", None if kind == "topk" else latents)
        columns = encoder_columns(rows, (), folded=False, turn=None, precision="fp32", latents=latents)
        return OnnxReader(path, self.shape, embeddings, columns, cache_bytes=cache_bytes, threads=1, **options)

    def slots(self, kind: str) -> int:
        return K if kind == "topk" else len(LATENTS)

    def expected(self, kind: str, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        import torch

        hidden = torch.from_numpy(self.model.hidden(tokens, BLOCKS - 1).copy())
        return reference(self.folder / kind, hidden, LATENTS)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(tmp_path_factory.mktemp("compiled"))


def chunks(*given: NDArray[np.int32]) -> list[Chunk]:
    return [Chunk(tokens) for tokens in given]


def held(reader: OnnxReader) -> int:
    """Rows that are not free."""
    return reader._pool._keys[0].shape[0] - 1 - reader._pool.free


class Runs:
    """Counts the tokens that go through a reader's graph."""

    def __init__(self, reader: OnnxReader) -> None:
        self.tokens = 0
        self._run = reader._graph.run
        reader._graph.run = self._counted  # type: ignore[method-assign]

    def _counted(self, parts: Any, *others: Any) -> list[NDArray[np.float32]]:
        self.tokens += sum(part.tokens.size for part in parts)
        return self._run(parts, *others)


def assert_clean(reader: OnnxReader, own: int = 0) -> None:
    """Between calls, rows are free, `own` of a prefix, or in a block of the cache that nobody uses."""
    assert held(reader) == own + BLOCK_TOKENS * len(reader.cache)
    assert reader._scheduler.pending == set()
    assert all(block.users == 0 for block in reader.cache._blocks.values())


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
@pytest.mark.parametrize("blocks", [0, 20], ids=["uncached", "cached"])
def test_equals_transformers_and_sae_lens(kind: str, blocks: int, compiled: Compiled) -> None:
    reader = compiled.reader(kind, blocks=blocks)
    given = texts(140, 3, 33, 64, 1)
    for _ in range(2):
        for tokens, found in zip(given, reader.read(chunks(*given)), strict=True):
            expected = compiled.expected(kind, tokens)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max() or 1))
        assert_clean(reader)
    assert reader.cache.hits == (128 + 32 + 64 if blocks else 0)


def test_columns_are_those_asked_for_in_that_order(compiled: Compiled) -> None:
    (tokens,) = texts(50)
    for kind in ("topk", "jumprelu"):
        (all_of_them,) = compiled.reader(kind).read(chunks(tokens))
        (some,) = compiled.reader(kind, (41, 3)).read(chunks(tokens))
        np.testing.assert_array_equal(some, all_of_them[:, [3, 0]])


def test_nothing_to_read(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=4)
    assert list(reader.read([])) == []
    empty, some = reader.read(chunks(texts(0)[0], texts(40)[0]))
    assert empty.shape == (0, len(LATENTS))
    assert some.shape == (40, len(LATENTS))
    assert_clean(reader)


def test_the_same_text_twice_in_one_call(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=8)
    runs = Runs(reader)
    (tokens,) = texts(96)
    one, other, start = reader.read(chunks(tokens, tokens, tokens[:64]))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[:64], start)
    assert (runs.tokens, reader.cache.hits) == (96, 96 + 64)


def test_a_beginning_that_many_share_is_read_once(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=30)
    runs = Runs(reader)
    shared, *tails = texts(96, 5, 40, 7, 31)
    given = [np.concatenate([shared, tail]) for tail in tails]
    read = reader.read(chunks(*given))
    assert runs.tokens == 96 + 5 + 40 + 7 + 31
    assert reader.cache.hits == 3 * 96
    for found, plain in zip(read, compiled.reader().read(chunks(*given)), strict=True):
        assert relative(found, plain) < SAME
    assert_clean(reader)


def test_a_conversation_that_comes_turn_by_turn_is_read_about_once(compiled: Compiled) -> None:
    """Without a cache, what is read grows with the square of the number of turns."""
    reader, plain = compiled.reader(blocks=20), compiled.reader()
    runs, all_runs = Runs(reader), Runs(plain)
    (whole,) = texts(300)
    turns = range(12, 301, 12)
    for end in turns:
        (found,) = reader.read(chunks(whole[:end]))
        assert relative(found, plain.read(chunks(whole[:end]))[0]) < SAME
    # each turn reads itself and less than a block before
    assert 300 <= runs.tokens < 300 + len(turns) * BLOCK_TOKENS
    assert all_runs.tokens == sum(turns)
    assert_clean(reader)


CALLS = st.lists(
    st.lists(st.tuples(st.lists(st.integers(0, 1), max_size=5), st.integers(0, 40)), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
)
"""Calls of texts: which of two pieces each begins with, and how many tokens of its own follow."""


@settings(deadline=None, max_examples=25)
@given(
    calls=CALLS, blocks=st.integers(0, 6), batch=st.sampled_from([64, 150]), kind=st.sampled_from(["topk", "jumprelu"])
)
def test_any_texts_in_any_order_under_a_small_cache(
    calls: list[list[tuple[list[int], int]]], blocks: int, batch: int, kind: str, compiled: Compiled
) -> None:
    pieces, tail = texts(32, 40), texts(40, seed=9)[0]
    reader = compiled.reader(kind, blocks=blocks, batch_tokens=batch)
    runs = Runs(reader)
    plain = compiled.reader(kind, batch_tokens=1_024)
    for call in calls:
        given = [np.concatenate([*(pieces[n] for n in beginning), tail[:own]]) for beginning, own in call]
        for found, expected in zip(reader.read(chunks(*given)), plain.read(chunks(*given)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        assert_clean(reader)
        assert len(reader.cache) <= blocks
    total = sum(32 * b.count(0) + 40 * b.count(1) + own for call in calls for b, own in call)
    assert reader.cache.hits + runs.tokens == total


def test_a_cache_that_is_far_too_small_still_helps_within_a_call(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=2, batch_tokens=64)
    shared, *tails = texts(64, *[30] * 12)
    given = [np.concatenate([shared, tail]) for tail in tails]
    for found, plain in zip(reader.read(chunks(*given)), compiled.reader().read(chunks(*given)), strict=True):
        assert relative(found, plain) < SAME
    assert reader.cache.hits == 11 * 64
    assert_clean(reader)


def test_more_at_once_than_the_pool_holds(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=1, window_tokens=64, batch_tokens=64)
    assert reader._pool.free < 300
    given = texts(*[100] * 10)
    for found, plain in zip(reader.read(chunks(*given)), compiled.reader().read(chunks(*given)), strict=True):
        assert relative(found, plain) < SAME
    assert_clean(reader)


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_other_columns_are_those_of_a_reader_that_was_made_with_them(kind: str, compiled: Compiled) -> None:
    reader, other = compiled.reader(kind, blocks=20), compiled.reader(kind, (0, 1, 2, *LATENTS[:1]))
    given = texts(140, 33)
    list(reader.read(chunks(*given)))
    assert len(reader.cache) > 0
    reader.use_columns(other.columns)
    for found, expected in zip(reader.read(chunks(*given)), other.read(chunks(*given)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert_clean(reader)


def test_batches_of_more_tokens_than_the_graph_has_positions(compiled: Compiled) -> None:
    """onnxruntime refuses them, though no position is beyond the tables."""
    reader = compiled.reader(batch_tokens=4_096)
    given = texts(*[90] * 12)
    for found, plain in zip(
        reader.read(chunks(*given)), compiled.reader(batch_tokens=1).read(chunks(*given)), strict=True
    ):
        assert relative(found, plain) < SAME


def test_a_chunk_longer_than_the_pool(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=1, window_tokens=64, batch_tokens=64)
    (tokens,) = texts(60)
    reader.read(chunks(tokens))
    with pytest.raises(RuntimeError, match=r"^a chunk of 300 tokens does not fit into the pool$"):
        reader.read(chunks(texts(300)[0], tokens))
    assert_clean(reader)
    assert reader.read(chunks(tokens))[0].shape == (60, 4)


@pytest.mark.parametrize("past", [0, 21])
def test_a_chunk_longer_than_the_graph_reads(past: int, compiled: Compiled) -> None:
    reader = compiled.reader(blocks=3, window_tokens=4_096)
    (tokens,) = texts(POSITIONS)
    start = reader.prefill(tokens[:past]) if past else None
    longest = Chunk(tokens[past:], start)
    assert reader.read([longest])[0].shape[0] == POSITIONS - past
    for _ in range(2):
        with pytest.raises(
            ValueError, match=rf"^a past and chunk of {POSITIONS + 1} tokens; the graph reads {POSITIONS} "
        ):
            reader.read([Chunk(np.append(tokens[past:], tokens[:1]), start), longest, *chunks(tokens[:40])])
        assert_clean(reader, own=past)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_call_that_fails_leaves_nothing_behind(
    after: int, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later texts would wait without end for blocks that the failed call had begun to read."""
    reader = compiled.reader(blocks=12, batch_tokens=64)
    given = texts(200, 40, 96)
    known = given[2][:64]
    reader.read(chunks(known))
    run, runs = reader._graph.run, 0

    def failing(*arguments: Any) -> list[NDArray[np.float32]]:
        nonlocal runs
        runs += 1
        if runs > after:
            raise MemoryError
        return run(*arguments)

    monkeypatch.setattr(reader._graph, "run", failing)
    with pytest.raises(MemoryError):
        reader.read(chunks(*given))
    assert_clean(reader)
    monkeypatch.undo()
    for found, plain in zip(reader.read(chunks(*given)), compiled.reader().read(chunks(*given)), strict=True):
        assert relative(found, plain) < SAME
    assert_clean(reader)


@pytest.mark.parametrize("blocks", [0, 4])
def test_a_past_of_another_reader(blocks: int, compiled: Compiled) -> None:
    reader, other = compiled.reader(blocks=blocks), compiled.reader()
    (tokens,) = texts(40)
    for past in (TorchPast(None, tokens[:3]), other.prefill(tokens[:3])):
        with pytest.raises(TypeError, match=r"^a past of another reader: (Torch|Onnx)Past$"):
            reader.read([Chunk(tokens, past)])
        assert_clean(reader)


def test_what_is_read_over_one_past_is_not_taken_for_what_is_read_over_another(compiled: Compiled) -> None:
    reader, plain = compiled.reader(blocks=12), compiled.reader()
    tokens, one, other = texts(70, 6, 6)
    for past in (None, one, other, one):
        (found,) = reader.read([Chunk(tokens, None if past is None else reader.prefill(past))])
        whole = tokens if past is None else np.concatenate([past, tokens])
        assert relative(found, plain.read(chunks(whole))[0][-70:]) < SAME
    assert reader.cache.hits == 64  # of the past that came twice
    assert_clean(reader, own=12)


def test_a_prefix_is_read_once(compiled: Compiled) -> None:
    reader = compiled.reader()
    runs = Runs(reader)
    (tokens,) = texts(50)
    short = reader.prefill(tokens[:3])
    long = reader.prefill(tokens[:20])
    assert (short.length, long.length) == (3, 20)
    assert runs.tokens == 20
    np.testing.assert_array_equal(long.rows[:3], short.rows)
    assert reader.prefill(tokens[:20]) is long
    assert reader.prefill(tokens[:3]) is short
    assert runs.tokens == 20
    assert_clean(reader, own=20)


def test_a_prefix_that_was_read_elsewhere(compiled: Compiled) -> None:
    first, second = compiled.reader(), compiled.reader()
    (tokens,) = texts(60)
    keys, values = first.keys_values(first.prefill(tokens[:20]))
    assert keys.shape == values.shape == (BLOCKS, 20, 2 * 16)
    runs = Runs(second)
    second.preload(tokens[:20], keys, values)
    second.preload(tokens[:5], keys[:, :5], values[:, :5])
    start = second.prefill(tokens[:20])
    assert runs.tokens == 0
    (found,) = second.read([Chunk(tokens[20:], start)])
    assert relative(found, first.read(chunks(tokens))[0][20:]) < SAME
    # and of what is preloaded the graph reads what it is given
    third = compiled.reader()
    third.preload(tokens[:20], 0 * keys, 0 * values)
    (other,) = third.read([Chunk(tokens[20:], third.prefill(tokens[:20]))])
    assert relative(other[:5], found[:5]) > 0.05


def test_the_longest_prefix_that_fits_is_used(compiled: Compiled) -> None:
    reader, plain = compiled.reader(), compiled.reader()
    (tokens,) = texts(60)
    whole = plain.residual(tokens)
    assert whole.shape == (60, 32)
    assert relative(whole, compiled.model.hidden(tokens, BLOCKS - 1)) < SAME
    for size in (3, 20, 10):
        reader.prefill(tokens[:size])
    reader.prefill(np.append(tokens[:30], np.int32(0)))  # begins alike, and goes on otherwise
    assert relative(reader.residual(tokens), whole[20:]) < SAME
    assert relative(reader.residual(tokens[:20]), whole[10:20]) < SAME  # the last token itself is read anew
    assert relative(reader.residual(tokens[:2]), whole[:2]) < SAME
    assert_clean(reader, own=3 + 17 + 10 - 3 + 31 - 10 - 10)


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_past_the_cache_the_same_is_read(kind: str, compiled: Compiled) -> None:
    reader = compiled.reader(kind, blocks=10)
    runs = Runs(reader)
    given = texts(140, 40)
    read = reader.read(chunks(*given))
    for _ in range(2):
        for found, expected in zip(reader.read_uncached(given), read, strict=True):
            assert relative(found, expected) < SAME
    assert runs.tokens == 3 * 180
    reader.prefill(given[0][:20])
    assert [found.shape[0] for found in reader.read_uncached(given)] == [120, 40]
    assert_clean(reader, own=20)


def test_windows_are_read_over_the_prefix(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=10)
    (tokens,) = texts(200)
    planner = WindowReader(reader, [tokens[:1], tokens[:7]], window_tokens=80, overlap_tokens=16)
    plan = planner.plan(tokens)
    assert [w.chunk.past.length for w in plan if w.chunk.past] == [7] * len(plan)
    read = reader.read([w.chunk for w in plan])
    plain = compiled.reader()
    for window, found in zip(plan, read, strict=True):
        expected = plain.read(chunks(np.concatenate([tokens[:7], window.chunk.tokens])))[0][7:]
        assert relative(found, expected) < SAME
    assert sum(w.new for w in plan) == 200 - 7


def test_a_latent_that_the_sae_does_not_have(compiled: Compiled) -> None:
    with pytest.raises(ConfigError, match=r"jumprelu\.safetensors: feature index 96 is outside the SAE's 96 latents$"):
        compiled.reader("jumprelu", (3, 96))
    assert compiled.reader("topk", (3, 9)).read(chunks(texts(4)[0]))[0].shape == (4, 2)


@pytest.mark.parametrize("content", [None, b"", b"no graph"])
def test_a_graph_that_does_not_load(content: bytes | None, compiled: Compiled, tmp_path: Path) -> None:
    path = tmp_path / "reader.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"reader\.onnx: not loaded: "):
        OnnxReader(path, compiled.shape, compiled.model.embeddings(None), OutputColumns({}, 4))


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
@pytest.mark.parametrize("chunk_tokens", [1, 5, 32, 500])
def test_the_size_of_chunks_changes_nothing(chunk_tokens: int, kind: str, compiled: Compiled) -> None:
    given = texts(70, 40, 1)
    expected = compiled.reader(kind).read(chunks(*given))
    reader = compiled.reader(kind, blocks=5, chunk_tokens=chunk_tokens)
    for _ in range(2):  # the second time from the cache
        for found, plain in zip(reader.read(chunks(*given)), expected, strict=True):
            assert relative(found, plain) < SAME
    assert reader.cache.hits
    assert_clean(reader)


def test_a_past_tells_its_length() -> None:
    assert OnnxPast(np.zeros(3, np.int32), np.arange(3), KvPool(4, 1, 1, 1)).length == 3


def test_the_cache_stays_within_its_bytes(compiled: Compiled) -> None:
    reader = compiled.reader(blocks=5)
    reader.read(chunks(*texts(*[64] * 8)))
    block = next(iter(reader.cache._blocks.values()))
    shape = compiled.shape
    assert block.activations.columns is not None
    size = BLOCK_TOKENS * shape.token_bytes + block.activations.values.nbytes + block.activations.columns.nbytes
    assert size <= BLOCK_TOKENS * (shape.token_bytes + 8 * compiled.slots("topk"))
    assert len(reader.cache) == 5


def test_the_model_is_the_one_that_the_tests_mean(compiled: Compiled) -> None:
    model: TinyModel = compiled.model
    assert set(model.architecture.windows) == {11}

"""TorchReader against the whole model with output_hidden_states and the whole SAE of sae-lens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchReader
from monitor.readers.windows import WindowReader
from monitor.tokens.tokeniser import Tokenised
from tests.reader_model import LAYER, ReaderModel, event, sample_events
from tests.readers.conftest import LATENTS, EncoderOfAll, Residual, ordinary
from tests.saelens import SAE

RTOL = 1e-4
"""Of the largest reference activation of the SAE, over all tokens without massive activations."""
ATOL_OF_MAX = 2e-5
"""Elementwise, |ours - reference| <= RTOL * |reference| + ATOL_OF_MAX * max |reference|."""
MAX_FLIPS = 1e-4
"""Of all active latents, how many may trade places at rank k, and only with a margin within float noise."""

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def items(reader_model: ReaderModel) -> list[Tokenised]:
    found = reader_model.tokeniser.tokenise(sample_events())
    assert len(found) == 200
    return found


@pytest.fixture(scope="module")
def residuals(reader_model: ReaderModel, items: list[Tokenised]) -> list[Tensor]:
    """[token, d] of each sample, from the whole model, without padding."""
    return reader_model.residuals([item.ids for item in items])


@pytest.fixture(scope="module")
def reader(reader_model: ReaderModel, saes: dict[str, Path]) -> TorchReader:
    return TorchReader(reader_model.files.folder, LAYER, EncoderOfAll(list(saes.values())))


def alone(reader: TorchReader, items: Sequence[Tokenised]) -> dict[int, NDArray[np.float32]]:
    """Every eighth text, in a call of its own."""
    return {n: reader.read([Chunk(items[n].ids)])[0] for n in range(0, len(items), 8)}


def at_once(reader: TorchReader, items: Sequence[Tokenised]) -> dict[int, NDArray[np.float32]]:
    return dict(enumerate(reader.read([Chunk(item.ids) for item in items])))


def shuffled_small_batches(reader: TorchReader, items: Sequence[Tokenised]) -> dict[int, NDArray[np.float32]]:
    """Every third text, in batches of about four."""
    order = list(range(0, len(items), 3))
    np.random.default_rng(3).shuffle(order)
    budget, reader._batch_tokens = reader._batch_tokens, 200
    try:
        return dict(zip(order, reader.read([Chunk(items[n].ids) for n in order]), strict=True))
    finally:
        reader._batch_tokens = budget


def padded_far(reader: TorchReader, items: Sequence[Tokenised]) -> dict[int, NDArray[np.float32]]:
    """Texts of all lengths in one batch, so that the short ones are mostly padding."""
    order = sorted(range(len(items)), key=lambda n: items[n].ids.size)[::8]
    read = reader._read_batch([Chunk(items[n].ids) for n in order])
    return dict(zip(order, read, strict=True))


ARRANGEMENTS: list[Callable[[TorchReader, Sequence[Tokenised]], dict[int, NDArray[np.float32]]]] = [
    alone,
    at_once,
    shuffled_small_batches,
    padded_far,
]


def compare(
    ours: dict[int, NDArray[np.float32]],
    residuals: list[Tensor],
    saes: dict[str, Path],
    skip: dict[int, int] | None = None,
) -> None:
    """Checks the activations of every SAE; `skip` tells how many tokens at the start of a text were not read."""
    skip = skip or {}
    order = sorted(ours)
    theirs = torch.cat([residuals[n][skip.get(n, 0) :] for n in order])
    keep = ordinary(theirs)
    theirs = theirs[keep]
    values = np.concatenate([ours[n] for n in order])[keep]
    for column, (name, folder) in enumerate(saes.items()):
        sae = SAE.load_from_disk(folder, dtype="float32")
        with torch.no_grad():
            wanted = sae.encode(theirs)[:, list(LATENTS)].numpy()
        found = values[:, column * len(LATENTS) : (column + 1) * len(LATENTS)]
        flips = (wanted > 0) != (found > 0)
        noise = RTOL * np.abs(wanted).max()
        if flips.any():
            assert _margin(sae, theirs, flips) <= noise, f"{name}: a latent differs that was not on the edge"
        difference = np.abs(found - wanted)[~flips]
        scale = np.abs(wanted).max()
        print(  # noqa: T201 - shown by pytest -s
            f"\n{name}: {wanted.shape[0]} tokens, {int((wanted > 0).sum())} active, "
            f"max |difference| / max |reference| {difference.max() / scale:.1e}, {int(flips.sum())} flips"
        )
        assert scale > 0
        assert flips.sum() <= max(MAX_FLIPS * (wanted > 0).sum(), 1)
        assert difference.max() <= RTOL * scale
        assert (difference <= RTOL * np.abs(wanted)[~flips] + ATOL_OF_MAX * scale).all()


def _margin(sae: Any, residual: Tensor, flips: NDArray[np.bool_]) -> float:
    """How far the flipped latents lie from where they would trade places, at most."""
    tokens, columns = np.nonzero(flips)
    latents = torch.tensor(LATENTS)[columns]
    with torch.no_grad():
        pre = sae.process_sae_in(residual[tokens]) @ sae.W_enc + sae.b_enc
        own = pre[torch.arange(len(tokens)), latents]
        if sae.cfg.architecture() == "topk":
            inside, outside = pre.topk(sae.cfg.k + 1, dim=1).values[:, -2:].T  # last that stays, first that goes
            to_rank = torch.where(own >= inside, own - outside, inside - own)
            return float(torch.minimum(to_rank, own.abs()).max())
        threshold = getattr(sae, "threshold", torch.zeros(sae.cfg.d_sae))[latents]
        return float((own - threshold).abs().max())


@pytest.mark.parametrize("name", ["topk", "jumprelu", "standard"])
def test_the_comparison_itself_tells_noise_from_error(
    name: str, saes: dict[str, Path], residuals: list[Tensor]
) -> None:
    one = {name: saes[name]}
    encode = EncoderOfAll(list(one.values()))
    values = {n: encode(residuals[n]).numpy().copy() for n in range(8)}
    compare(values, residuals, one)
    n = max(values, key=lambda n: values[n][1:].max())
    token, column = np.unravel_index(np.argmax(values[n][1:]), values[n][1:].shape)
    values[n][token + 1, column] = 0
    with pytest.raises(AssertionError, match="a latent differs that was not on the edge"):
        compare(values, residuals, one)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=lambda f: f.__name__)
def test_parity_with_the_whole_model(
    arrangement: Callable[[TorchReader, Sequence[Tokenised]], dict[int, NDArray[np.float32]]],
    reader: TorchReader,
    items: list[Tokenised],
    residuals: list[Tensor],
    saes: dict[str, Path],
) -> None:
    compare(arrangement(reader, items), residuals, saes)


def test_parity_after_a_shared_prefix(
    reader_model: ReaderModel,
    reader: TorchReader,
    items: list[Tokenised],
    residuals: list[Tensor],
    saes: dict[str, Path],
) -> None:
    planner = WindowReader(reader, reader_model.tokeniser.shared_prefixes(), window_tokens=2048, overlap_tokens=256)
    plans = {n: planner.plan(item.ids) for n, item in enumerate(items)}
    windows = {n: plan[0] for n, plan in plans.items() if plan}
    assert all(len(plan) <= 1 for plan in plans.values())
    assert len({w.start for w in windows.values()}) == 2  # with the template's own system message, and without
    read = reader.read([w.chunk for w in windows.values()])
    compare(dict(zip(windows, read, strict=True)), residuals, saes, {n: w.start for n, w in windows.items()})


def test_a_past_is_not_changed_by_reading(reader_model: ReaderModel, reader: TorchReader) -> None:
    start = reader_model.tokeniser.shared_prefixes()[-1]
    past = reader.prefill(start)
    text = Chunk(np.arange(500, 520, dtype=np.int32), past)
    first = reader.read([text])[0]
    reader.read([text] * 3)
    np.testing.assert_array_equal(reader.read([text])[0], first)
    assert past.cache.get_seq_length() == past.length == start.size


@pytest.fixture(scope="module")
def plain_reader(reader_model: ReaderModel) -> TorchReader:
    """Hands out the residual stream of an early layer."""
    return TorchReader(reader_model.files.folder, 2, Residual())


def test_windows_of_a_long_text(reader_model: ReaderModel, plain_reader: TorchReader) -> None:
    """The first window is exact; in the others tokens lack the context before the overlap, and stand elsewhere."""
    text = " ".join(f"The {n}th ship left harbour at dawn." for n in range(80))
    (item,) = reader_model.tokeniser.tokenise([event(text, "Count the ships.")])
    whole = plain_reader.read([Chunk(item.ids)])[0]
    planner = WindowReader(plain_reader, reader_model.tokeniser.shared_prefixes(), window_tokens=256, overlap_tokens=64)
    plan = planner.plan(item.ids)
    assert len(plan) > 3
    covered = np.concatenate([np.arange(w.start, w.start + w.new) for w in plan])
    np.testing.assert_array_equal(covered, np.arange(plan[0].start, item.ids.size))
    assert all(w.chunk.tokens.size + w.chunk.past.length <= 256 for w in plan if w.chunk.past)
    read = plain_reader.read([w.chunk for w in plan])
    first = plan[0]
    expected = whole[first.start : first.start + first.new]
    np.testing.assert_allclose(read[0], expected, atol=1e-4 * float(np.abs(expected).max()))
    for window, values in zip(plan[1:], read[1:], strict=True):
        rest = whole[window.start : window.start + window.new]
        fvu = float(((values[-window.new :] - rest) ** 2).sum() / ((rest - rest.mean(0)) ** 2).sum())
        assert fvu < 0.2


def test_layers_above_the_hook_are_not_built(plain_reader: TorchReader, reader_model: ReaderModel) -> None:
    weights = load_file(reader_model.files.folder / "model.safetensors")
    kept = [name for name in weights if "layers." not in name or int(name.split("layers.")[1].split(".")[0]) <= 2]
    built = sum(p.numel() for p in plain_reader._model._model.parameters())
    assert built == sum(weights[name].numel() for name in kept if not name.startswith("lm_head"))
    assert not any("lm_head" in name for name, _ in plain_reader._model._model.named_parameters())


def test_massive_activations_read_zero(
    reader_model: ReaderModel, plain_reader: TorchReader, items: list[Tokenised]
) -> None:
    chunk = Chunk(items[0].ids)
    whole = plain_reader.read([chunk])[0]
    norms = np.linalg.norm(whole, axis=1)
    limit = float(np.median(norms))
    (hook,) = plain_reader._hooks
    plain_reader._hooks = (replace(hook, max_norm=limit),)
    try:
        found = plain_reader.read([chunk])[0]
    finally:
        plain_reader._hooks = (hook,)
    assert (found[norms > limit] == 0).all()
    np.testing.assert_array_equal(found[norms <= limit], whole[norms <= limit])


def test_bfloat16_is_close(reader_model: ReaderModel, items: list[Tokenised], residuals: list[Tensor]) -> None:
    short = TorchReader(
        reader_model.files.folder,
        LAYER,
        Residual(),
        dtype="bfloat16",
    )
    chosen = range(0, 200, 20)
    found = np.concatenate(short.read([Chunk(items[n].ids) for n in chosen]))
    theirs = torch.cat([residuals[n] for n in chosen])
    keep = ordinary(theirs)
    wanted = theirs.numpy()[keep]
    fvu = float(((found[keep] - wanted) ** 2).sum() / ((wanted - wanted.mean(0)) ** 2).sum())
    print(f"\nbfloat16: fraction of the residual's variance lost {fvu:.1e}")  # noqa: T201 - shown by pytest -s
    assert fvu < 0.005


def test_windows_are_no_longer_than_the_model_allows(plain_reader: TorchReader) -> None:
    assert plain_reader.max_tokens == 8192
    plan = WindowReader(plain_reader, window_tokens=1_000_000, overlap_tokens=0).plan(np.zeros(20_000, np.int32))
    assert [w.new for w in plan] == [8192, 8192, 20_000 - 2 * 8192]


def test_nothing_to_read(plain_reader: TorchReader) -> None:
    assert plain_reader.read([]) == []

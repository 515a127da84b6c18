"""The compiled real model against torch: activations in float32, decisions in int8 with what is read again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from monitor.assembly.artefacts import load_artefacts, load_model_artefacts
from monitor.assembly.build import build_engine
from monitor.assembly.compiled_reader import open_reader
from monitor.config.sections import Config
from monitor.demo.sample_events import demo_events
from monitor.engine import Engine
from monitor.events.event import Event, Origin, Record
from monitor.events.parse import parse
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.manifest import PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk, Reader
from monitor.readers.torch_reader import TorchReader
from monitor.readers.windows import ReadWindow, WindowReader
from monitor.sae.encoder import CuratedEncoder
from monitor.sets.load import load_feature_sets
from tests.reader_model import LAYER, PACKAGE, ReaderModel, event, sample_events
from tests.readers.conftest import ordinary
from tests.tiny_model import relative

pytestmark = pytest.mark.model

LATENTS = tuple(sorted({i for s in load_feature_sets(["builtin:smollm2-135m-instruct"]) for i in s.set.indices()})[::8])
"""Some of those that the shipped sets use."""
RTOL = 1e-4
"""Of the largest activation."""
MAX_FLIPS = 1e-3
"""Of all active latents, how many may lie on either side of their threshold."""
MASSIVE = 3_000.0


@pytest.fixture(scope="module")
def torch_reader(reader_model: ReaderModel) -> TorchReader:
    sae = load_model_artefacts(Config()).sae
    return TorchReader(reader_model.files.folder, LAYER, CuratedEncoder(sae, LATENTS), max_norm=MASSIVE)


@pytest.fixture(scope="module")
def exact(reader_bundle: Bundle) -> OnnxReader:
    return open_reader(reader_bundle, "fp32", LATENTS)


@pytest.fixture(scope="module")
def rounding(reader_bundle: Bundle) -> OnnxReader:
    return open_reader(reader_bundle, "int8", LATENTS)


@pytest.fixture(scope="module")
def texts(reader_model: ReaderModel) -> list[NDArray[np.int32]]:
    """57 short texts, and three that take several windows of 128 tokens."""
    long = [" ".join(f"The {n}th {what} left harbour at dawn." for n in range(40)) for what in ("ship", "boat", "crew")]
    events = [*sample_events()[1::4], *sample_events()[-7:], *(event(t, "Count them.") for t in long)]
    items = [item.ids for item in reader_model.tokeniser.tokenise(events)]
    return [ids for ids in items if ids.size]


def plans(reader: Reader, model: ReaderModel, texts: Sequence[NDArray[np.int32]]) -> list[ReadWindow]:
    planner = WindowReader(reader, model.tokeniser.shared_prefixes(), window_tokens=128, overlap_tokens=32)
    return [window for ids in texts for window in planner.plan(ids)]


def read(reader: Reader, model: ReaderModel, texts: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
    """Activations [token, latent] of all windows, over the template's starts."""
    return np.concatenate(reader.read([window.chunk for window in plans(reader, model, texts)]))


def assert_same(found: NDArray[np.float32], expected: NDArray[np.float32], flips: float = MAX_FLIPS) -> None:
    """Equal but for float noise; a latent at rank k may trade places with the next."""
    scale = float(np.abs(expected).max())
    active = int((expected > 0).sum())
    flipped = (found > 0) != (expected > 0)
    difference = np.abs(found - expected)[~flipped]
    print(  # noqa: T201 - shown by pytest -s
        f"\n{expected.shape[0]} tokens, {active} active, {int(flipped.sum())} flips, {difference.max() / scale:.1e}"
    )
    assert active > 1_000
    assert flipped.sum() <= max(flips * active, 1)
    assert difference.max() <= RTOL * scale


def test_fp32_equals_torch(
    exact: OnnxReader, torch_reader: TorchReader, reader_model: ReaderModel, texts: list[NDArray[np.int32]]
) -> None:
    assert len(texts) > 55
    windows = plans(exact, reader_model, texts)
    assert len(windows) > len(texts)
    ours, theirs = (read(reader, reader_model, texts) for reader in (exact, torch_reader))
    assert_same(ours, theirs)


def test_the_residual_stream_of_fp32_equals_transformers(
    reader_bundle: Bundle, exact: OnnxReader, reader_model: ReaderModel, texts: list[NDArray[np.int32]]
) -> None:
    """Up to a rotation, which leaves lengths and angles as they are."""
    chosen = texts[::8]
    ours = [exact.residual(ids) for ids in chosen]
    whole = reader_model.residuals(chosen)
    theirs = torch.cat([r[-o.shape[0] :] for r, o in zip(whole, ours, strict=True)])
    keep = ordinary(theirs)
    found, expected = np.concatenate(ours)[keep], theirs.numpy()[keep]
    largest = float((expected**2).sum(axis=1).max())
    assert np.abs(found @ found.T - expected @ expected.T).max() < RTOL * largest


def test_the_residual_stream_of_int8_loses_little(
    exact: OnnxReader, rounding: OnnxReader, texts: list[NDArray[np.int32]]
) -> None:
    expected, found = (np.concatenate([r.residual(t) for t in texts]) for r in (exact, rounding))
    keep = np.linalg.norm(expected, axis=1) < MASSIVE
    assert keep.mean() > 0.99  # the sink is in the starts
    wanted = expected[keep]
    fvu = float(((found[keep] - wanted) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum())
    print(f"\nint8: fraction of the residual's variance lost {fvu:.1e}")  # noqa: T201 - shown by pytest -s
    assert 0 < fvu < 0.01


def all_at_once(reader: OnnxReader, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
    return reader.read(chunks)


def each_alone(reader: OnnxReader, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
    return [reader.read([chunk])[0] for chunk in chunks]


def backwards(reader: OnnxReader, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
    return reader.read(chunks[::-1])[::-1]


def twice(reader: OnnxReader, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
    """The second time, what has a full block comes from the cache."""
    before = reader.cache.hits
    reader.read(chunks)
    found = reader.read(chunks)
    full = sum(chunk.tokens.size // 32 * 32 for chunk in chunks)
    assert reader.cache.hits - before >= full > 0
    return found


@pytest.mark.parametrize("arrange", [each_alone, backwards, twice], ids=lambda f: f.__name__)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_company_and_cache_change_nothing(
    precision: PrecisionName,
    arrange: Callable[[OnnxReader, Sequence[Chunk]], list[NDArray[np.float32]]],
    reader_bundle: Bundle,
    exact: OnnxReader,
    rounding: OnnxReader,
    reader_model: ReaderModel,
    texts: list[NDArray[np.int32]],
) -> None:
    chosen = [*texts[:-3:5], texts[-1]]
    plain = exact if precision == "fp32" else rounding
    other = open_reader(reader_bundle, precision, LATENTS, cache_bytes=64_000_000)
    expected = plain.read([w.chunk for w in plans(plain, reader_model, chosen)])
    found = arrange(other, [w.chunk for w in plans(other, reader_model, chosen)])
    if precision == "fp32":
        assert_same(np.concatenate(found), np.concatenate(expected))
        return
    # a sum in another order now and then rounds to another of 256 levels, which shifts all that follows: as far, at
    # most, as rounding shifts it anyway, which is what margins are measured by
    wanted = np.concatenate(expected)
    rounded = np.linalg.norm(read(exact, reader_model, chosen) - wanted)
    error = np.linalg.norm(np.concatenate(found) - wanted) / rounded
    print(f"\nint8, {arrange.__name__}: {error:.1e} of what rounding does")  # noqa: T201 - shown by pytest -s
    assert error < 0.7


def test_windows_read_what_a_text_of_its_own_would(exact: OnnxReader, texts: list[NDArray[np.int32]]) -> None:
    """Over the start, and with the overlap as their only context."""
    planner = WindowReader(exact, [texts[-1][:4]], window_tokens=96, overlap_tokens=24)
    plan = planner.plan(texts[-1])
    assert len(plan) > 3
    np.testing.assert_array_equal(np.concatenate([w.chunk.tokens[-w.new :] for w in plan]), texts[-1][plan[0].start :])
    read = exact.read([w.chunk for w in plan])
    for window, found in zip(plan[1:3], read[1:3], strict=True):
        alone = exact.read([Chunk(np.concatenate([texts[-1][:4], window.chunk.tokens]))])[0][4:]
        assert relative(found, alone) < RTOL


def engine(**reader: object) -> Engine:
    config = Config.model_validate({"reader": {"model": PACKAGE, **reader}})
    return build_engine(config, load_artefacts(config))


@pytest.fixture(scope="module")
def demo() -> list[Event]:
    return [parse(Record(d.value, Origin("demo", 0, n)))[0] for n, d in enumerate(demo_events())]


def test_int8_decides_as_torch_on_the_demo_events(reader_bundle: Bundle, demo: list[Event]) -> None:
    """On all that come near a threshold or above it, and on some of the others: torch takes its time."""
    ours = list(engine(bundle=str(reader_bundle.folder), precision="int8").evaluate(demo))
    assert [e.event.id for e in ours] == [e.id for e in demo]
    assert all(e.confirmed for e in ours if e.alerts)
    far = [e for e in ours if not e.confirmed]
    compared = [*(e for e in ours if e.confirmed), *far[::12]]
    reference = engine(engine="torch").evaluate([e.event for e in compared])
    alerts = 0
    for found, expected in zip(compared, reference, strict=True):
        assert [a.set.id for a in found.alerts] == [a.set.id for a in expected.alerts], found.event.id
        assert (found.tokens, found.windows) == (expected.tokens, expected.windows)
        for one, other in zip(found.alerts, expected.alerts, strict=True):
            alerts += 1
            assert one.score == pytest.approx(other.score, abs=1e-3)
            assert one.severity == other.severity
            assert [f.index for f in one.features] == [f.index for f in other.features]
            assert (one.unnamed is None) == (other.unnamed is None)
    print(f"\n{len(ours)} events, {alerts} alerts, {len(ours) - len(far)} read again")  # noqa: T201 - shown by pytest -s
    assert alerts > 20
    assert len(far) > len(ours) / 4

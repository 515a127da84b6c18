"""The self-test of a bundle on this machine: margins for any sets, and which precision reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.assembly import build
from monitor.assembly.artefacts import BundleArtefacts
from monitor.assembly.build import load_readers
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.live_readers import CompiledReaders
from monitor.assembly.self_test import MARGIN_DEVIATIONS, SelfTest, compare, run_self_test, tolerance_factor
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.readers.onnx.bundle import GRAPHS, Bundle
from monitor.readers.onnx.manifest import PrecisionName
from tests.tiny_bundle import LATENTS, TinySource, tiny_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    return tiny_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def bundle(source: TinySource, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return source.compile(tmp_path_factory.mktemp("bundles") / "bundle")


def made(errors: NDArray[np.float32], speeds: Mapping[PrecisionName, float], level: float = 0.0) -> SelfTest:
    """Texts whose latents all have the activation `level` in fp32, and as much as `errors` [text] more in int8."""
    exact = [np.full((10, len(LATENTS)), level, np.float32) for _ in errors]
    return SelfTest(exact, [text + error for text, error in zip(exact, errors, strict=True)], speeds)


FAST: dict[PrecisionName, float] = {"fp32": 100.0, "int8": 300.0}


def test_margins_leave_out_three_deviations_with_room_for_few_texts(source: TinySource) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 32).astype(np.float32)
    test = made(noise, FAST, level=5.0)
    loaded = source.feature_set()
    exact, rounded = test.scores(loaded, LATENTS)
    margin = compare(test, [loaded], LATENTS).margins["one"]
    deviation = float(np.sqrt(np.mean((rounded - exact) ** 2)))
    assert margin == pytest.approx(tolerance_factor(32) * deviation)
    assert margin >= np.abs(rounded - exact).max()


def test_one_text_that_is_far_off_is_within_the_margin(source: TinySource) -> None:
    noise = np.zeros(100, np.float32)
    noise[7] = 1.0
    test, loaded = made(noise, FAST, level=5.0), source.feature_set()
    exact, rounded = test.scores(loaded, LATENTS)
    assert compare(test, [loaded], LATENTS).margins["one"] == pytest.approx(np.abs(rounded - exact).max())


@pytest.mark.parametrize(("count", "factor"), [(8, 1.71), (32, 1.26), (10_000, 1.01)])
def test_few_texts_have_a_wider_margin(count: int, factor: float) -> None:
    """sqrt(n / chi2.ppf(.05, n)) by scipy."""
    assert tolerance_factor(count) == pytest.approx(MARGIN_DEVIATIONS * factor, rel=0.01)


def test_the_gain_counts_what_is_read_again(source: TinySource) -> None:
    loaded = source.feature_set()
    threshold = loaded.set.threshold
    assert threshold is not None
    far = compare(made(np.full(32, 0.01, np.float32), FAST, level=-40.0), [loaded], LATENTS)
    near = compare(made(np.full(32, 0.01, np.float32), FAST, level=40.0), [loaded], LATENTS)
    assert (far.confirmed, near.confirmed) == (0, 1)
    assert far.gain == pytest.approx(3)
    assert near.gain == pytest.approx(1 / (1 / 3 + 1))


def test_a_set_that_cannot_be_measured_has_everything_read_again(source: TinySource) -> None:
    one = made(np.array([0.1], np.float32), FAST)
    comparison = compare(one, [source.feature_set()], LATENTS)
    assert (comparison.margins, comparison.confirmed) == ({}, 1)


def test_both_graphs_are_read(bundle: Bundle, source: TinySource) -> None:
    exact, rounding = (open_reader(bundle, name, LATENTS) for name in ("fp32", "int8"))
    test = run_self_test(bundle, exact, rounding, LATENTS)
    assert len(test.exact) == len(test.rounded) == 6
    assert not np.array_equal(test.exact[0], test.rounded[0])
    assert min(test.tokens_per_s.values()) > 0
    assert compare(test, [source.feature_set()], LATENTS).margins["one"] > 0


def readers(
    bundle: Bundle, source: TinySource, precision: str, monkeypatch: pytest.MonkeyPatch, speeds: Mapping[str, float]
) -> CompiledReaders:
    """What is read with if the graphs are as fast as `speeds`."""

    def timed(*arguments: object) -> SelfTest:
        return replace(run_self_test(*arguments), tokens_per_s=speeds)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "run_self_test", timed)
    sets = (source.feature_set(threshold=0.999999),)
    return load_readers(
        Config.model_validate({"reader": {"precision": precision}}), bundle, BundleArtefacts(sets, bundle)
    )


@pytest.mark.parametrize(("int8", "taken"), [(300.0, True), (101.0, False), (50.0, False)])
def test_auto_takes_int8_only_if_it_is_clearly_faster(
    int8: float, taken: bool, bundle: Bundle, source: TinySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = readers(bundle, source, "auto", monkeypatch, {"fp32": 100.0, "int8": int8})
    assert (found.exact is not None) == taken
    assert (found.margins is not None) == taken


def test_what_the_config_asks_for_is_taken(bundle: Bundle, source: TinySource, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"fp32": 100.0, "int8": 50.0}
    assert readers(bundle, source, "int8", monkeypatch, slow).exact is not None
    assert readers(bundle, source, "fp32", monkeypatch, FAST).exact is None


def test_int8_that_is_wrong_here_is_not_read_with(
    source: TinySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a processor that does not multiply as the one that compiled."""
    bundle = source.compile(tmp_path / "bundle")
    weights = bundle.folder / f"{GRAPHS['int8']}.data"
    values = np.fromfile(weights, np.int8)
    (values // 2).tofile(weights)
    with caplog.at_level(logging.INFO):
        assert readers(bundle, source, "auto", monkeypatch, FAST).exact is None
    assert "reading in fp32: " in caplog.text
    assert "self-test in int8: activations of the reference texts differ by" in caplog.text
    with pytest.raises(ConfigError, match="self-test in int8: "):
        readers(bundle, source, "int8", monkeypatch, FAST)


@pytest.mark.parametrize("precision", ["auto", "fp32", "int8"])
def test_fp32_that_is_wrong_here_is_refused(
    precision: str, source: TinySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = source.compile(tmp_path / "bundle")
    weights = bundle.folder / f"{GRAPHS['fp32']}.data"
    (np.fromfile(weights, np.float32) * np.float32(1.5)).tofile(weights)
    with pytest.raises(ConfigError, match="self-test in fp32: activations of the reference texts differ by"):
        readers(bundle, source, precision, monkeypatch, FAST)

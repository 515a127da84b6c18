"""Bundles: what is not as it was compiled is refused, by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from monitor.assembly.artefacts import check_bundle
from monitor.assembly.compiled_reader import open_reader
from monitor.errors import ConfigError
from monitor.model.files import file_sha256
from monitor.readers.onnx.bundle import GRAPHS, MANIFEST, PREFIXES, REFERENCES, Bundle, load_bundle, load_prefixes
from monitor.readers.onnx.embeddings import TABLE
from monitor.readers.onnx.manifest import BUNDLE_FORMAT, PRECISIONS, BundleManifest, PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk
from monitor.sets.probe import Probe
from tests.tiny_bundle import LATENTS, LAYER, WIDTH, TinySource, calibration_events, tiny_source
from tests.tiny_model import POSITIONS, relative, texts

WEIGHTS = f"{GRAPHS['fp32']}.data"


@pytest.fixture(scope="module", params=["jumprelu", "topk"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    return tiny_source(tmp_path_factory.mktemp("source"), request.param)


@pytest.fixture(scope="module")
def original(source: TinySource, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return source.compile(tmp_path_factory.mktemp("bundles") / "original")


@pytest.fixture
def folder(original: Bundle, tmp_path: Path) -> Path:
    """A copy, to be tampered with."""
    return Path(shutil.copytree(original.folder, tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrites the manifest."""
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


def sign(folder: Path, name: str) -> None:
    """Makes the manifest agree with a file as it is now."""
    edit(folder, lambda data: data["files"].update({name: file_sha256(folder / name)}))


def self_tested(folder: Path, precision: PrecisionName = "fp32") -> OnnxReader:
    """A reader that passed its self-test."""
    bundle = load_bundle(folder)
    reader = open_reader(bundle, precision, LATENTS)
    bundle.check(precision, LATENTS, reader.read_uncached(bundle.reference(precision).texts))
    return reader


def problems(folder: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_bundle(folder)
    return caught.value.problems


def test_the_manifest_survives_the_disk(original: Bundle, source: TinySource) -> None:
    manifest = original.manifest
    assert BundleManifest.model_validate_json((original.folder / MANIFEST).read_bytes()) == manifest
    assert set(manifest.files) == {f.name for f in original.folder.iterdir()} - {MANIFEST}
    assert manifest.model.sha256 == source.model.sha256 == original.files.sha256
    assert (manifest.model.layer, manifest.model.max_tokens, manifest.sae.width) == (LAYER, POSITIONS, WIDTH)
    assert manifest.shape().layers == LAYER + 1
    assert original.files.chat_template() == source.model.chat_template()


def test_it_reads_as_the_model_does(original: Bundle, source: TinySource) -> None:
    import torch

    from monitor.readers.torch_reader import TorchReader
    from monitor.sae.encoder import CuratedEncoder
    from monitor.sae.formats.saelens import load_saelens

    encoder = CuratedEncoder(load_saelens(source.folder / "sae"), LATENTS)
    threads = torch.get_num_threads()
    reference = TorchReader(source.model.folder, LAYER, encoder)
    torch.set_num_threads(threads)
    given = [Chunk(text) for text in texts(40, 30)]
    for found, expected in zip(open_reader(original, "fp32", LATENTS).read(given), reference.read(given), strict=True):
        assert relative(found, expected) < 1e-4


@pytest.mark.parametrize("precision", PRECISIONS)
def test_probes_are_columns_behind_the_latents(original: Bundle, precision: PrecisionName) -> None:
    draw = np.random.default_rng(3)
    probes = [Probe(name * 64, draw.standard_normal(32).astype(np.float32), 0.5) for name in "ab"]
    given = [Chunk(text) for text in texts(40, 30)]
    whole = open_reader(original, precision, LATENTS, probes).read(given)
    turned = open_reader(original, precision, (LATENTS[2],), probes[::-1], cache_bytes=1 << 20).read(given)
    for all_columns, some in zip(whole, turned, strict=True):
        assert all_columns.shape[1] == len(LATENTS) + 2
        assert (np.abs(all_columns[:, -2:]) > 1e-3).any()
        expected = all_columns[:, [2, len(LATENTS) + 1, len(LATENTS)]]
        assert relative(some, expected) < (1e-4 if precision == "fp32" else 0.2)


def test_shared_prefixes_are_read_already(original: Bundle, source: TinySource) -> None:
    prefixes = [tokens.tolist() for tokens in source.tokeniser.shared_prefixes()]
    assert [tokens.tolist() for tokens, _, _ in load_prefixes(original.folder / PREFIXES)] == prefixes
    reader = open_reader(original, "fp32", LATENTS)
    before = reader._pool.free
    for tokens in source.tokeniser.shared_prefixes():
        reader.prefill(tokens)
    assert reader._pool.free == before


def test_every_file_that_was_changed_or_is_missing(folder: Path, original: Bundle) -> None:
    names = sorted(original.manifest.files)
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (folder / names[0]).unlink()
    assert problems(folder) == (
        f"{folder / names[0]}: missing",
        *(f"{folder / name}: was changed after the bundle was compiled" for name in names[1:]),
    )


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "deep/file", "..", "."])
def test_a_path_in_place_of_a_name(name: str, folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    edit(folder, lambda data: data["files"].update({name: "0" * 64}))
    (problem,) = problems(folder)
    assert problem.startswith(str(folder))
    assert "is not the name of a file in the bundle" in problem or problem.endswith(": missing")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda data: data.update(format=2),
            f"format: is 2, but this version of latentwatch reads {BUNDLE_FORMAT}; run latentwatch compile again",
        ),
        (lambda data: data.pop("model"), "model: Field required"),
        (lambda data: data["sae"].update(width="many"), "sae.width: Input should be a valid integer"),
        (lambda data: data.update(extra=1), "extra: unknown key"),
    ],
)
def test_a_manifest_of_another_kind(change: Callable[[dict[str, Any]], object], problem: str, folder: Path) -> None:
    edit(folder, change)
    (found,) = problems(folder)
    assert found.startswith(f"{folder / MANIFEST}: {problem}")


def test_a_manifest_with_several_problems(folder: Path) -> None:
    edit(folder, lambda data: (data.update(format=0), data["model"].pop("layer")))
    assert len(problems(folder)) == 2


def test_a_manifest_that_is_not_json_or_not_there(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")
    assert problems(folder)[0].startswith(f"{folder / MANIFEST}: manifest: Invalid JSON")
    (folder / MANIFEST).unlink()
    assert problems(folder) == (f"{folder / MANIFEST}: cannot be read: No such file or directory",)
    assert problems(folder / "nowhere") == (
        f"{folder / 'nowhere' / MANIFEST}: cannot be read: No such file or directory",
    )


def scaled(path: Path) -> None:
    """Makes every weight in the graph half as large again."""
    values = np.fromfile(path, np.float32)
    (values * np.float32(1.5)).astype(np.float32).tofile(path)


def test_other_weights_do_not_pass_the_self_test(folder: Path) -> None:
    scaled(folder / WEIGHTS)
    sign(folder, WEIGHTS)
    with pytest.raises(ConfigError, match=r"self-test in fp32: .* reference texts differ by .* more than 0\.001;"):
        self_tested(folder)


def test_weights_that_are_not_numbers_do_not_pass_the_self_test(folder: Path) -> None:
    values = np.fromfile(folder / WEIGHTS, np.float32)
    (values * np.float32("nan")).tofile(folder / WEIGHTS)
    sign(folder, WEIGHTS)
    with pytest.raises(ConfigError, match=r"self-test in fp32: activations of the reference texts differ by nan"):
        self_tested(folder)


@pytest.mark.parametrize("name", [REFERENCES["fp32"], TABLE, PREFIXES])
def test_other_reference_texts_embeddings_or_prefixes_do_not_pass_it_either(name: str, folder: Path) -> None:
    if name == TABLE:
        np.save(folder / name, np.load(folder / name)[::-1])
    else:
        tensors = load_file(folder / name)
        save_file({k: v * 2 if v.dtype == np.float32 else v for k, v in tensors.items()}, folder / name)
    sign(folder, name)
    with pytest.raises(ConfigError, match=r"self-test in fp32: activations of the reference texts differ by"):
        self_tested(folder)


def test_a_file_of_tensors_that_is_none(folder: Path) -> None:
    name = REFERENCES["int8"]
    (folder / name).write_bytes(b"no tensors")
    sign(folder, name)
    with pytest.raises(ConfigError, match=rf"{name}: not readable as safetensors: "):
        self_tested(folder, "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_any_latents_can_be_read(original: Bundle, precision: PrecisionName) -> None:
    given = [Chunk(text) for text in texts(40, 30)]
    whole = open_reader(original, precision, range(WIDTH)).read(given)
    some = open_reader(original, precision, (70, 0, 95)).read(given)
    for all_columns, found in zip(whole, some, strict=True):
        np.testing.assert_allclose(found, all_columns[:, [70, 0, 95]], rtol=1e-5, atol=1e-5)


def test_a_latent_that_the_sae_does_not_have(original: Bundle, source: TinySource) -> None:
    if source.kind == "topk":
        return  # all latents are loaded; no set may name one that is not there
    with pytest.raises(ConfigError, match=rf"sae\.safetensors: feature index {WIDTH} is outside the SAE's {WIDTH} "):
        open_reader(original, "fp32", (*LATENTS, WIDTH))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_passes_its_self_test(original: Bundle, precision: PrecisionName) -> None:
    self_tested(original.folder, precision)


def test_a_bundle_for_other_sets_is_refused_with_all_that_differs(original: Bundle, source: TinySource) -> None:
    check_bundle(original, source.ref)
    sae = source.ref.sae.model_copy(update={"sha256": "1" * 64, "activation_basis": "decoder_norm_folded"})
    other = source.ref.model_copy(update={"model_sha256": "0" * 64, "layer": 9, "max_norm": 5.0, "sae": sae})
    with pytest.raises(ConfigError) as caught:
        check_bundle(original, other)
    start = f"reader.bundle: {original.folder}: "
    assert [p.removeprefix(start).split(" is ")[0] for p in caught.value.problems] == [
        "model.sha256",
        "model.layer",
        "sae.sha256",
        "sae.activation_basis",
        "sae.max_norm",
    ]
    assert caught.value.problems[1] == f"{start}model.layer is 1, but the feature sets were made on 9"


def test_compiling_again_gives_the_same_files(original: Bundle, source: TinySource, tmp_path: Path) -> None:
    again = source.compile(tmp_path / "again", events=calibration_events(6))
    assert again.manifest.files == original.manifest.files

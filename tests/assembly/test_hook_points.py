"""Sets on two layers of one model: one pass finds what each layer alone does, and misfits are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monitor.assembly.artefacts import BundleArtefacts, ModelArtefacts, check_bundle
from monitor.assembly.build import build_torch_reader, load_readers
from monitor.assembly.bundle_cache import compile_artefacts
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.readers.reader import Chunk
from monitor.sae.formats.saelens import load_saelens
from monitor.sets.hook_points import at_hook_points, hook_points
from tests.tiny_bundle import LATENTS, tiny_source
from tests.tiny_model import texts

CONFIG = Config.model_validate({"reader": {"precision": "fp32", "threads": 1}})


def both_layers(folder: Path, kind: str = "jumprelu") -> ModelArtefacts:
    """A set on layer 1 and a set on layer 0, with the same latents of the same SAE."""
    source = tiny_source(folder, kind)
    deep, shallow = (
        source.feature_set("deep"),
        source.feature_set("shallow", reader={**source.ref.model_dump(), "layer": 0}),
    )
    sets = (shallow, deep)
    sae = load_saelens(folder / "sae")
    return ModelArtefacts(at_hook_points(sets, hook_points(sets)), source.model, sae, (sae,))


def alone(artefacts: ModelArtefacts, set_id: str) -> ModelArtefacts:
    sets = tuple(replace(s, hook_point="") for s in artefacts.sets if s.set.id == set_id)
    return ModelArtefacts(sets, artefacts.original, artefacts.sae)


def test_the_deepest_comes_first_and_keeps_the_plain_names(tmp_path: Path) -> None:
    artefacts = both_layers(tmp_path)
    assert [point.ref.layer for point in artefacts.points] == [1, 0]
    assert artefacts.columns[: len(LATENTS)] == LATENTS
    assert len(set(artefacts.columns)) == 2 * len(LATENTS)
    shallow = next(s for s in artefacts.sets if s.set.id == "shallow")
    assert shallow.columns() == artefacts.columns[len(LATENTS) :]


@pytest.mark.parametrize("kind", ["jumprelu", "topk"])
def test_one_pass_finds_what_each_layer_alone_does(tmp_path: Path, kind: str) -> None:
    artefacts = both_layers(tmp_path, kind)
    chunks = [Chunk(text) for text in texts(9, 20)]
    expected = [build_torch_reader(CONFIG, alone(artefacts, name)).read(chunks) for name in ("deep", "shallow")]
    together = build_torch_reader(CONFIG, artefacts).read(chunks)
    for found, deep, shallow in zip(together, *expected, strict=True):
        np.testing.assert_allclose(found, np.concatenate([deep, shallow], axis=1), atol=1e-5)
    assert any(np.any(a != b) for a, b in zip(*expected, strict=True))

    bundle = compile_artefacts(CONFIG, artefacts, tmp_path / "bundle")
    compiled = load_readers(CONFIG, bundle, BundleArtefacts(artefacts.sets, bundle)).reader.read(chunks)
    for found, expected_here in zip(compiled, together, strict=True):
        np.testing.assert_allclose(found, expected_here, atol=1e-4)
    with pytest.raises(ConfigError, match="the number of hook points is 2"):
        check_bundle(bundle, artefacts.ref)
    rounding = CONFIG.changed(reader=CONFIG.reader.changed(precision="int8"))
    readers = load_readers(rounding, bundle, BundleArtefacts(artefacts.sets, bundle))
    assert set(readers.margins or {}) == {"deep", "shallow"}


def test_a_set_at_no_hook_point_names_both_sides(tmp_path: Path) -> None:
    artefacts = both_layers(tmp_path)
    with pytest.raises(ConfigError, match=r"shallow.yaml: reader: layer 0 .* is not read; what is read is layer 1 "):
        at_hook_points(artefacts.sets, artefacts.points[:1])

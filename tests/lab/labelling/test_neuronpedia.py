"""Explanations exported by Neuronpedia: which are taken, and which files are refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from detectors.feature_set import ReaderRef
from monitor.errors import ConfigError
from monitor.lab.labelling.neuronpedia import read_explanations

READER = ReaderRef.model_validate(
    {
        "model": "google/gemma-2-2b",
        "model_sha256": "a" * 64,
        "layer": 20,
        "sae": {"path": "sae", "sha256": "b" * 64, "width": 16_384},
    }
)


def line(index: object, description: str = "lies", **changes: Any) -> dict[str, Any]:
    return {
        "id": "c1", "modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": index,
        "description": description, "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini", **changes,
    }  # fmt: skip


def write(path: Path, *lines: dict[str, Any]) -> Path:
    raw = "".join(json.dumps(one) + "\n" for one in lines).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def test_batches_are_read_and_the_first_explanation_of_a_latent_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "batch-0.jsonl.gz", line("3"), line(7, " a  secret\nway in "), line("9", ""))
    second = write(tmp_path / "batch-1.jsonl", line("3", "truth"), line("11", "x" * 500))
    found = read_explanations([first, second], READER)
    assert {index: name.label for index, name in found.names.items()} == {
        3: "lies", 7: "a secret way in", 11: "x" * 197 + "...",
    }  # fmt: skip
    assert (found.others, found.shortened) == (1, 1)
    assert found.names[3].origin == "Neuronpedia 20-gemmascope-res-16k: gpt-4o-mini, oai_token-act-pair"
    assert found.names[3].score is None


def test_one_explainer_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", line(3), line(3, "truth", explanationModelName="claude"))
    assert read_explanations([path], READER, explainer="claude").names[3].label == "truth"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"index": 16_384}, "16384 is outside the SAE of the set, which has 16384 latents"),
        ({"index": "-1"}, "index: -1: must be the number of a latent"),
        ({"modelId": "gemma-2-9b"}, "modelId: gemma-2-9b, but the set reads gemma-2-2b"),
        ({"layer": "12-gemmascope-res-16k"}, "but the SAE of the set reads layer 20"),
        ({"layer": "20-gemmascope-res-65k"}, "has about 65k latents, but the SAE of the set has 16384"),
        ({"description": None}, "description: missing or not a text"),
    ],
)
def test_a_file_of_another_sae_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = write(tmp_path / "a.jsonl", {**line(1), **changes})
    with pytest.raises(ConfigError) as caught:
        read_explanations([path], READER)
    assert str(caught.value).startswith(f"{path}:1: ")
    assert problem in str(caught.value)


def test_two_sources_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", line(1), line(2, layer="20-other"))
    with pytest.raises(ConfigError, match="give one source"):
        read_explanations([path], READER)
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(json.dumps(line(1)).encode())[:-12])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_explanations([cut], READER)


def test_another_id_of_the_same_model_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", line(1, modelId="gemma-2-2b-pt"))
    assert set(read_explanations([path], READER, model_id="gemma-2-2b-pt").names) == {1}

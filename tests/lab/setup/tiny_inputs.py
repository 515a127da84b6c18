"""What `latentwatch init` takes: a tiny model, an SAE made for it, and short rows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchReader
from tests.lab.setup.inverting_sae import Further, save_inverting_sae
from tests.tiny_bundle import LAYER, tiny_source

D_MODEL = 32
CATEGORY = "loud"
_HARMLESS, _RISKY = "the quick brown fox jumps", "ZAP KABOOM WHAM CRASH BANG"
LOUD = 16
"""Latents that are active on risky words alone."""


@dataclass(frozen=True)
class TinyInputs:
    """Files in one folder, and the options that name them."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "made" / "model"

    @property
    def sae(self) -> Path:
        return self.folder / "sae"

    @property
    def data(self) -> Path:
        return self.folder / "labelled.jsonl"

    @property
    def benign(self) -> Path:
        return self.folder / "benign.jsonl"

    @property
    def explanations(self) -> Path:
        return self.folder / "explanations.jsonl"

    def options(self, **changes: object) -> list[str]:
        """Of all that init needs; None leaves one out."""
        given = {"model": self.model, "sae": self.sae, "data": f"{CATEGORY}={self.data}", "benign": self.benign}
        given |= {"target_fpr": 0.2, "top": 3, "neuronpedia": self.explanations, "model_id": "tiny"} | changes
        return [
            part
            for key, value in given.items()
            if value is not None
            for part in (f"--{key.replace('_', '-')}", str(value))
        ]


def tiny_inputs(folder: Path) -> TinyInputs:
    """Writes them."""
    tiny_source(folder / "made")
    made = TinyInputs(folder)
    save_inverting_sae(made.sae, _loud_latents(made.model), LAYER)
    draw = random.Random(3)  # noqa: S311 - texts, not secrets
    write_rows(
        made.data,
        (
            {"id": f"p{n}-{label}", "pair": f"p{n}", "label": label, "response": _text(draw, words)}
            for n in range(24)
            for label, words in ((1, _RISKY), (0, _HARMLESS))
        ),
    )
    write_rows(made.benign, ({"id": f"b{n}", "response": _text(draw, _HARMLESS)} for n in range(48)))
    explained = {"modelId": "tiny", "layer": f"{LAYER}-made", "explanationModelName": "nobody", "typeName": "made"}
    write_rows(
        made.explanations, ({**explained, "index": n, "description": f"sound {n}"} for n in range(2 * D_MODEL + LOUD))
    )
    return made


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _loud_latents(model: Path) -> Further:
    """Latents for letters of the risky words, which no token of harmless texts activates."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    reader = TorchReader(model, LAYER, lambda residual: residual, threads=1)
    harmless, risky = (
        np.concatenate(reader.read([Chunk(np.array(tokenizer.encode(text).ids, np.int32))]))
        for text in (_HARMLESS, _RISKY)
    )
    directions = (risky - harmless.mean(axis=0))[:LOUD]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Further(directions, 1.2 * (harmless @ directions.T).max(axis=0))


def _text(draw: random.Random, words: str) -> str:
    return " ".join(draw.choices(words.split(), k=draw.randint(4, 9)))

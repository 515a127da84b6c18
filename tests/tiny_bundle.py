"""Bundles of a tiny model, compiled in a fraction of a second, with a tokenizer and feature sets of their own."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from detectors.feature_set import FeatureSet, ReaderRef
from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.compile import CompileInputs, compile_bundle
from monitor.model.files import ModelFiles, file_sha256
from monitor.readers.onnx.bundle import Bundle
from monitor.sae.formats.saelens import WEIGHTS_FILE, load_saelens
from monitor.sets.load import LoadedSet
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser
from tests.feature_set_factory import weighted_data
from tests.reader_model import event
from tests.saelens import save_sae
from tests.tiny_model import CONFIGS, save_tiny

LAYER, WIDTH = 1, 96
LATENTS = (3, 5, 41, 70)
_WORDS = (
    "The",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "again",
    "and",
    "again",
    "until",
    "tired",
)
_TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"


@dataclass(frozen=True)
class TinySource:
    """A model folder with a tokenizer of one token a character, an SAE, and what bundles are made of."""

    folder: Path
    kind: str

    @property
    def model(self) -> ModelFiles:
        return ModelFiles(self.folder / "model", file_sha256(self.folder / "model" / "model.safetensors"))

    @cached_property
    def ref(self) -> ReaderRef:
        sha256 = file_sha256(self.folder / "sae" / WEIGHTS_FILE)
        sae = {"path": "sae", "sha256": sha256, "width": WIDTH}
        return ReaderRef.model_validate(
            {"model": "tiny", "model_sha256": self.model.sha256, "layer": LAYER, "sae": sae}
        )

    @property
    def tokeniser(self) -> EventTokeniser:
        return EventTokeniser.load(self.model.tokenizer_file, ChatTemplate(self.model.chat_template()))

    def feature_set(self, name: str = "one", **changes: Any) -> LoadedSet:
        """A set over LATENTS that is active from a score of 0.5 on."""
        features = [{"index": i, "label": f"latent {i}", "label_score": 0.9, "weight": 0.1} for i in LATENTS]
        data = weighted_data(**{"id": name, "reader": self.ref.model_dump(), "features": features, **changes})
        made = FeatureSet.model_validate(data)
        return LoadedSet(self.folder / f"{name}.yaml", "e" * 64, made, made)

    def compile(
        self,
        out: Path,
        events: Sequence[CalibrationEvent] = (),
        progress: Callable[[str], None] = lambda _: None,
    ) -> Bundle:
        """A bundle in the folder `out`."""
        inputs = CompileInputs(
            model=self.model,
            sae=load_saelens(self.folder / "sae"),
            ref=self.ref,
            tokeniser=lambda files: EventTokeniser.load(files.tokenizer_file, ChatTemplate(files.chat_template())),
            events=[e.event for e in events or calibration_events(6)],
            threads=1,
            progress=progress,
        )
        return compile_bundle(inputs, out)


def tiny_source(folder: Path, kind: str = "jumprelu") -> TinySource:
    """Writes model, tokenizer and SAE."""
    save_tiny(folder / "model", CONFIGS["llama"]())
    special = ["<unk>", "<|system|>", "<|user|>", "<|assistant|>"]
    characters = [*string.ascii_lowercase, *string.ascii_uppercase, *string.digits, " ", ".", "?"]
    vocabulary = {token: n for n, token in enumerate([*special, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    (folder / "model" / "chat_template.jinja").write_text(_TEMPLATE)
    save_sae(folder / "sae", kind, 32, WIDTH)
    return TinySource(folder, kind)


def calibration_events(
    count: int, labels: Sequence[int | None] = (1, 0), category: str = "unsafe_code"
) -> list[CalibrationEvent]:
    """Events of different lengths; labels in turn."""
    made = []
    for n in range(count):
        text = " ".join(np.roll(_WORDS, n)[: 3 + n % 9])
        made.append(CalibrationEvent(event(text, f"Well {n}?", event_id=str(n)), labels[n % len(labels)], category))
    return made

"""SaeReference: reference activations next to an SAE, which every reader must reproduce before it sees traffic."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from detectors.feature_set import HookName, ReaderRef
from monitor.errors import ConfigError
from monitor.events.event import Event, Message, Origin
from monitor.readers.reference import ReadTexts, ReferenceActivations
from monitor.tokens.tokeniser import EventTokeniser
from monitor.yaml_file import faults

REFERENCE_FILE = "reference.safetensors"
"""In the folder of the SAE; next to an SAE that is one file of many, the name follows that of the file."""
TOLERANCES: Mapping[str, float] = {"float32": 0.01, "float16": 0.12, "bfloat16": 0.3}
"""How far a reader may be from the reference, as a share of its norm; docs/feature-sets.md has the measurements."""
_WRITE_AGAIN = "if model, SAE and template are the right ones, run: latentwatch lab reference FOLDER"


def reference_file(sae_path: Path) -> Path:
    """Where the reference activations of the SAE at `sae_path` are."""
    return sae_path.with_name(f"{sae_path.name}.{REFERENCE_FILE}") if sae_path.is_file() else sae_path / REFERENCE_FILE


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReferenceTurn(_Model):
    """One turn of a conversation."""

    role: str
    content: str


class ReferenceText(_Model):
    """One conversation; `response` is the model's last answer."""

    turns: tuple[ReferenceTurn, ...]
    response: str

    def event(self, number: int) -> Event:
        """The conversation as traffic."""
        messages = tuple(Message(turn.role, turn.content) for turn in self.turns)
        return Event(f"reference-{number}", messages, self.response, Origin("reference", 0, number))


class ReferenceInfo(_Model):
    """What the activations belong to; stored as JSON in the metadata of the file."""

    format: Literal[1]
    latentwatch: str
    """Version that wrote it."""
    model: str
    model_sha256: str
    layer: int
    hook: HookName = "resid_post"
    sae_sha256: str
    width: int
    activation_basis: str
    max_norm: float | None
    texts: tuple[ReferenceText, ...]

    def differing(self, ref: ReaderRef) -> list[str]:
        """Where `ref` names something else, as `key is this, but that in the sets`."""
        wanted = {
            "model_sha256": (self.model_sha256, ref.model_sha256),
            "layer": (self.layer, ref.layer),
            "hook": (self.hook, ref.hook),
            "sae_sha256": (self.sae_sha256, ref.sae.sha256),
            "width": (self.width, ref.sae.width),
            "activation_basis": (self.activation_basis, ref.sae.activation_basis),
            "max_norm": (self.max_norm, ref.max_norm),
        }
        return [
            f"{key} is {found}, but {asked} in the sets" for key, (found, asked) in wanted.items() if found != asked
        ]


@dataclass(frozen=True)
class SaeReference:
    """Activations of all latents of an SAE, and what they belong to."""

    info: ReferenceInfo
    activations: ReferenceActivations

    @classmethod
    def load(cls, path: Path) -> SaeReference:
        """From safetensors. Raises ConfigError if the file holds something else."""
        try:
            with safe_open(path, "numpy") as file:
                info = ReferenceInfo.model_validate_json((file.metadata() or {}).get("reference", ""))
            activations = ReferenceActivations.load(path)
        except ValidationError as e:
            problems = faults(f"{path}: metadata", e, "reference")
            raise ConfigError(f"{problem}; {_WRITE_AGAIN}" for problem in problems) from None
        except (SafetensorError, OSError) as e:
            raise ConfigError(f"{path}: not readable as safetensors: {e}; {_WRITE_AGAIN}") from None
        except ConfigError as e:
            raise ConfigError(f"{problem}; {_WRITE_AGAIN}" for problem in e.problems) from None
        if activations.latents.max(initial=0) >= info.width:
            raise ConfigError(f"{path}: not reference activations: a latent is beyond the SAE's width; {_WRITE_AGAIN}")
        return cls(info, activations)

    def save(self, path: Path) -> None:
        """Writes safetensors. Raises ConfigError if that fails."""
        info = json.dumps(self.info.model_dump(mode="json"), ensure_ascii=False)
        self.activations.save(path, {"reference": info})


@dataclass(frozen=True)
class ReferenceCheck:
    """A reference on disk, and the two things that must agree with it: tokens and activations."""

    path: Path
    reference: SaeReference

    @classmethod
    def in_folder(cls, sae_folder: Path, ref: ReaderRef) -> ReferenceCheck | None:
        """The check of an SAE's folder; None if the folder has no reference.

        Raises ConfigError if the reference belongs to another model, layer or SAE than `ref` names.
        """
        path = reference_file(sae_folder)
        if not path.is_file():
            return None
        reference = SaeReference.load(path)
        if different := reference.info.differing(ref):
            raise ConfigError(f"{path}: {'; '.join(different)}; {_WRITE_AGAIN}")
        return cls(path, reference)

    def tokens(self, tokeniser: EventTokeniser) -> None:
        """Raises ConfigError if `tokeniser` makes other tokens of the texts than when the sets were made."""
        events = [text.event(n) for n, text in enumerate(self.reference.info.texts)]
        stored_texts = self.reference.activations.texts
        for n, (item, stored) in enumerate(zip(tokeniser.tokenise(events), stored_texts, strict=True)):
            if not np.array_equal(item.ids, stored):
                raise ConfigError(
                    f"{self.path}: text {n} has other tokens than when the sets were made; the chat template "
                    f"(reader.chat_template, or the model's own) or tokenizer.json is different; {_WRITE_AGAIN}"
                )

    def activations(self, latents: Sequence[int], read: ReadTexts, dtype: str = "float32") -> None:
        """Raises ConfigError if `read`, with the columns `latents`, differs by more than `dtype` can explain."""
        difference = self.reference.activations.difference(latents, read)
        if not difference <= TOLERANCES[dtype]:
            raise ConfigError(
                f"{self.path}: the activations of the reference texts differ by {difference:.3g} of their norm, more "
                f"than {TOLERANCES[dtype]:g} ({dtype}); the model's files are of another revision, or were converted "
                f"or compiled wrongly: remove the converted model and the bundles from the cache and try again; "
                f"{_WRITE_AGAIN}"
            )

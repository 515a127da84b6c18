"""Reference: what model and SAE make of a few conversations in float32, stored beside the SAE, to be met at start."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from detectors.feature_set import ReaderRef
from monitor.errors import ConfigError
from monitor.events.event import Event, Message, Origin
from monitor.readers.onnx.golden import load_tensors
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.onnx.sparse import Compact
from monitor.readers.reader import Chunk, Reader
from monitor.tokens.tokeniser import EventTokeniser
from monitor.yaml_file import faults

REFERENCE_FILE = "golden.safetensors"
"""In the folder of the SAE."""
TOLERANCES: Mapping[str, float] = {"float32": 0.01, "float16": 0.12, "bfloat16": 0.3}
"""How far a reader may be from the reference, as a share of its size; docs/feature-sets.md says what was measured."""
_AGAIN = "if the model, the SAE and the template are those that are wanted, run: latentwatch lab golden FOLDER"

# Activations [token, feature] of texts, each read from nothing; of beginnings that a reader knows already, none
Read = Callable[[Sequence[NDArray[np.int32]]], Sequence[NDArray[np.float32]]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReferenceTurn(_Model):
    """One turn of a conversation."""

    role: str
    content: str


class ReferenceText(_Model):
    """One conversation; `response` is what the model answered last."""

    turns: tuple[ReferenceTurn, ...]
    response: str

    def event(self, number: int) -> Event:
        """The conversation as traffic."""
        messages = tuple(Message(turn.role, turn.content) for turn in self.turns)
        return Event(f"golden-{number}", messages, self.response, Origin("golden", 0, number))


class ReferenceInfo(_Model):
    """What activations are of; stored as JSON in the metadata of the file."""

    format: Literal[1]
    latentwatch: str
    """Version that wrote it."""
    model: str
    model_sha256: str
    layer: int
    sae_sha256: str
    width: int
    activation_basis: str
    max_norm: float | None
    texts: tuple[ReferenceText, ...]

    def differing(self, ref: ReaderRef) -> list[str]:
        """Where `ref` names something else, as `key is this, but that`."""
        wanted = {
            "model_sha256": (self.model_sha256, ref.model_sha256),
            "layer": (self.layer, ref.layer),
            "sae_sha256": (self.sae_sha256, ref.sae.sha256),
            "width": (self.width, ref.sae.width),
            "activation_basis": (self.activation_basis, ref.sae.activation_basis),
            "max_norm": (self.max_norm, ref.max_norm),
        }
        return [
            f"{key} is {found}, but {asked} in the sets" for key, (found, asked) in wanted.items() if found != asked
        ]


@dataclass(frozen=True)
class Reference:
    """`tokens` [token] of all texts one after the other, `lengths` [text]; the active latents of the whole SAE.

    `counts` [token] says how many latents are active on a token, `latents` and `values` [active] which, how strongly.
    """

    info: ReferenceInfo
    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int32]
    latents: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def read(cls, info: ReferenceInfo, texts: Sequence[NDArray[np.int32]], read: Read) -> Reference:
        """What `read`, which has a column for every latent in order, makes of `texts` now."""
        activations = np.concatenate(read(texts))  # [token, s]
        rows, latents = np.nonzero(activations)
        return cls(
            info,
            np.concatenate(texts),
            np.array([text.size for text in texts], dtype=np.int64),
            np.bincount(rows, minlength=activations.shape[0]).astype(np.int32),
            latents.astype(np.int32),
            activations[rows, latents].astype(np.float32),
        )

    @classmethod
    def load(cls, path: Path) -> Reference:
        """From safetensors. Raises ConfigError where it is not such a file."""
        tensors = load_tensors(path)
        try:
            with safe_open(path, "numpy") as file:
                info = ReferenceInfo.model_validate_json((file.metadata() or {}).get("reference", ""))
            found = cls(info, *(tensors[name] for name in ("tokens", "lengths", "counts", "latents", "values")))
        except ValidationError as e:
            raise ConfigError(f"{fault}; {_AGAIN}" for fault in faults(f"{path}: metadata", e, "reference")) from None
        except (KeyError, SafetensorError, OSError) as e:
            raise ConfigError(f"{path}: not golden activations: {e}; {_AGAIN}") from None
        if not found._fits():
            raise ConfigError(f"{path}: not golden activations: its tensors do not fit together; {_AGAIN}")
        return found

    def save(self, path: Path) -> None:
        """Writes safetensors. Raises ConfigError where that cannot be."""
        tensors: dict[str, NDArray[Any]] = {
            name: getattr(self, name) for name in ("tokens", "lengths", "counts", "latents", "values")
        }
        try:
            save_file(tensors, path, {"reference": json.dumps(self.info.model_dump(mode="json"), ensure_ascii=False)})
            path.chmod(0o644)  # safetensors writes for its owner alone, and a sidecar runs as another user
        except (OSError, SafetensorError) as e:
            raise ConfigError(f"{path}: cannot be written: {e}") from None

    @property
    def texts(self) -> list[NDArray[np.int32]]:
        """The tokens [token] of each text."""
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1])

    def difference(self, latents: Sequence[int], read: Read) -> float:
        """How far `read`, whose first columns are `latents`, is from these activations, as a share of their size."""
        column = np.full(self.info.width, -1)
        column[list(latents)] = np.arange(len(latents))
        known = column[self.latents] >= 0
        rows = np.repeat(np.arange(self.tokens.size), self.counts)
        expected = np.zeros((self.tokens.size, len(latents)), np.float32)
        expected[rows[known], column[self.latents[known]]] = self.values[known]
        found = [values[:, : len(latents)] for values in read(self.texts)]  # probes may stand behind them
        pairs = list(zip(np.split(expected, np.cumsum(self.lengths)[:-1]), found, strict=True))
        size = math.sqrt(sum(float(np.sum(of[-now.shape[0] :] ** 2)) for of, now in pairs))
        difference = math.sqrt(sum(float(np.sum((now - of[-now.shape[0] :]) ** 2)) for of, now in pairs))
        return difference / size if size > 0 else difference

    def _fits(self) -> bool:
        numbers: list[NDArray[Any]] = [self.tokens, self.lengths, self.counts, self.latents]
        if any(a.ndim != 1 or a.dtype.kind != "i" for a in numbers) or self.values.ndim != 1:
            return False
        sizes = self.tokens.size == self.counts.size == self.lengths.sum()
        active = self.latents.size == self.values.size == self.counts.sum()
        positive = self.lengths.size > 0 and self.lengths.min() > 0 and self.counts.min(initial=0) >= 0
        known = self.latents.size == 0 or (self.latents.min() >= 0 and self.latents.max() < self.info.width)
        return bool(sizes and active and positive and known)


@dataclass(frozen=True)
class ReferenceCheck:
    """A reference on disk, and what has to meet it before traffic is judged."""

    path: Path
    reference: Reference

    @classmethod
    def beside(cls, sae_folder: Path, ref: ReaderRef) -> ReferenceCheck | None:
        """The check of an SAE's folder; None where it holds no reference.

        Raises ConfigError where that one is of another model, layer or SAE than `ref` names.
        """
        path = sae_folder / REFERENCE_FILE
        if not path.is_file():
            return None
        reference = Reference.load(path)
        if different := reference.info.differing(ref):
            raise ConfigError(f"{path}: {'; '.join(different)}; {_AGAIN}")
        return cls(path, reference)

    def tokens(self, tokeniser: EventTokeniser) -> None:
        """Raises ConfigError where `tokeniser` makes other tokens of the texts than the sets were made on."""
        events = [text.event(n) for n, text in enumerate(self.reference.info.texts)]
        for n, (item, stored) in enumerate(zip(tokeniser.tokenise(events), self.reference.texts, strict=True)):
            if not np.array_equal(item.ids, stored):
                raise ConfigError(
                    f"{self.path}: text {n} has other tokens than where the sets were made; the chat template "
                    f"(reader.chat_template, or the model's own) or tokenizer.json is another; {_AGAIN}"
                )

    def activations(self, latents: Sequence[int], read: Read, dtype: str = "float32") -> None:
        """Raises ConfigError where `read`, with the columns `latents`, is further away than `dtype` accounts for."""
        difference = self.reference.difference(latents, read)
        if not difference <= TOLERANCES[dtype]:
            raise ConfigError(
                f"{self.path}: the activations of the golden texts differ by {difference:.3g} of their size, more than "
                f"{TOLERANCES[dtype]:g} ({dtype}); the model's files are another revision's, or were converted or "
                f"compiled wrongly: remove the converted model and the bundles from the cache and try again; {_AGAIN}"
            )


def read_all(reader: Reader) -> Read:
    """Reads whole texts with any reader."""
    return lambda texts: reader.read([Chunk(text) for text in texts])


def read_alone(reader: OnnxReader) -> Read:
    """The same with a compiled reader, past its prefix cache."""

    def read(texts: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        parts = []
        for text in texts:
            values, columns = reader.raw(text)
            parts.append(reader.columns_of(Compact(values, columns)))
        return parts

    return read

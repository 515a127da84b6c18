"""Labels: what is known about single latents of an SAE, in the file latents.json next to its sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from detectors.frozen_model import FrozenModel, Sha256
from monitor.errors import ConfigError
from monitor.sets.json_file import load_json
from monitor.yaml_file import faults

LABELS_FILE = "latents.json"
MAX_LABEL_CHARS = 200
Share = Annotated[float, Field(ge=0, le=1)]


class LabelScore(FrozenModel):
    """How well judges who know only a label tell where the feature is active; balanced accuracies, 0.5 is chance."""

    detection: Share
    """Texts on which it is active, from texts on which it is not."""
    n: Annotated[int, Field(gt=0)]
    interval_95: tuple[Share, Share]
    fuzzing: Share | None = None
    """Texts in which the active tokens are marked, from texts in which others are."""
    fuzzing_n: Annotated[int, Field(ge=0)] = 0
    fuzzing_interval_95: tuple[Share, Share] | None = None


class Name(FrozenModel):
    """What a reader of its contexts says a latent stands for."""

    label: Annotated[str, Field(min_length=1, max_length=MAX_LABEL_CHARS)]
    score: LabelScore | None = None
    """None until the label was judged."""
    note: Annotated[str, Field(max_length=2_000)] = ""
    false_friends: tuple[Annotated[str, Field(min_length=1, max_length=MAX_LABEL_CHARS)], ...] = ()
    """What the latent is also active on, or looks as if it were, and what it does not stand for."""
    origin: Annotated[str, Field(max_length=MAX_LABEL_CHARS)] = ""
    """Who wrote the label, if it is not from this project's readers."""


class Labels(FrozenModel):
    """The whole file. A latent may have both a name and strongest tokens; the name counts."""

    evidence: str = ""
    """How the strongest tokens in `labels` were found."""
    sae_sha256: Sha256 | None = None
    """The SAE whose latents these are."""
    labels: dict[int, str] = Field(default_factory=dict)
    """The tokens on which a latent is most active. They are not a name."""
    names: dict[int, Name] = Field(default_factory=dict)

    def of(self, index: int) -> dict[str, Any]:
        """The keys of a Feature that this file has for a latent."""
        name = self.names.get(index)
        if name is not None:
            return {"label": name.label, "label_score": None if name.score is None else name.score.detection}
        return {"label": self.labels[index]} if index in self.labels else {}

    def with_names(self, names: Mapping[int, Name]) -> Labels:
        """These labels with `names` added; they replace older ones."""
        return self.model_copy(update={"names": dict(sorted({**self.names, **names}.items()))})

    def save(self, path: Path) -> None:
        """Writes the file, with one latent on a line. Raises ConfigError if it can't."""
        head = {"evidence": self.evidence, **({} if self.sae_sha256 is None else {"sae_sha256": self.sae_sha256})}
        parts = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
        parts.append('"labels": ' + _lines(self.labels))
        if self.names:
            plain = {i: name.model_dump(mode="json", exclude_defaults=True) for i, name in self.names.items()}
            parts.append('"names": ' + _lines(plain))
        new = path.with_name(f".{path.name}.new")
        try:
            new.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
            new.replace(path)
        except OSError as e:
            raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None


def load_labels(file: Path) -> tuple[Labels, bytes | None]:
    """What the file holds, and its bytes; nothing if there is no such file. Raises ConfigError if it can't be used."""
    if not file.is_file():
        return Labels(), None
    data, raw = load_json(file)
    try:
        return Labels.model_validate(data), raw
    except ValidationError as e:
        raise ConfigError(faults(file, e, "labels")) from None


def _lines(values: Mapping[int, Any]) -> str:
    lines = ",\n".join(f'"{i}": {json.dumps(values[i], ensure_ascii=False)}' for i in sorted(values))
    return "{\n" + lines + "\n}"

"""Answers: what `latentwatch init` was told, kept as init.yaml in the working folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from detectors.frozen_model import FrozenModel
from monitor.errors import ConfigError
from monitor.yaml_file import faults, load_yaml

Category = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Files = Annotated[tuple[Path, ...], Field(min_length=1)]


class Answers(FrozenModel):
    """One working folder's model, SAE, rows and choices. Paths of files are absolute."""

    model: Annotated[str, Field(min_length=1)]
    """As reader.model in the config."""
    sae: Path
    data: Annotated[dict[Category, Files], Field(min_length=1)]
    """Files of labelled rows by category."""
    benign: Files
    layer: Annotated[int, Field(ge=0)] | None = None
    """The block that the SAE reads; None if the SAE's files say it."""
    max_norm: Annotated[float, Field(ge=0)] = 0.0
    """Tokens with a longer residual are ignored; 0 keeps all."""
    neuronpedia: tuple[Path, ...] = ()
    model_id: str | None = None
    """Neuronpedia's id of the model, if it differs."""
    top: Annotated[int, Field(ge=1)] = 10
    target_fpr: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    limit: Annotated[int, Field(ge=1)] | None = None
    seed: int = 0
    engine: Literal["onnx", "torch"] = "onnx"
    """As reader.engine in the config."""
    fit: bool = True
    """Whether to measure that the SAE belongs to the model and layer."""

    def save(self, path: Path) -> None:
        """Writes the file, completely or not at all."""
        part = path.with_name(f"{path.name}.part")
        text = yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
        part.write_text(f"# What latentwatch init was told. A change needs a new folder.\n{text}", encoding="utf-8")
        part.replace(path)

    def differences(self, given: Answers) -> list[str]:
        """What `given` says differently, one line each. `fit`, and a layer that is not given, are no difference."""
        found = []
        for key in type(self).model_fields:
            mine, other = getattr(self, key), getattr(given, key)
            if mine != other and key != "fit" and not (key == "layer" and other is None):
                found.append(f"{key}: the folder was made with {_shown(mine)}, not {_shown(other)}")
        return found


def answers_of(where: Path | str, data: dict[str, object]) -> Answers:
    """The answers in `data`. Raises ConfigError with every key that breaks a rule."""
    try:
        return Answers.model_validate(data)
    except ValidationError as e:
        raise ConfigError(faults(where, e, "answers")) from None


def load_answers(path: Path) -> Answers:
    """The answers in init.yaml. Raises ConfigError if it can't be used."""
    return answers_of(path, load_yaml(path)[0])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}={_shown(files)}" for key, files in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

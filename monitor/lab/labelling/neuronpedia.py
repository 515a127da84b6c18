"""Neuronpedia: explanations of public SAEs in its export format.

Source: docs.neuronpedia.org, Exports. A file of `explanations/` has one object a line, with modelId, layer (the id of
the source, such as 20-gemmascope-res-16k), index, description, typeName and explanationModelName.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detectors.feature_set import ReaderRef
from monitor.errors import ConfigError
from monitor.lab.labelling.jsonl import read_lines
from monitor.sets.labels import MAX_LABEL_CHARS, Name
from monitor.yaml_file import faults

_MAX_LINES = 5_000_000
_LAYER = re.compile(r"(\d+)-.+")
_WIDTH = re.compile(r"(?:^|[-_])(\d+)(k|m)(?=$|[-_])")


@dataclass(frozen=True)
class Explanations:
    """The names by index of the latent, and what was left out."""

    names: dict[int, Name]
    others: int
    """Further explanations of a latent that already has one."""
    shortened: int


def read_explanations(
    paths: Iterable[Path], reader: ReaderRef, model_id: str | None = None, explainer: str | None = None
) -> Explanations:
    """The first explanation of each latent, by `explainer` if given.

    `model_id` is Neuronpedia's id of the model if it differs from the set's. Raises ConfigError if a file belongs to
    another model, layer or SAE.
    """
    names: dict[int, Name] = {}
    others = shortened = 0
    source: str | None = None
    for path in paths:
        for where, line in read_lines(path, _MAX_LINES):
            found = _text(where, line, "layer")
            if found != source:
                if source is not None:
                    raise ConfigError(f"{where}: layer: {found}, but the lines before are of {source}; give one source")
                _check_source(where, line, reader, model_id)
                source = found
            index = _text(where, line, "index")
            if not index.isdecimal():
                raise ConfigError(f"{where}: index: {index}: must be the number of a latent")
            latent = int(index)
            if latent >= reader.sae.width:
                raise ConfigError(
                    f"{where}: index: {latent} is outside the SAE of the set, which has {reader.sae.width} latents; "
                    "the file belongs to another SAE"
                )
            label = " ".join(_text(where, line, "description").split())
            author = line.get("explanationModelName") or "unknown"
            if not label or (explainer is not None and author != explainer):
                continue
            if latent in names:
                others += 1
                continue
            if len(label) > MAX_LABEL_CHARS:
                label, shortened = label[: MAX_LABEL_CHARS - 3] + "...", shortened + 1
            how = f"Neuronpedia {source}: {author}, {line.get('typeName') or 'unknown'}"
            try:
                names[latent] = Name(label=label, origin=how[:MAX_LABEL_CHARS])
            except ValidationError as e:  # such as half a surrogate pair
                raise ConfigError(
                    problem.replace(f"{path}", where, 1) for problem in faults(path, e, "label")
                ) from None
    return Explanations(names, others, shortened)


def _check_source(where: str, line: dict[str, Any], reader: ReaderRef, model_id: str | None) -> None:
    model, source = _text(where, line, "modelId"), _text(where, line, "layer")
    wanted = model_id or reader.model.rpartition("/")[2]
    if model.lower() != wanted.lower():
        raise ConfigError(
            f"{where}: modelId: {model}, but the set reads {wanted}; if they are the same model, "
            f"give --model-id {model}"
        )
    layer = _LAYER.fullmatch(source)
    if layer is None or int(layer[1]) != reader.layer:
        raise ConfigError(f"{where}: layer: {source}, but the SAE of the set reads layer {reader.layer}")
    width = _WIDTH.search(source)
    if width is not None and not _same_width(int(width[1]), width[2], reader.sae.width):
        raise ConfigError(
            f"{where}: layer: {source} has about {width[1]}{width[2]} latents, but the SAE of the set has "
            f"{reader.sae.width}; the indices of one mean nothing in the other"
        )


def _same_width(number: int, unit: str, width: int) -> bool:
    """Whether an id such as 16k may stand for a width; some ids count in thousands, others in 1,024."""
    powers = (10**3, 2**10) if unit == "k" else (10**6, 2**20)
    return any(abs(width / power - number) < 1 for power in powers)


def _text(where: str, line: dict[str, Any], key: str) -> str:
    value = line.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ConfigError(f"{where}: {key}: missing or not a text; is this an explanations file of Neuronpedia?")
    return str(value)

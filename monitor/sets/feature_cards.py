"""FeatureCard: what may be shown of one latent, in the file features.jsonl next to the sets that use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from detectors.frozen_model import FrozenModel, Sha256
from monitor.errors import ConfigError
from monitor.yaml_file import faults, read_bytes

CARDS_FILE = "features.jsonl"
_MAX_BYTES = 64 * 2**20


class CardContext(FrozenModel):
    """A piece of a text on which the latent is active."""

    file: str
    row: str
    tokens: tuple[tuple[str, float], ...]
    """Pieces of the text in order, each with its activation."""


class Firing(FrozenModel):
    """On how many texts, and on how many of their tokens, the latent is active; shares."""

    texts: float
    tokens: float
    n: Annotated[int, Field(ge=0)]
    """Texts."""


class Lens(FrozenModel):
    """Tokens that the latent's decoder row makes more or less likely, strongest first."""

    promoted: tuple[str, ...]
    demoted: tuple[str, ...]


class FeatureCard(FrozenModel):
    """One latent."""

    index: Annotated[int, Field(ge=0)]
    sae_sha256: Sha256
    contexts: tuple[CardContext, ...]
    """Strongest first."""
    logit_lens: Lens | None = None
    firing: dict[str, Firing] = Field(default_factory=dict)
    """By side: risky, harmless, benign."""


def load_cards(folder: Path) -> dict[int, FeatureCard]:
    """The cards in a folder of sets, by index; none if it has no such file. Raises ConfigError with every bad line."""
    path = folder / CARDS_FILE
    if not path.is_file():
        return {}
    raw = read_bytes(path)
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
    cards: dict[int, FeatureCard] = {}
    problems: list[str] = []
    for number, line in enumerate(raw.splitlines(), start=1):
        try:
            card = FeatureCard.model_validate_json(line)
        except ValidationError as e:
            problems += [p.replace(f"{path}", f"{path}:{number}", 1) for p in faults(path, e, "card")]
            continue
        cards[card.index] = card
    if problems:
        raise ConfigError(problems)
    return cards


def save_cards(folder: Path, cards: Mapping[int, FeatureCard]) -> Path:
    """Writes the file of a folder, and returns its path. Raises ConfigError if it can't."""
    path = folder / CARDS_FILE
    lines = (json.dumps(cards[i].model_dump(mode="json", exclude_none=True), ensure_ascii=False) for i in sorted(cards))
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        new.replace(path)
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None
    return path

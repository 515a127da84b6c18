"""Edit: a change to the activations at a hook point, such as a latent that is set to a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monitor.lab.steering.decomposition import Decomposition

Edit = Callable[[Tensor], Tensor]
"""What is added to activations [token, d], in float32."""


@dataclass(frozen=True)
class Clamp:
    """Sets the latents at `places` of a decomposition to `value` on every token; 0 ablates them."""

    of: Decomposition
    places: tuple[int, ...]
    value: float

    def __call__(self, residual: Tensor) -> Tensor:
        places = list(self.places)
        change = self.value - self.of.activations(residual)[:, places]  # [token, place]
        return change @ self.of.rows[places] * self.of.scale(residual)


@dataclass(frozen=True)
class AddDirection:
    """Adds the direction of one latent, as long as `value` units of activation make it, whatever is active."""

    of: Decomposition
    place: int
    value: float

    def __call__(self, residual: Tensor) -> Tensor:
        return self.value * self.of.rows[self.place] * self.of.scale(residual)


@dataclass(frozen=True)
class Elsewhere:
    """As much as `edit` adds to each token, but along another direction [d] of length 1.

    The direction has the sign of what the edit does along `along` [d]: an ablation takes away here, too.
    """

    edit: Edit
    along: Tensor
    direction: Tensor

    def __call__(self, residual: Tensor) -> Tensor:
        change = self.edit(residual)
        length = torch.linalg.vector_norm(change, dim=1, keepdim=True) * torch.sign(change @ self.along)[:, None]
        moved: Tensor = length * self.direction
        return moved


def random_directions(count: int, d: int, seed: int) -> Tensor:
    """Directions [count, d] of length 1, evenly distributed."""
    drawn = torch.randn(count, d, generator=torch.Generator().manual_seed(seed))
    return unit(drawn)


def unit(rows: Tensor) -> Tensor:
    """`rows` [row, d] with length 1."""
    scaled: Tensor = torch.nn.functional.normalize(rows, dim=1)
    return scaled

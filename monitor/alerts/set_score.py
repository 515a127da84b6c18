"""SetScore: how one feature set scored an event, whether it alerts or not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SetScore:
    """The event's score, and the features in it that the set's file names."""

    set_id: str
    category: str
    score: float
    active: tuple[int, ...] = ()
    """Latents that the YAML file lists and that contributed to the score."""
    strengths: tuple[float, ...] = ()
    """The pooled activation of each of them."""

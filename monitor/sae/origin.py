"""SaeOrigin: what the files of an SAE say about where it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from monitor.sae.hook_point import HookPoint, hook_point


@dataclass(frozen=True)
class SaeOrigin:
    """The model, hook point and texts that an SAE was trained on, as far as its files or its path tell."""

    format: str
    architecture: str
    """In the words of the files."""
    model: str | None = None
    model_sha256: str | None = None
    hook_name: str | None = None
    """As the files call it."""
    hook: HookPoint | None = None
    """What `hook_name` means; None if the files name no hook or an unknown one."""
    trained_on: str | None = None
    """The texts."""
    l0: float | None = None
    """Active latents a token, as its authors measured them."""
    centred: bool = False
    """Whether the model's weights were centred for training, so that its residual stream has a mean of 0."""
    notes: tuple[str, ...] = ()
    """How the files were taken where they leave something open."""


class NamedHook(TypedDict):
    """The fields of a SaeOrigin about a hook."""

    hook_name: str | None
    hook: HookPoint | None


def named_hook(name: object) -> NamedHook:
    """The hook called `name`; none if that is not text."""
    text = name if isinstance(name, str) and name else None
    return {"hook_name": text, "hook": None if text is None else hook_point(text)}

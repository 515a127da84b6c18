"""SteeringRig: model, SAE, tokeniser and set of one hook, opened together for steering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.events.event import Event
from monitor.lab.reading.hook import Hook
from monitor.lab.steering.decomposition import Decomposition
from monitor.lab.steering.set_reading import SetReading
from monitor.lab.steering.steered_model import SteeredModel
from monitor.sae.encoder import CuratedEncoder
from monitor.tokens.tokeniser import EventTokeniser

_AT_ONCE = 32


@dataclass(frozen=True)
class SeenActivations:
    """What all latents do on some texts."""

    largest: NDArray[np.float32]  # [s]
    rate: NDArray[np.float64]  # [s]
    """Share of the tokens on which a latent is active."""
    tokens: int


class SteeringRig:
    """Everything that steering needs of one hook. `reading` is None if no set names the hook."""

    def __init__(self, hook: Hook, config: Config, before: SteeringRig | None = None) -> None:
        """Reads with the device, precision and chat template of the config. Raises ConfigError if parts don't fit.

        Takes the model of `before`, a rig of the same config, if that is for the same model and hook point.
        """
        settings, ref = config.reader, hook.reader
        self.hook = hook
        same = before is not None and _place(before.hook) == _place(hook)
        self.model: SteeredModel = (
            before.model
            if before is not None and same
            else SteeredModel(
                hook.model.folder,
                ref.layer,
                hook=ref.hook,
                max_norm=ref.max_norm,
                precision=settings.dtype,
                device=settings.device,
                threads=settings.threads,
            )
        )
        if self.model.d_model != hook.sae.d_in:
            raise ConfigError(
                f"{hook.sae_folder}: d_in is {hook.sae.d_in}, but the residual stream of {hook.model.folder} has width "
                f"{self.model.d_model}; the SAE belongs to another model"
            )
        self.tokeniser: EventTokeniser = build_tokeniser(config, hook.model)
        self.reading = (
            None if hook.loaded is None else SetReading(hook.loaded, hook.sae, self.model.d_model, self.model.device)
        )

    def decomposition(self, latents: Sequence[int]) -> Decomposition:
        """The latents taken out of the residual stream. Raises as Decomposition does."""
        return Decomposition(self.hook, latents, self.model.device)

    @torch.inference_mode()
    def active_latents(self, residual: Tensor) -> list[int]:
        """The latents that are active on at least one token of `residual` [token, d]."""
        found = self._all_latents()(self._usual(residual).to(self.model.device))
        return [int(self.hook.sae.numbers[n]) for n in (found > 0).any(dim=0).nonzero()[:, 0].tolist()]

    def _all_latents(self) -> CuratedEncoder:
        sae, basis = self.hook.sae, self.hook.reader.sae.activation_basis
        return CuratedEncoder(sae, sae.numbers.tolist(), basis, self.model.device)

    def _usual(self, residual: Tensor) -> Tensor:
        """Without tokens of massive activations."""
        limit = self.hook.reader.max_norm
        return residual if limit is None else residual[residual.norm(dim=1) <= limit]

    @torch.inference_mode()
    def seen(self, events: Sequence[Event], progress: Callable[[int], None] = lambda _: None) -> SeenActivations:
        """What all latents do on the tokens of `events` that count as evidence. Raises ConfigError if there are none.

        Only the first tokens are read of a text that is longer than the model was built for.
        """
        encoder, count = self._all_latents(), self.hook.sae.rows
        largest, active, tokens = torch.zeros(count), torch.zeros(count, dtype=torch.float64), 0
        for start in range(0, len(events), _AT_ONCE):
            items = self.tokeniser.tokenise(events[start : start + _AT_ONCE])
            texts = [item.ids[: self.model.max_tokens] for item in items]
            for item, residual in zip(items, self.model.residuals(texts), strict=True):
                rows = np.concatenate(item.rows) if item.rows else np.empty(0, np.int64)
                x = self._usual(residual[torch.from_numpy(rows[rows < residual.shape[0]])])
                if not x.shape[0]:
                    continue
                found = encoder(x.to(self.model.device)).cpu()  # [token, s]
                largest = torch.maximum(largest, found.amax(dim=0))
                active += (found > 0).sum(dim=0)
                tokens += x.shape[0]
            progress(len(items))
        if not tokens:
            raise ConfigError("no token in the texts that activations are looked for in")
        return SeenActivations(largest.numpy(), (active / tokens).numpy(), tokens)


def _place(hook: Hook) -> tuple[str, int, str, float | None]:
    """What two hooks must share to be steered in one model."""
    ref = hook.reader
    return hook.model.sha256, ref.layer, ref.hook, ref.max_norm

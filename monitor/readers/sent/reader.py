"""SentReader: activations that a serving engine sent, as a model reader would have given them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import ReaderRef
from monitor.errors import BadEvent
from monitor.events.event import Event
from monitor.events.sent_activations import SentActivations
from monitor.readers.sent.payload import PayloadReader, SentValues
from monitor.readers.sent.segments import tokenised
from monitor.readers.sent.tensors import PATH, Array
from monitor.tokens.tokeniser import EventTokeniser, Tokenised

_VOCABULARY = 2**31


class Encoder(Protocol):
    """Turns what was sent into activations [token, column]; columns are those of the sets in use."""

    @property
    def d(self) -> int:
        """Width of the hook point."""

    def of_hidden_states(self, residual: Array) -> Array:
        """From the hook point [token, d]."""

    def of_preactivations(self, values: Array, norms: Array | None, rows_sha256: str) -> Array:
        """From products [token, row] with the rows of that hash. Raises BadEvent if they aren't known."""


class SentReader:
    """Reads events that carry activations. Checks that they are of the model, layer and SAE of the sets."""

    def __init__(
        self, ref: ReaderRef, tokeniser: EventTokeniser, payloads: PayloadReader, encoder: Callable[[], Encoder]
    ) -> None:
        """`encoder` makes the encoder when the first such event comes, as most sidecars never get one."""
        self._ref = ref
        self._tokeniser = tokeniser
        self._payloads = payloads
        self._make_encoder = encoder

    @cached_property
    def _encoder(self) -> Encoder:
        return self._make_encoder()

    def read(self, event: Event, max_tokens: int) -> tuple[Tokenised, NDArray[np.float32]]:
        """The tokens of an event, and their activations [token, column].

        Raises BadEvent if what it carries can't be judged, and says why.
        """
        sent = event.activations
        if sent is None:
            raise BadEvent("has no activations", PATH)
        self._check(sent)
        found = self._payloads.read(sent, self._ref.layer)
        count = found.values.shape[0]
        if count > max_tokens:
            raise BadEvent(f"{count} tokens, over events.max_tokens = {max_tokens}", PATH, kind="size")
        if found.norms is not None and found.norms.shape[0] != count:
            raise BadEvent(f"{found.norms.shape[0]} norms, but activations of {count} tokens", PATH)
        ids = _ids(sent, found)
        for name, length in (("token_ids", None if ids is None else ids.size), ("tokens", _length(sent.tokens))):
            # the last token of a reply was written, but never read
            if length is not None and length not in (count, count + 1):
                raise BadEvent(f"{length} {name}, but activations of {count} tokens", f"{PATH}.{name}")
        item = tokenised(event, sent, ids, count, self._tokeniser)
        return item, self._activations(sent, found)[: item.ids.size]

    def _activations(self, sent: SentActivations, found: SentValues) -> Array:
        if sent.kind == "preactivations":
            return self._encoder.of_preactivations(found.values, found.norms, sent.rows_sha256 or "")
        if found.values.shape[1] != self._encoder.d:
            wrong = f"width {found.values.shape[1]}, but the sets' hook point has {self._encoder.d}"
            raise BadEvent(f"the hidden states have {wrong}", PATH)
        return self._encoder.of_hidden_states(found.values)

    def _check(self, sent: SentActivations) -> None:
        """Raises BadEvent if the event names another model, layer or hook point than the sets."""
        ref = self._ref
        hook = sent.hook or "resid_post"
        of_model = {"model_sha256": (sent.model_sha256, ref.model_sha256)}
        if sent.model_sha256 is None:  # names differ between programs, so the hash counts if it is there
            of_model = {"model": (sent.model, ref.model)}
        wanted = of_model | {"layer": (sent.layer, ref.layer)}
        if sent.kind == "hidden_states" or sent.hook is not None:
            wanted["hook"] = (hook, ref.hook)
        for key, (given, needed) in wanted.items():
            if given is not None and given != needed:
                raise BadEvent(f"is {given}, but the sets read {needed}", f"{PATH}.{key}")


def _ids(sent: SentActivations, found: SentValues) -> NDArray[np.int32] | None:
    """The token ids, if the event or its payload has them. Raises BadEvent if the two differ."""
    given = None if sent.token_ids is None else np.array(sent.token_ids, np.int64)
    inside = found.token_ids
    if given is not None and inside is not None:
        shared = min(given.size, inside.size)
        if not np.array_equal(given[:shared], inside[:shared]):
            raise BadEvent("differ from the token_ids in the payload", f"{PATH}.token_ids")
    ids = inside if given is None else given
    if ids is None:
        return None
    if ids.size and (ids.min() < 0 or ids.max() >= _VOCABULARY):
        raise BadEvent("hold a number that is no token", f"{PATH}.token_ids")
    return ids.astype(np.int32)


def _length(values: Sequence[str] | None) -> int | None:
    return None if values is None else len(values)

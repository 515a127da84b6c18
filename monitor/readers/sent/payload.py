"""Payload reading: what an event's payload holds, in whichever format, as one matrix of float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadEvent
from monitor.events.sent_activations import Payload, PayloadFormat, SentActivations
from monitor.readers.sent.payload_folder import PayloadFolder
from monitor.readers.sent.tensors import PATH, Array, Tensors, from_base64, lens_tensor

_FIRST_OUTPUT: dict[PayloadFormat, int] = {"vllm": 1, "vllm_lens": 0}
"""What each program calls the output of block 0: vLLM counts the embeddings as 0."""


@dataclass(frozen=True)
class SentValues:
    """`values` [token, width]; `norms` [token] are lengths of the hook point; `token_ids` [token] if they came along.

    Those that did not come are None.
    """

    values: Array
    norms: Array | None = None
    token_ids: NDArray[np.int64] | None = None


class PayloadReader:
    """Opens payloads of up to `max_bytes`."""

    def __init__(self, max_bytes: int, folder: PayloadFolder | None) -> None:
        """`folder` has the files that events name; None if they may name none."""
        self._max_bytes = max_bytes
        self._folder = folder

    def read(self, sent: SentActivations, layer: int) -> SentValues:
        """The numbers of all tokens, at the output of block `layer` if there are several. Raises BadEvent."""
        payload = sent.payload
        if payload.format == "vllm_lens":
            values = lens_tensor(payload.tensor or {}, self._max_bytes, f"{PATH}.residual_stream")
            found = SentValues(values[_place(payload, layer, values.shape[0])])
        else:
            tensors = Tensors(self._bytes(payload))
            if payload.format == "vllm":
                # [token, layer, d], as ExampleHiddenStatesConnector writes them
                values = tensors.numbers("hidden_states", 3)
                found = SentValues(values[:, _place(payload, layer, values.shape[1])], None, tensors.token_ids())
            else:
                values = tensors.numbers(sent.kind, 2)
                found = SentValues(values, tensors.optional_numbers("norms", 1), tensors.token_ids())
        if not np.isfinite(found.values).all() or (found.norms is not None and not np.isfinite(found.norms).all()):
            raise BadEvent("some numbers are NaN or infinite; float16 overflows, bfloat16 doesn't", PATH)
        return found

    def _bytes(self, payload: Payload) -> bytes:
        if payload.data is not None:
            return from_base64(payload.data, self._max_bytes, f"{PATH}.data")
        if self._folder is None:
            raise BadEvent("names a file, but activations.folder is not set", f"{PATH}.file")
        return self._folder.read(payload.file or "")


def _place(payload: Payload, layer: int, count: int) -> int:
    """Which of the `count` captured layers is the output of block `layer`. Both programs write them in order."""
    captured: Sequence[int] = sorted(payload.layers)
    if len(captured) != count:
        raise BadEvent(f"{len(captured)} layers, but the payload holds {count}", f"{PATH}.layers")
    wanted = layer + _FIRST_OUTPUT[payload.format]
    if wanted not in captured:
        raise BadEvent(
            f"the sets read the output of block {layer}, which {payload.format} calls {wanted}; captured: {captured}",
            f"{PATH}.layers",
        )
    return captured.index(wanted)

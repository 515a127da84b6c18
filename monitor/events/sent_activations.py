"""SentActivations: what a serving engine captured while it read a conversation, in place of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ActivationKind = Literal["hidden_states", "preactivations"]
ACTIVATION_KINDS: tuple[ActivationKind, ...] = get_args(ActivationKind)
PayloadFormat = Literal["safetensors", "vllm", "vllm_lens"]
PAYLOAD_FORMATS: tuple[PayloadFormat, ...] = get_args(PayloadFormat)


@dataclass(frozen=True)
class SentSegment:
    """Tokens [start, end) that one turn is. The role `response` is the reply that is judged as such."""

    role: str
    start: int
    end: int


@dataclass(frozen=True)
class Payload:
    """Where the numbers are. One of `data`, `file` and `tensor` is there; nothing is decoded yet."""

    format: PayloadFormat
    data: str | None = field(default=None, repr=False)
    """A safetensors file in base64."""
    file: str | None = None
    """The name of a safetensors file in the folder that the config names."""
    tensor: Mapping[str, Any] | None = field(default=None, repr=False)
    """vllm-lens: the object under `residual_stream`."""
    layers: tuple[int, ...] = ()
    """vllm, vllm_lens: what was captured, in the numbers of that program."""


@dataclass(frozen=True)
class SentActivations:
    """Activations of all tokens of an event, and what they are of.

    `hidden_states` are the hook point itself. `preactivations` are its product with the rows that `export-rows` wrote,
    which `rows_sha256` names. `segments` is None if they are to be found in the event's text by its tokens.
    """

    kind: ActivationKind
    payload: Payload
    model: str | None = None
    model_sha256: str | None = None
    layer: int | None = None
    hook: str | None = None
    rows_sha256: str | None = None
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)
    tokens: tuple[str, ...] | None = field(default=None, repr=False)
    """The text of each token, if the producer sends it."""
    segments: tuple[SentSegment, ...] | None = None

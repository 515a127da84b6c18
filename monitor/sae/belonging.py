"""Whether an SAE belongs where a feature set reads it, by what the SAE's own files say."""

from __future__ import annotations

import re

from detectors.feature_set import ReaderRef
from monitor.sae.hook_point import HookPoint
from monitor.sae.weights import SaeWeights

# Versions of one model whose activations SAEs are shared between, and words that only some hubs put in the name
_SAME_MODEL = {"it", "pt", "instruct", "chat", "base", "hf", "meta", "deduped"}
_ALSO_CALLED = {"gpt2-small": "gpt2"}
# Norms of these don't subtract the mean, so TransformerLens leaves their weights as they are
_NEVER_CENTRED = re.compile(r"gemma|llama|mistral|qwen|smollm|phi-?[34]|deepseek", re.IGNORECASE)


def differences(sae: SaeWeights, ref: ReaderRef) -> list[str]:
    """Where the files of `sae` say something else than the set's `ref`, as `key: what is wrong`."""
    origin = sae.origin
    if origin is None:
        return []
    found = []
    wanted = HookPoint(ref.hook, ref.layer)
    if origin.hook_name is not None and origin.hook is None:
        found.append(f"reader.hook: the SAE reads {origin.hook_name!r}, which is no hook point that readers know")
    elif origin.hook is not None and origin.hook.read_as != wanted:
        found.append(
            f"reader.{'layer' if origin.hook.read_as.kind == wanted.kind else 'hook'}: the SAE reads {origin.hook} "
            f"({origin.hook_name} in its files), but the set reads {wanted}; on other activations its features mean "
            "nothing"
        )
    if origin.model_sha256 is not None:
        if origin.model_sha256 != ref.model_sha256:
            found.append(
                f"reader.model_sha256: the SAE was trained on the model with sha256 {origin.model_sha256}, but the set "
                f"reads {ref.model} with {ref.model_sha256}"
            )
    elif origin.model is not None and ref.sae.trained_on != origin.model and _other_model(origin.model, ref.model):
        found.append(
            f"reader.model: the SAE was trained on {origin.model}, but the set reads {ref.model}; if that is the same "
            f"model, or one that it was fine-tuned from, say so with reader.sae.trained_on: {origin.model}"
        )
    if origin.centred and not _NEVER_CENTRED.search(origin.model or ""):
        found.append(
            "reader.sae: the SAE was trained on a model with centred weights (center_writing_weights in its files), "
            "whose activations have a mean of 0; readers read the model as it is"
        )
    return found


def other_width(d_in: int, d_model: int) -> str:
    """What is wrong with an SAE of inputs `d_in` wide on a residual stream that is `d_model` wide."""
    return (
        f"reader.sae: the SAE reads activations of {d_in} channels, but the model has {d_model}: "
        "it was trained on another model"
    )


def notes(sae: SaeWeights, ref: ReaderRef) -> list[str]:
    """What a user should know about how the files of `sae` were taken."""
    if sae.origin is None:
        return []
    found = list(sae.origin.notes)
    hook = sae.origin.hook
    if hook is not None and hook.read_as != hook:
        found.append(f"{hook} ({sae.origin.hook_name}) is taken as {hook.read_as}, which is the same")
    if sae.origin.model is not None and sae.origin.model == ref.sae.trained_on:
        found.append(f"was trained on {sae.origin.model} and reads {ref.model}, as reader.sae.trained_on allows")
    return found


def _other_model(one: str, other: str) -> bool:
    """Whether two names are of different models. Names without a number, such as `my-model`, say nothing."""
    first, second = _words(one), _words(other)
    return first != second and all(any(c.isdigit() for word in words for c in word) for words in (first, second))


def _words(name: str) -> frozenset[str]:
    last = name.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1].lower()
    words = re.split(r"[-_ ]+", _ALSO_CALLED.get(last, last))
    return frozenset(word for word in words if word and word not in _SAME_MODEL)

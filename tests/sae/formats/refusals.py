"""Files that each format refuses, because it would otherwise read them wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from monitor.sae.formats.compact import convert
from tests import sae_files
from tests.sae_files import WIDTH, D


@dataclass(frozen=True)
class Refusal:
    """An SAE that `format` refuses with a message that ends in `message`, after the folder."""

    format: str
    name: str
    make: Callable[[Path], Path]
    message: str


def _with_tensor(make: Callable[[Path], Path], file: str, name: str, value: Any) -> Callable[[Path], Path]:
    """The SAE of `make` with another tensor `name` in `file`; None removes it."""

    def run(root: Path) -> Path:
        path = make(root)
        weights = path if path.is_file() else path / file
        if weights.suffix == ".safetensors":
            tensors = {**load_file(weights), name: value}
            save_file({n: v for n, v in tensors.items() if v is not None}, weights)
        elif weights.suffix == ".npz":
            with np.load(weights) as arrays:
                kept = {**arrays, name: value}
            np.savez(weights, **{n: v for n, v in kept.items() if v is not None})
        else:
            tensors = torch.load(weights, weights_only=True)
            tensors[name] = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            torch.save({n: v for n, v in tensors.items() if v is not None}, weights)
        return path

    return run


class _Code:
    """What a .pt file must not hold."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def _pickled(name: str, path_of: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def run(root: Path) -> Path:
        path = path_of(root)
        torch.save({name: _Code()}, path if path.is_file() else next(path.glob("*.pt")))
        return path

    return run


def _three_dimensional(root: Path) -> Path:
    value = np.zeros((WIDTH, 2, D), np.float32)
    return _with_tensor(sae_files.gemma_scope_2, "params.safetensors", "w_dec", value)(root)


def _declared_relu(root: Path) -> Path:
    path = sae_files.dictionary_learning(root)
    settings = json.loads((path / "config.json").read_text())
    settings["trainer"]["dict_class"] = "AutoEncoder"
    (path / "config.json").write_text(json.dumps(settings))
    return path


def _cut_off(root: Path) -> Path:
    path = convert(sae_files.goodfire(root), root / "compact", None, "float32", decoder=True).folder
    file = next(path.iterdir())
    file.write_bytes(file.read_bytes()[:-9])
    return path


_gemma, _lm = sae_files.gemma_scope, sae_files.lm_saes
_dl, _llama = sae_files.dictionary_learning, sae_files.llama_scope
_ONES = np.ones(WIDTH, np.float32)
_BATCH = "depends on the other tokens of a batch"

REFUSALS = tuple(
    Refusal(*fields)
    for fields in (
        ("gemma_scope", "no threshold", _with_tensor(sae_files.gemma_scope, "params.npz", "threshold", None),
         "params.npz: threshold: missing; Gemma Scope needs it"),
        ("gemma_scope", "fine-tuned scale", _with_tensor(_gemma, "params.npz", "scaling_factor", _ONES * 2),
         "params.npz: scaling_factor: only 1 is supported, which all published SAEs have"),
        ("gemma_scope", "Python objects", _with_tensor(sae_files.gemma_scope, "params.npz", "b_enc", np.array([{}])),
         "params.npz: not readable as an .npz file: Object arrays cannot be loaded when allow_pickle=False"),
        ("gemma_scope_2", "another architecture", partial(sae_files.gemma_scope_2, cfg={"architecture": "topk"}),
         "config.json: architecture: 'topk' is not supported; jump_relu is"),
        ("gemma_scope_2", "skip connection missing", partial(sae_files.gemma_scope_2, cfg={"affine_connection": True}),
         "affine_connection: true, but params.safetensors has no affine_skip_connection; is it another SAE?"),
        ("gemma_scope_2", "cross-layer transcoder", _three_dimensional,
         "w_dec: a cross-layer transcoder is not supported; use one of a single layer"),
        ("llama_scope", "no norm of the dataset", partial(_llama, dataset_average_activation_norm={}),
         "hyperparams.json: dataset_average_activation_norm.in: expected a number above 0, got None"),
        ("llama_scope", "b_dec subtracted", partial(_llama, apply_decoder_bias_to_pre_encoder=True),
         "True is not supported: the published SAEs don't subtract b_dec"),
        ("llama_scope", "other width", partial(_llama, d_sae=WIDTH * 2),
         f"encoder.bias: shape is ({WIDTH},), but hyperparams.json needs ({WIDTH * 2},)"),
        ("lm_saes", "batchtopk", partial(_lm, act_fn="batchtopk"),
         f"act_fn: batchtopk {_BATCH}; convert it to jumprelu with lm-saes"),
        ("lm_saes", "norm of a batch", partial(_lm, norm_activation="batch-wise"),
         f"norm_activation: batch-wise {_BATCH}"),
        ("lm_saes", "norm of the dataset missing", partial(_lm, norm_activation="dataset-wise"),
         "norm_activation dataset-wise needs it; save the SAE with fold_activation_scale"),
        ("lm_saes", "crosscoder", partial(_lm, sae_type="crosscoder"),
         "sae_type: 'crosscoder' is not supported: it reads more than one activation; sae is"),
        ("lm_saes", "GLU encoder", partial(_lm, use_glu_encoder=True),
         "use_glu_encoder: True is not supported: the readers have no gate of that kind"),
        ("lm_saes", "threshold missing",
         _with_tensor(partial(_lm, act_fn="jumprelu"), "sae_weights.safetensors",
                      "activation_function.log_jumprelu_threshold", None),
         "log_jumprelu_threshold: missing; act_fn jumprelu in config.json needs it"),
        ("qwen_scope", "k unknown", partial(sae_files.qwen_scope, repository="saes"),
         "such as SAE-Res-Qwen3-8B-Base-W64K-L0_50"),
        ("qwen_scope", "folder of another width", partial(sae_files.qwen_scope, repository="SAE-Res-Qwen3-8B-W2K-L0_7"),
         "is for 2048 latents, 7 of them active, but the file has 1024"),
        ("qwen_scope", "threshold", _with_tensor(sae_files.qwen_scope, "", "threshold", np.ones(1024, np.float32)),
         "threshold: Qwen-Scope has no such tensor; is it another SAE?"),
        ("goodfire", "unknown tensor", partial(sae_files.goodfire, threshold=_ONES),
         "threshold: Goodfire has no such tensor; is it another SAE?"),
        ("goodfire", "code in the file", _pickled("encoder_linear.weight", sae_files.goodfire),
         "save its state dict alone, or as safetensors"),
        ("sparsify", "groupmax", partial(sae_files.sparsify, activation="groupmax"),
         "activation: groupmax is not supported: the readers don't choose one latent of each group"),
        ("sparsify", "signed", partial(sae_files.sparsify, signed=True),
         "its activations may be negative, and detectors take every activation as 0 or more"),
        ("sparsify", "no k", partial(sae_files.sparsify, k=0),
         f"cfg.json: k: expected a whole number from 1 to {WIDTH}, got 0"),
        ("sparsify", "undeclared skip connection",
         _with_tensor(sae_files.sparsify, "sae.safetensors", "W_skip", np.zeros((D, D), np.float32)),
         "W_skip: cfg.json has no such tensor; is it another SAE?"),
        ("openai", "no k", partial(sae_files.openai, activation_state_dict={}),
         f"activation_state_dict.k: expected a whole number from 1 to {WIDTH}, got None"),
        ("openai", "activation without a name", partial(sae_files.openai, activation=None),
         "activation_state_dict: is for another activation than ReLU"),
        ("openai", "unknown activation", partial(sae_files.openai, activation="JumpReLU"),
         "activation: 'JumpReLU' is not supported; TopK and ReLU are"),
        ("openai", "negative activations",
         partial(sae_files.openai, activation_state_dict={"k": 3, "postact_fn": "Identity"}),
         "detectors take every activation as 0 or more; ReLU is"),
        ("openai", "code in the file", _pickled("pre_bias", sae_files.openai),
         "save its state dict alone, or as safetensors"),
        ("compact", "cut off", _cut_off, "not readable as a stored SAE: Error while deserializing header: incomplete"
         " metadata, file not fully covered"),
        ("dictionary_learning", "threshold never estimated", partial(_dl, dict_class="BatchTopKSAE", threshold=-1.0),
         f"it was never estimated in training, and without it which latents are active {_BATCH}"),
        ("dictionary_learning", "two different k", partial(_dl, k=9), "k: 9, but ae.pt has 7"),
        ("dictionary_learning", "another width", partial(_dl, dict_size=32),
         f"trainer.dict_size: 32, but the weights have {WIDTH}"),
        ("dictionary_learning", "unknown class", partial(_dl, dict_class="CrossCoder"),
         "AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE are"),
        ("dictionary_learning", "TopK declared as ReLU", _declared_relu,
         "ae.pt: bias: missing; AutoEncoder needs it"),
    )
)  # fmt: skip

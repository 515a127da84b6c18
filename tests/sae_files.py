"""SAEs in the exact file layout of each format, made from random numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float32]
D, WIDTH, D_OUT, K = 24, 64, 20, 7


def numbers(**shapes: tuple[int, ...]) -> dict[str, Array]:
    """Random tensors of these shapes, the same on every call."""
    source = np.random.default_rng(3)
    found = {name: (source.standard_normal(shape) * 0.4).astype(np.float32) for name, shape in shapes.items()}
    return {name: np.abs(array) + 0.1 if "threshold" in name else array for name, array in found.items()}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def write_safetensors(path: Path, tensors: Mapping[str, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)


def write_torch(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in values.items()}, path)


def gemma_scope(root: Path, kind: str = "res", prefix: str = "W_", folder: str = "layer_12/width_16k") -> Path:
    """The root stands for a clone of the repository google/gemma-scope-2b-pt-KIND."""
    d_out = D_OUT if kind == "transcoders" else D
    tensors = numbers(enc=(D, WIDTH), dec=(WIDTH, d_out), b_enc=(WIDTH,), b_dec=(d_out,), threshold=(WIDTH,))
    path = root / f"gemma-scope-2b-pt-{kind}" / folder / "average_l0_71"
    path.mkdir(parents=True)
    renamed = {prefix + name if name in ("enc", "dec") else name: array for name, array in tensors.items()}
    np.savez(path / "params.npz", **renamed)
    return path


def gemma_scope_2(root: Path, kind: str = "resid_post", cfg: Mapping[str, Any] | None = None) -> Path:
    """A folder of the repository google/gemma-scope-2-1b-pt; without `cfg`, it has no config.json."""
    transcoder = kind == "transcoder_affine"
    d_out = D_OUT if transcoder else D
    path = root / "gemma-scope-2-1b-pt" / kind / "layer_12_width_16k_l0_small"
    shapes = {"w_enc": (D, WIDTH), "w_dec": (WIDTH, d_out), "b_enc": (WIDTH,), "b_dec": (d_out,), "threshold": (WIDTH,)}
    tensors = numbers(**shapes, **({"affine_skip_connection": (D, d_out)} if transcoder else {}))
    write_safetensors(path / "params.safetensors", tensors)
    if cfg is not None:
        write_json(path / "config.json", {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", **cfg})
    return path


def llama_scope(root: Path, **cfg: Any) -> Path:
    path = root / "Llama3_1-8B-Base-LXR-8x" / "Llama3_1-8B-Base-L15R-8x"
    shapes = {
        "encoder.weight": (WIDTH, D),
        "encoder.bias": (WIDTH,),
        "decoder.weight": (D, WIDTH),
        "decoder.bias": (D,),
    }
    write_safetensors(path / "checkpoints" / "final.safetensors", numbers(**shapes))
    settings = {
        "d_model": D,
        "d_sae": WIDTH,
        "jump_relu_threshold": 0.35,
        "dataset_average_activation_norm": {"in": 13.5, "out": 13.5},
        "hook_point_in": "blocks.15.hook_resid_post",
        "hook_point_out": "blocks.15.hook_resid_post",
    }
    write_json(path / "hyperparams.json", {**settings, **cfg})
    return path


def lm_saes(root: Path, norm: float | None = None, old: bool = False, **cfg: Any) -> Path:
    """With `norm`, the file holds the average norm of the dataset; `old` has the tensor names of its first version."""
    path = root / "L15R"
    hook = "blocks.15.hook_resid_post"
    names = {"W_E": (D, WIDTH), "b_E": (WIDTH,), "W_D": (WIDTH, D), "b_D": (D,)}
    if old:
        names = {
            "encoder.weight": (WIDTH, D),
            "encoder.bias": (WIDTH,),
            "decoder.weight": (D, WIDTH),
            "decoder.bias": (D,),
        }
    tensors = numbers(**names)
    if cfg.get("act_fn") == "jumprelu":
        name = "log_jumprelu_threshold" if old else "activation_function.log_jumprelu_threshold"
        tensors[name] = np.log(numbers(threshold=(WIDTH,))["threshold"])
    if norm is not None:
        tensors[f"dataset_average_activation_norm.{hook}"] = np.array(norm, np.float32)
    write_safetensors(path / "sae_weights.safetensors", tensors)
    settings = {
        "sae_type": "sae",
        "d_model": D,
        "expansion_factor": WIDTH / D,
        "hook_point_in": hook,
        "hook_point_out": hook,
        "norm_activation": "inference",
        "top_k": K,
    }
    write_json(path / "config.json", {**settings, **cfg})
    return path


def qwen_scope(root: Path, repository: str | None = None) -> Path:
    """A repository whose SAE has 1024 latents, because its name counts in thousands."""
    folder = root / (repository or f"SAE-Res-Qwen3-8B-Base-W1K-L0_{K}")
    tensors = numbers(W_enc=(1024, D), W_dec=(D, 1024), b_enc=(1024,), b_dec=(D,))
    write_torch(folder / "layer12.sae.pt", tensors)
    return folder / "layer12.sae.pt"


def goodfire(root: Path, **also: Any) -> Path:
    tensors = numbers(
        **{
            "encoder_linear.weight": (WIDTH, D),
            "encoder_linear.bias": (WIDTH,),
            "decoder_linear.weight": (D, WIDTH),
            "decoder_linear.bias": (D,),
        }
    )
    path = root / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    write_torch(path, {**tensors, **also})
    return path


def sparsify(root: Path, hook: str = "layers.12", **cfg: Any) -> Path:
    path = root / "sae-llama-3-8b-32x" / hook
    shapes = {"encoder.weight": (WIDTH, D), "encoder.bias": (WIDTH,), "W_dec": (WIDTH, D), "b_dec": (D,)}
    if cfg.get("skip_connection"):
        shapes["W_skip"] = (D, D)
    write_safetensors(path / "sae.safetensors", numbers(**shapes))
    settings = {"activation": "topk", "num_latents": WIDTH, "k": K, "multi_topk": False, "transcode": False, "d_in": D}
    write_json(path / "cfg.json", {**settings, **cfg})
    return path


def openai(root: Path, location: str = "resid_post_mlp_v5_32k", topk: bool = True, **also: Any) -> Path:
    tensors = numbers(
        **{"pre_bias": (D,), "encoder.weight": (WIDTH, D), "latent_bias": (WIDTH,), "decoder.weight": (D, WIDTH)}
    )
    path = root / "gpt2-small" / location / "autoencoders" / "8.pt"
    statistics = {
        "stats_last_nonzero": np.zeros(WIDTH, np.int64),
        "latents_activation_frequency": np.ones(WIDTH, np.float32),
        "latents_mean_square": np.zeros(WIDTH, np.float32),
    }
    state = {"activation_state_dict": {"k": K, "postact_fn": "ReLU"}} if topk else {}
    write_torch(path, {**tensors, **statistics, "activation": "TopK" if topk else "ReLU", **state, **also})
    return path


_LINEAR = {"encoder.weight": (WIDTH, D), "encoder.bias": (WIDTH,), "decoder.weight": (D, WIDTH)}
_PLAIN = {"W_enc": (D, WIDTH), "b_enc": (WIDTH,), "W_dec": (WIDTH, D), "b_dec": (D,)}
_GATED = {"r_mag": (WIDTH,), "gate_bias": (WIDTH,), "mag_bias": (WIDTH,), "decoder_bias": (D,)}
_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "AutoEncoder": {**_LINEAR, "bias": (D,)},
    "AutoEncoderNew": {**_LINEAR, "decoder.bias": (D,)},
    "GatedAutoEncoder": {"encoder.weight": (WIDTH, D), "decoder.weight": (D, WIDTH), **_GATED},
    "JumpReluAutoEncoder": {**_PLAIN, "threshold": (WIDTH,)},
    "AutoEncoderTopK": {**_LINEAR, "b_dec": (D,)},
    "BatchTopKSAE": {**_LINEAR, "b_dec": (D,)},
    "MatryoshkaBatchTopKSAE": _PLAIN,
}
DICTIONARY_CLASSES = tuple(_SHAPES)


def dictionary_learning(
    root: Path, dict_class: str = "AutoEncoderTopK", threshold: float = 0.6, **trainer: Any
) -> Path:
    path = root / "resid_post_layer_8" / "trainer_0"
    values: dict[str, Any] = numbers(**_SHAPES.get(dict_class, _SHAPES["AutoEncoder"]))
    if "TopK" in dict_class:
        values |= {"k": np.array(K, np.int32), "threshold": np.array(threshold, np.float32)}
    if dict_class.startswith("Matryoshka"):
        values["group_sizes"] = np.array([16, WIDTH - 16])
    write_torch(path / "ae.pt", {n: torch.tensor(v) if np.ndim(v) == 0 else v for n, v in values.items()})
    settings = {
        "dict_class": dict_class,
        "activation_dim": D,
        "dict_size": WIDTH,
        "layer": 8,
        "lm_name": "EleutherAI/pythia-160m-deduped",
        "submodule_name": "resid_post_layer_8",
        **({"k": K} if "TopK" in dict_class else {}),
    }
    write_json(path / "config.json", {"trainer": {**settings, **trainer}, "buffer": {"ctx_len": 1024}})
    return path

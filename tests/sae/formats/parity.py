"""What each format must give: the activations by sae-lens, or by the formulas of the published source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor

from monitor.sae.formats.compact import convert
from tests import sae_files
from tests.sae_files import WIDTH, D, K, numbers
from tests.saelens import SAE, save_sae

Array = NDArray[np.float32]
_LOADERS = "sae_lens.loading.pretrained_sae_loaders"
SAE_LENS, FORMULA = "sae-lens 6.54", "formula"


@dataclass(frozen=True)
class ParityCase:
    """An SAE in one format, and its activations [token, latent] of a residual stream by `against`."""

    format: str
    name: str
    make: Callable[[Path], Path]
    expected: Callable[[Path, Tensor], Array]
    against: str


def residual() -> Tensor:
    """Tokens [token, d] of very different lengths, with a mean that isn't 0."""
    source = torch.Generator().manual_seed(1)
    return torch.randn(150, D, generator=source) * torch.logspace(-1, 1, 150)[:, None] + 0.3


def _by_sae_lens(loader: str, repository: str, folder: str, factor: float | None, path: Path, x: Tensor) -> Array:
    """The activations by sae-lens, which finds `folder` of `repository` as if it had downloaded it.

    `path` is what the case made, some levels below the root. `factor` is one that sae-lens folds in afterwards.
    """
    from sae_lens.loading import pretrained_sae_loaders as loaders

    root = next(parent for parent in (path, *path.parents) if (parent / folder).exists())

    def downloaded(repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        found = root / (subfolder or "") / filename
        if not found.exists():
            from huggingface_hub.errors import EntryNotFoundError

            raise EntryNotFoundError(filename)
        return str(found)

    def shapes(_: str, filename: str) -> dict[str, list[int]]:
        return {name: list(tensor.shape) for name, tensor in load_file(root / filename).items()}

    overrides: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
    if loader.startswith(("gemma_2", "get_goodfire")):
        overrides |= {"d_in": D, "d_sae": WIDTH}
    if loader.startswith("qwen"):
        overrides |= {"d_in": D}
    with patch(f"{_LOADERS}.hf_hub_download", downloaded), patch(f"{_LOADERS}.get_safetensors_tensor_shapes", shapes):
        cfg, state, _ = getattr(loaders, loader)(repository, folder, device="cpu", cfg_overrides=overrides)
    cfg = loaders.handle_config_defaulting(cfg)
    cfg_class: Any = SAE.get_sae_config_class_for_architecture(cfg["architecture"])
    sae_cfg = cfg_class.from_dict(cfg)
    sae: Any = SAE.get_sae_class_for_architecture(sae_cfg.architecture())(sae_cfg)
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    if factor is not None:
        sae.fold_activation_norm_scaling_factor(factor)
    return _encoded(sae, x)


def _by_sae_lens_itself(path: Path, x: Tensor) -> Array:
    return _encoded(SAE.load_from_disk(path, dtype="float32"), x)


def _encoded(sae: Any, x: Tensor) -> Array:
    """The activations of sae-lens, which takes the heads of a token apart and joins them itself."""
    heads = getattr(sae.cfg, "reshape_activations", "none") == "hook_z"
    with torch.no_grad():
        return np.asarray(sae.encode(x.reshape(x.shape[0], 4, -1) if heads else x).numpy())


def _keep_largest(pre: Array, ranked: Array, k: int) -> Array:
    """ReLU of those `pre` whose `ranked` is among the k largest of its token."""
    least = np.sort(ranked, axis=1)[:, -k][:, None]
    return np.where(ranked >= least, np.maximum(pre, 0), 0)


def _sparsify(transcode: bool, path: Path, x: Tensor) -> Array:
    """sparsify's encode(): x - b_dec unless it transcodes, relu, top k."""
    w = load_file(path / "sae.safetensors")
    centred = x.numpy() - (0 if transcode else w["b_dec"])
    pre = np.maximum(centred @ w["encoder.weight"].T + w["encoder.bias"], 0)
    return _keep_largest(pre, pre, K)


def _openai(topk: bool, path: Path, x: Tensor) -> Array:
    """sparse_autoencoder's encode(): LN(x) if TopK, minus pre_bias, encoder, latent_bias, activation."""
    w = torch.load(path, weights_only=True)
    tokens = x.numpy()
    if topk:
        tokens = tokens - tokens.mean(axis=1, keepdims=True)
        tokens = tokens / (tokens.std(axis=1, ddof=1, keepdims=True) + 1e-5)
    pre = (tokens - w["pre_bias"].numpy()) @ w["encoder.weight"].numpy().T + w["latent_bias"].numpy()
    return _keep_largest(pre, pre, K) if topk else np.maximum(pre, 0)


def _lm_saes(act_fn: str, by_norm: bool, scale: str, norm: float, path: Path, x: Tensor) -> Array:
    """lm-saes's normalize_activations() and encode()."""
    w = load_file(path / "sae_weights.safetensors")
    old = "encoder.weight" in w
    w_enc, w_dec = (w["encoder.weight"].T, w["decoder.weight"].T) if old else (w["W_E"], w["W_D"])
    tokens = x.numpy()
    if scale == "dataset-wise":
        tokens = tokens * np.sqrt(D) / norm
    if scale == "token-wise":
        tokens = tokens * np.sqrt(D) / np.linalg.norm(tokens, axis=1, keepdims=True)
    pre = tokens @ w_enc + (w["encoder.bias"] if old else w["b_E"])
    rows = np.linalg.norm(w_dec, axis=1) if by_norm else np.ones(WIDTH, np.float32)
    seen = pre * rows
    if act_fn == "topk":
        kept = _keep_largest(seen, seen, K)
    elif act_fn == "jumprelu":
        kept = seen * (seen > np.exp(next(array for name, array in w.items() if "threshold" in name)))
    else:
        kept = np.maximum(seen, 0)
    return kept / rows


def _auto_encoder_new(path: Path, x: Tensor) -> Array:
    """dictionary_learning's AutoEncoderNew.encode(), which subtracts nothing."""
    w = torch.load(path / "ae.pt", weights_only=True)
    return np.maximum(x.numpy() @ w["encoder.weight"].numpy().T + w["encoder.bias"].numpy(), 0)


def _skip_transcoder(root: Path) -> Path:
    from sae_lens.saes import SkipTranscoder, SkipTranscoderConfig

    path = root / "transcoder"
    config: Any = SkipTranscoderConfig(d_in=D, d_sae=WIDTH, d_out=sae_files.D_OUT, apply_b_dec_to_input=False)
    sae: Any = SkipTranscoder(config)
    shapes = {name: tuple(weight.shape) for name, weight in sae.named_parameters()}
    with torch.no_grad():
        for name, array in numbers(**shapes).items():
            getattr(sae, name).copy_(torch.from_numpy(array))
    sae.save_model(path)
    return path


def _saelens(architecture: str, **cfg: Any) -> Callable[[Path], Path]:
    return lambda root: save_sae(root / "sae", architecture, D, WIDTH, **cfg)


def _cases() -> list[ParityCase]:
    lens = partial(partial, _by_sae_lens)
    repo, wide = "google/gemma-scope-2b-pt", "layer_12/width_16k/average_l0_71"
    heads = _saelens("standard", reshape_activations="hook_z")
    found = [
        ParityCase("saelens", name, _saelens(name), _by_sae_lens_itself, SAE_LENS)
        for name in ("standard", "jumprelu", "gated", "topk", "batchtopk")
    ]
    found += [
        ParityCase("saelens", "skip_transcoder", _skip_transcoder, _by_sae_lens_itself, SAE_LENS),
        ParityCase("saelens", "hook_z", heads, _by_sae_lens_itself, SAE_LENS),
    ]
    for kind, prefix in (("res", "W_"), ("att", "w_"), ("mlp", "W_")):
        make = partial(sae_files.gemma_scope, kind=kind, prefix=prefix)
        expected = lens("gemma_2_sae_huggingface_loader", f"{repo}-{kind}", wide, None)
        found.append(ParityCase("gemma_scope", kind, make, expected, SAE_LENS))
    embedded = "embedding/width_16k"
    found.append(
        ParityCase(
            "gemma_scope",
            "embedding",
            partial(sae_files.gemma_scope, folder=embedded),
            lens("gemma_2_sae_huggingface_loader", f"{repo}-res", f"{embedded}/average_l0_71", None),
            SAE_LENS,
        )
    )
    make = partial(sae_files.gemma_scope, kind="transcoders")
    expected = lens("gemma_2_transcoder_huggingface_loader", "google/gemma-scope-2b-pt-transcoders", wide, None)
    found.append(ParityCase("gemma_scope", "transcoder", make, _with_d_out(expected), SAE_LENS))
    for kind in ("resid_post", "attn_out", "mlp_out", "transcoder_affine"):
        folder = f"{kind}/layer_12_width_16k_l0_small"
        expected = lens("gemma_3_sae_huggingface_loader", "google/gemma-scope-2-1b-pt", folder, None)
        make = partial(sae_files.gemma_scope_2, kind=kind)
        found.append(ParityCase("gemma_scope_2", kind, make, expected, SAE_LENS))
    folder, factor = "Llama3_1-8B-Base-L15R-8x", float(np.sqrt(D) / 13.5)
    expected = lens("llama_scope_sae_huggingface_loader", "fnlp/Llama3_1-8B-Base-LXR-8x", folder, factor)
    found.append(ParityCase("llama_scope", "jumprelu", sae_files.llama_scope, expected, SAE_LENS))
    expected = lens(
        "qwen_scope_sae_huggingface_loader", f"Qwen/SAE-Res-Qwen3-8B-Base-W1K-L0_{K}", "layer12.sae.pt", None
    )
    found.append(ParityCase("qwen_scope", "topk", sae_files.qwen_scope, expected, SAE_LENS))
    name = "Llama-3.1-8B-Instruct-SAE-l19.pth"
    expected = lens("get_goodfire_huggingface_loader", "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", name, None)
    found.append(ParityCase("goodfire", "relu", sae_files.goodfire, expected, SAE_LENS))
    for name in sae_files.DICTIONARY_CLASSES:
        make = partial(sae_files.dictionary_learning, dict_class=name)
        if name == "AutoEncoderNew":
            found.append(ParityCase("dictionary_learning", name, make, _auto_encoder_new, FORMULA))
            continue
        expected = lens("dictionary_learning_sae_huggingface_loader_1", "canrager/lm_sae", "trainer_0", None)
        found.append(ParityCase("dictionary_learning", name, make, expected, SAE_LENS))
    for transcode in (False, True):
        hook, name = ("layers.12.mlp", "skip transcoder") if transcode else ("layers.12", "topk")
        make = partial(sae_files.sparsify, hook=hook, transcode=transcode, skip_connection=transcode)
        found.append(ParityCase("sparsify", name, make, partial(_sparsify, transcode), FORMULA))
    for topk in (True, False):
        make = partial(sae_files.openai, topk=topk)
        found.append(ParityCase("openai", "TopK" if topk else "ReLU", make, partial(_openai, topk), FORMULA))
    return found + _lm_saes_cases() + _compact_cases()


def _compact_cases() -> list[ParityCase]:
    """The compact layout gives what the SAE gave that it was converted from, here with rounded weights or whole."""
    found = []
    for kind, dtype in (("jumprelu", "float32"), ("gated", "float32"), ("topk", "float16")):

        def make(root: Path, kind: str = kind, dtype: Any = dtype) -> Path:
            source = save_sae(root / "sae", kind, D, WIDTH, dtype=dtype)
            return convert(source, root / "compact", None, dtype, decoder=True).folder

        def expected(path: Path, x: Tensor) -> Array:
            return _by_sae_lens_itself(path.parent / "sae", x)

        found.append(ParityCase("compact", f"{kind} in {dtype}", make, expected, SAE_LENS))
    return found


def _lm_saes_cases() -> list[ParityCase]:
    found = []
    for act_fn, by_norm, scale, old in (
        ("relu", True, "inference", False),
        ("topk", True, "inference", False),
        ("topk", False, "token-wise", False),
        ("jumprelu", True, "inference", False),
        ("jumprelu", True, "dataset-wise", True),
        ("topk", True, "dataset-wise", False),
    ):
        norm = 13.5
        make = partial(
            sae_files.lm_saes,
            norm=norm if scale == "dataset-wise" else None,
            old=old,
            act_fn=act_fn,
            sparsity_include_decoder_norm=by_norm,
            norm_activation=scale,
        )
        name = f"{act_fn}, {scale}{', by decoder norm' if by_norm else ''}"
        found.append(ParityCase("lm_saes", name, make, partial(_lm_saes, act_fn, by_norm, scale, norm), FORMULA))
    return found


def _with_d_out(expected: Callable[[Path, Tensor], Array]) -> Callable[[Path, Tensor], Array]:
    """sae-lens takes the widths of transcoders from a table of models, which made files don't have."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def run(path: Path, x: Tensor) -> Array:
        original = loaders.get_gemma_2_transcoder_config_from_hf

        def config(*args: Any, **kwargs: Any) -> dict[str, Any]:
            return {**original(*args, **kwargs), "d_in": D, "d_out": sae_files.D_OUT, "d_sae": WIDTH}

        with patch(f"{_LOADERS}.get_gemma_2_transcoder_config_from_hf", config):
            return expected(path, x)

    return run


CASES = tuple(_cases())

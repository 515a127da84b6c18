"""The layout of Qwen-Scope: layerN.sae.pt for each layer, in a folder named SAE-Res-MODEL-WwidthK-L0_k.

Source: SAELens 6.54 (`qwen_scope_sae_huggingface_loader`).
"""

from __future__ import annotations

import re
from pathlib import Path

from monitor.errors import ConfigError
from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.tensor_file import TensorFile, open_torch
from monitor.sae.formats.weights_file import weights_file
from monitor.sae.hook_point import HookPoint
from monitor.sae.origin import SaeOrigin
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import SaeWeights

_WEIGHTS = "layer*.sae.pt"
_REPOSITORY = re.compile(r"SAE-Res-(.+?)-W(\d+)K-L0_(\d+)")
_LAYER = re.compile(r"^layer(\d+)\.sae\.pt$")


def load(path: Path) -> SaeWeights:
    """The SAE in the file `path`. Raises ConfigError for what would be read wrongly."""
    file = weights_file(path, _WEIGHTS)
    tensors = TensorFile(file, open_torch(file), "Qwen-Scope")
    s, d = tensors.shape("W_enc")
    # the repository as it was cloned, or as the hub's cache keeps it
    repository = _REPOSITORY.search(str(file.absolute()))
    if repository is None:
        raise ConfigError(
            f"{file}: k is only in the name of its repository; put the file into a folder with that name, such as "
            "SAE-Res-Qwen3-8B-Base-W64K-L0_50"
        )
    model, width, k = repository.group(1), int(repository.group(2)) * 1024, int(repository.group(3))
    if width != s or not 0 < k <= s:
        raise ConfigError(
            f"{file}: the folder {repository.group(0)} is for {width} latents, {k} of them active, but the file has {s}"
        )
    layer = _LAYER.match(file.name)
    w_dec = tensors.take("W_dec", (d, s), transposed=True)
    sae = SaeWeights(
        architecture="topk",
        w_enc=tensors.take("W_enc", (s, d), transposed=True),
        b_enc=tensors.take("b_enc", (s,)),
        b_dec=tensors.take("b_dec", (d,)),
        subtract_b_dec=False,
        k=k,
        decoder_norm=decoder_norm(w_dec),
        w_dec=w_dec,
        origin=SaeOrigin(
            format="qwen_scope",
            architecture="topk",
            model=f"Qwen/{model}",
            hook_name=file.name,
            hook=None if layer is None else HookPoint("resid_post", int(layer.group(1))),
        ),
    )
    tensors.check()
    return sae


def _recognises(path: Path) -> bool:
    return any(_LAYER.match(file.name) for file in ([path] if path.is_file() else path.glob(_WEIGHTS)))


QWEN_SCOPE = SaeFormat((_WEIGHTS,), load, _recognises)

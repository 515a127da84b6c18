"""The layout of Goodfire's SAEs: one .pt or .pth file, named MODEL-SAE-lLAYER.

Source: SAELens 6.54 (`get_goodfire_huggingface_loader`).
"""

from __future__ import annotations

import re
from pathlib import Path

from monitor.sae.formats.decoder_norm import decoder_norm
from monitor.sae.formats.tensor_file import TensorFile, open_torch
from monitor.sae.formats.weights_file import weights_file
from monitor.sae.hook_point import HookPoint
from monitor.sae.origin import SaeOrigin
from monitor.sae.sae_format import SaeFormat
from monitor.sae.weights import SaeWeights

_WEIGHTS = "*.pt*"
_NAME = re.compile(r"^(.+)-SAE-l(\d+)\.pth?$")


def load(path: Path) -> SaeWeights:
    """The SAE at `path`. Raises ConfigError for what would be read wrongly."""
    file = weights_file(path, _WEIGHTS)
    tensors = TensorFile(file, open_torch(file), "Goodfire")
    s, d = tensors.shape("encoder_linear.weight")
    named = _NAME.match(file.name)
    w_dec = tensors.take("decoder_linear.weight", (d, s), transposed=True)
    unknown = "its file isn't named MODEL-SAE-lLAYER, so nobody checks that it belongs to the model and layer"
    sae = SaeWeights(
        architecture="relu",
        w_enc=tensors.take("encoder_linear.weight", (s, d), transposed=True),
        b_enc=tensors.take("encoder_linear.bias", (s,)),
        b_dec=tensors.take("decoder_linear.bias", (d,)),
        subtract_b_dec=False,
        decoder_norm=decoder_norm(w_dec),
        w_dec=w_dec,
        origin=SaeOrigin(
            format="goodfire",
            architecture="relu",
            model=named.group(1) if named else None,
            hook_name=file.name if named else None,
            hook=HookPoint("resid_post", int(named.group(2))) if named else None,
            notes=() if named else (unknown,),
        ),
    )
    tensors.check()
    return sae


def _recognises(path: Path) -> bool:
    file = weights_file(path, _WEIGHTS) if path.is_file() or len(list(path.glob(_WEIGHTS))) == 1 else path
    return file.suffix in (".pt", ".pth") and file.is_file() and "encoder_linear.weight" in open_torch(file)


GOODFIRE = SaeFormat((_WEIGHTS,), load, _recognises)

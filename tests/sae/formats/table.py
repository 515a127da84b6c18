"""Prints the table of docs/sae-formats.md: what of each format is read, what it is held against, what is refused.

python -m tests.sae.formats.table
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monitor.sae.encoder import CuratedEncoder
from monitor.sae.sae_format import SAE_FORMATS
from tests.sae.formats.parity import CASES, ParityCase, residual
from tests.sae.formats.refusals import REFUSALS
from tests.sae.formats.test_saelens import REFUSALS as SAELENS_REFUSALS

LIMIT = 1e-5
DAMAGED = (
    "no_cfg", "no_weights", "cfg_is_not_json", "cfg_is_a_list", "weights_are_cut_off", "weights_are_a_pickle",
    "width_missing", "width_is_text", "wrong_shape", "not_finite", "infinite_decoder", "tensor_missing",
)  # fmt: skip
"""Faults that say nothing of what the format can hold."""
HEADER = (
    "| `format:` | Files | Read | Held against | Difference | Refused |",
    "|---|---|---|---|---|---|",
)


def rows(measured: bool) -> Iterator[str]:
    """A row for each format; unless `measured`, the differences are taken to be what the tests demand."""
    for name in SAE_FORMATS.built_in:
        cases = [case for case in CASES if case.format == name]
        layout = SAE_FORMATS.load(name)
        optional = [f"`{file}` (optional)" for file in layout.optional_files]
        files = ", ".join([f"`{file}`" for file in layout.weights_files] + optional)
        worst = max((difference(case) for case in cases), default=0.0) if measured else 0.0
        shown = f"< {LIMIT:.0e}" if worst < LIMIT else f"{worst:.1e}"
        refused = [refusal.name for refusal in REFUSALS if refusal.format == name]
        if name == "saelens":
            faults = [fault.__name__ for fault in SAELENS_REFUSALS]
            refused = [fault.replace("_", " ") for fault in faults if fault not in DAMAGED]
        against = ", ".join(dict.fromkeys(case.against for case in cases))
        read = "; ".join(case.name for case in cases)
        yield f"| `{name}` | {files} | {read} | {against} | {shown} | {'; '.join(refused)} |"


def difference(case: ParityCase) -> float:
    """The largest difference of any activation, as a share of the largest activation."""
    with tempfile.TemporaryDirectory() as folder:
        path, x = case.make(Path(folder)), residual()
        sae = SAE_FORMATS.load(case.format).load(path)
        theirs = case.expected(path, x)
    ours = CuratedEncoder(sae, range(sae.d_sae))(x).numpy()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


if __name__ == "__main__":
    sys.stdout.write("\n".join([*HEADER, *rows(measured=True)]) + "\n")

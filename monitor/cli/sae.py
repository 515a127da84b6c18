"""The commands `latentwatch sae inspect` and `sae convert`: what an SAE is, and a smaller copy of it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.exit_code import ExitCode
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.sae.weights import SaeWeights

sae_app = typer.Typer(help="Inspect a sparse autoencoder in any known format, or make a smaller copy of it.")

PathArgument = Annotated[
    Path, typer.Argument(help="Folder of the SAE, or its file if one folder holds many.", show_default=False)
]


class StoredPrecision(StrEnum):
    """Number formats of weights on disk."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


@sae_app.command()
def inspect(
    path: PathArgument,
    model: Annotated[
        str | None, typer.Option(help="Also measure it on this model; as reader.model in the config.")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option(help="With --model: texts, as `lab collect` takes them; repeatable.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="With --model: the block, if the SAE's files don't say.", min=0)
    ] = None,
    tokens: Annotated[int, typer.Option(help="With --model: most tokens to measure on.", min=16)] = 8_192,
    context: Annotated[int, typer.Option(help="With --model: tokens read together.", min=16)] = 256,
    max_norm: Annotated[
        float, typer.Option(help="With --model: skip tokens with a longer residual; 0 keeps all.", min=0)
    ] = 0.0,
    device: Annotated[str, typer.Option(help="With --model: torch device.")] = "cpu",
) -> None:
    """Say what an SAE is and where it belongs; with a model, measure whether it does.

    Prints format, architecture, hook point, widths, what it was trained on, and the lines for reader.yaml. With --model
    and --texts: FVU, L0, latents never active, loss recovered. Exits with code 1 if these say that the SAE does not
    belong to the model or layer.
    """
    if bool(texts) != (model is not None):
        raise ConfigError("--model and --texts: give both to measure the SAE, or neither")
    from monitor.sae.sae_format import SAE_FORMATS, detected_format

    name = detected_format(path)
    sae_format = SAE_FORMATS.load(name)
    sae = sae_format.load(path)
    _print(_described(name, sae))
    _print(_reader_lines(name, path, sae_format.sha256(path), sae))
    if model is not None and not _measured(path, sae, model, texts or [], layer, tokens, context, max_norm, device):
        raise typer.Exit(ExitCode.FAILED)


@sae_app.command()
def convert(
    path: PathArgument,
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist.")],
    latents: Annotated[
        str | None, typer.Option(help="Keep only these, separated by commas; default: all.", show_default=False)
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(help="Keep only the latents of these feature sets (as feature_sets.paths); repeatable."),
    ] = None,
    dtype: Annotated[StoredPrecision, typer.Option(help="Precision of encoder and decoder on disk.")] = (
        StoredPrecision.FLOAT16
    ),
    decoder: Annotated[
        bool, typer.Option("--decoder/--no-decoder", help="Keep the decoder rows, which the logit lens needs.")
    ] = True,
) -> None:
    """Write an SAE in latentwatch's own compact layout, with all latents or only those that sets use.

    A set that names it has its own hash of the SAE, and asks for `format: compact`; indices stay the same. A TopK SAE
    keeps all latents, because they decide together which are active.
    """
    from monitor.sae.formats.compact import convert as write

    wanted = _wanted(latents, sets or [])
    done = write(path, out, wanted, dtype.value, decoder)
    kept = f"{done.sae.rows:,} of {done.sae.d_sae:,} latents"
    _print(
        [
            f"{out}: {kept}, {done.bytes_after / 1e6:.1f} MB instead of {done.bytes_before / 1e6:.1f} MB",
            f"rounding changed the encoder by {done.rounding:.2g} of its length",
        ]
    )
    _print(_reader_lines("compact", out, done.sha256, done.sae))


def _wanted(latents: str | None, sets: list[str]) -> list[int] | None:
    """The latents that the options name; None if they name none."""
    if latents is None and not sets:
        return None
    try:
        found = {int(part) for part in (latents or "").split(",") if part.strip()}
    except ValueError:
        raise ConfigError(f"--latents: {latents}: expected whole numbers, separated by commas") from None
    if sets:
        from monitor.sets.load import load_feature_sets

        found |= {index for loaded in load_feature_sets(sets) for index in loaded.shipped.indices()}
    if not found:
        raise ConfigError("--latents: names no latent")
    return sorted(found)


def _described(name: str, sae: SaeWeights) -> list[str]:
    origin = sae.origin
    kind = sae.architecture if origin is None else origin.architecture
    k = f", k = {sae.k}" if sae.architecture == "topk" else ""
    norm = "" if sae.normalisation == "none" else f", input normalised by {sae.normalisation}"
    cut = f", {sae.rows:,} of them here" if sae.latents is not None else ""
    lines = [
        ("format", name),
        ("architecture", f"{kind} (read as {sae.architecture}{k}){', transcoder' if sae.transcoder else ''}{norm}"),
        ("widths", f"{sae.d_in:,} in, {sae.d_sae:,} latents{cut}"),
        ("b_dec", "subtracted from the input" if sae.subtract_b_dec else "not subtracted from the input"),
    ]
    if sae.decoder_norm is not None:
        low, high = float(sae.decoder_norm.min()), float(sae.decoder_norm.max())
        lines.append(("decoder rows", f"length {low:.4g} to {high:.4g}"))
    if origin is not None:
        hook = origin.hook
        where = "its files don't say" if hook is None else f"{hook} ({origin.hook_name})"
        if hook is not None and hook.read_as != hook:
            where += f", taken as {hook.read_as}"
        if hook is None and origin.hook_name is not None:
            where = f"{origin.hook_name}, which readers don't know"
        lines += [("hook point", where), ("model", origin.model or "its files don't say")]
        if origin.centred:
            lines.append(("model weights", "centred for training; readers read the model as it is"))
        if origin.trained_on is not None:
            lines.append(("trained on", origin.trained_on))
        if origin.l0 is not None:
            lines.append(("published L0", f"{origin.l0:g}"))
        lines += [("note", note) for note in origin.notes]
    return [f"{key:<15}{value}" for key, value in lines]


def _reader_lines(name: str, path: Path, sha256: str, sae: SaeWeights) -> list[str]:
    values = f"format: {name}, path: {path}, sha256: {sha256}, width: {sae.d_sae}, activation_basis: raw"
    return ["", "for reader.yaml:", f"sae: {{{values}}}"]


def _measured(
    path: Path,
    sae: SaeWeights,
    model: str,
    texts: list[str],
    layer: int | None,
    tokens: int,
    context: int,
    max_norm: float,
    device: str,
) -> bool:
    """Prints the figures and the verdict; whether the SAE fits."""
    from monitor.lab.commands.extra import lab_extra

    with lab_extra():
        from monitor.lab.sae_training.row_stream import TextOptions
        from monitor.lab.sae_training.sae_figures import WholeSae
        from monitor.lab.sae_training.sae_fit import better_block, fvu_by_block, measured_layer, misfits
        from monitor.lab.sae_training.sae_run import Compute, StreamRequest, measured, open_stream

    at = measured_layer(path, sae, layer)
    request = StreamRequest(
        sources=tuple(texts),
        model=model,
        text=TextOptions(context, False, tokens, 0.0, 0),
        precision="float32",
        max_norm=max_norm or None,
    )
    compute = Compute(device, held_out_tokens=tokens, ce_tokens=tokens // 2)
    source, files = open_stream(request, at, compute)
    if source.d_model != sae.d_in:
        widths = f"it reads width {sae.d_in}, but the model has {source.d_model}"
        _print([f"verdict: this SAE does not belong to this model: {widths}"])
        return False
    figures = measured(path, source, "train", files, compute)
    _print(["", *_figures(figures, at)])
    by_block = fvu_by_block(WholeSae(path, device), source.rows("train"), files, at, device, max_norm or None)
    _print([f"{'FVU by block':<15}{', '.join(f'{block}: {fvu:.3f}' for block, fvu in by_block.items())}"])
    elsewhere = better_block(at, by_block)
    wrong = misfits(sae, figures) + ([] if elsewhere is None else [elsewhere])
    if wrong:
        _print([f"verdict: this SAE does not belong to this model or layer: {'; '.join(wrong)}"])
    else:
        _print(["verdict: the figures are those of an SAE that belongs to this model and layer"])
    return not wrong


def _figures(figures: dict[str, Any], layer: int) -> list[str]:
    lines = [("measured at", f"block {layer}, {figures['tokens']:,} tokens")]
    if figures["fvu"] is not None:
        lines.append(("FVU", f"{figures['fvu']:.3f} of the variance is unexplained"))
        lines.append(("L0", f"{figures['l0']:.1f} active latents a token"))
        lines.append(("never active", f"{figures['never_active_share']:.1%} of the latents"))
    recovered = figures.get("spliced", {}).get("ce_recovered")
    if recovered is not None:
        lines.append(("loss recovered", f"{recovered:.1%}"))
    return [f"{key:<15}{value}" for key, value in lines]


def _print(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))

"""``medfusion import-weights``: checkpoints of the papers' authors into our weight files."""

from __future__ import annotations

from pathlib import Path

import typer

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import refuse_collisions, refuse_unwritable_file

app = typer.Typer(
    help="Turn a checkpoint of a paper's authors into a MedFusion weight file.",
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Turn a checkpoint of a paper's authors into a MedFusion weight file."""


@app.command("asfe")
def import_asfe(
    checkpoint: Path = typer.Argument(..., help="File of torch.save(network.state_dict(), FILE)."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
    widths: str = typer.Option("64,112,160,208,256", help="Widths of stem and four levels."),
    patch: int = typer.Option(16, min=1, help="Patch side of the spatial fusion, in pixels."),
    dim: int = typer.Option(256, min=1, help="Length of a patch token."),
    heads: int = typer.Option(8, min=1, help="Attention heads."),
) -> None:
    """Import a checkpoint of ASFE-Fusion; the defaults are the published widths."""
    from MedFusionLib.methods.asfe.author_weights import import_checkpoint

    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output, _numbers(widths), patch, dim, heads)
    _tell(output)


@app.command("dmfnet")
def import_dmfnet(
    unet: Path = typer.Option(..., help="Stage-I checkpoint, such as I630000_E14000_gen.pth."),
    head: Path = typer.Option(..., help="Stage-II checkpoint, such as MIF.pth."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
    time_steps: str = typer.Option("5,10,20", help="Noise steps the head was trained with."),
    norm_groups: int = typer.Option(32, min=1, help="Groups of the UNet's normalisations."),
) -> None:
    """Import both checkpoints of DM-FNet; widths and depth follow from the files."""
    from MedFusionLib.methods.dmfnet.import_checkpoints import import_checkpoints

    _refuse_unwritable(output, [unet, head])
    import_checkpoints(unet, head, output, _numbers(time_steps), norm_groups)
    _tell(output)


@app.command("cddfuse")
def import_cddfuse(
    checkpoint: Path = typer.Argument(..., help="The authors' file, such as CDDFuse_MIF.pth."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
    skip: str = typer.Option(
        "none",
        help="Added before the last sigmoid: none (medical weights), sum (of both sources, for "
        "infrared weights), or reference (as in training).",
    ),
) -> None:
    """Import a checkpoint of CDDFuse; widths, depths and heads follow from the file."""
    from MedFusionLib.methods.cddfuse.architecture import SKIPS
    from MedFusionLib.methods.cddfuse.author_weights import import_checkpoint

    if skip not in SKIPS:
        raise InputError(f"--skip is one of {', '.join(SKIPS)}, not '{skip}'.")
    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output, skip)
    _tell(output)


@app.command("emma")
def import_emma(
    checkpoint: Path = typer.Argument(..., help="The authors' file of the U-Fuser, EMMA.pth."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
) -> None:
    """Import a checkpoint of EMMA's fusion network; widths and heads follow from the file."""
    from MedFusionLib.methods.emma.author_weights import import_checkpoint

    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output)
    _tell(output)


@app.command("adafuse")
def import_adafuse(
    checkpoint: Path = typer.Argument(..., help="File of torch.save(network.state_dict(), FILE)."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
    heads: int = typer.Option(8, min=1, help="Attention heads."),
) -> None:
    """Import a checkpoint of AdaFuse, with one encoder or two; widths follow from the file."""
    from MedFusionLib.methods.adafuse.author_weights import import_checkpoint

    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output, heads)
    _tell(output)


@app.command("dfvo")
def import_dfvo(
    checkpoint: Path = typer.Argument(..., help="The authors' file, DFModel.pth."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
) -> None:
    """Import a checkpoint of DFVO, for training or for inference; widths follow from the file."""
    from MedFusionLib.methods.dfvo.author_weights import import_checkpoint

    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output)
    _tell(output)


@app.command("coconet")
def import_coconet(
    checkpoint: Path = typer.Argument(..., help="The authors' file, latest.pth."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
) -> None:
    """Import a checkpoint of CoCoNet, its encoder (VGG-19) with it."""
    from MedFusionLib.methods.coconet.author_weights import import_checkpoint

    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output)
    _tell(output)


@app.command("hinet")
def import_hinet(
    checkpoint: Path = typer.Argument(..., help="The authors' file of the generator."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
    inputs: str = typer.Option(..., help="The two sequences it takes, in order, such as T1,T2."),
    target: str = typer.Option(..., help="The sequence it makes: T1, T1c, T2, PD or FLAIR."),
) -> None:
    """Import a checkpoint of Hi-Net's generator; the width follows from the file."""
    from MedFusionLib.methods.hinet.author_weights import import_checkpoint

    first, comma, second = inputs.partition(",")
    if not comma or "," in second:
        raise InputError(f"'{inputs}' is not two sequences. Write them like T1,T2.")
    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output, (first.strip(), second.strip()), target)
    _tell(output, "medfusion synthesise --weights ")


@app.command("tfs-diff")
def import_tfs_diff(
    checkpoint: Path = typer.Argument(..., help="The authors' file, such as I…_E…_gen.pth."),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
    norm_groups: int = typer.Option(32, min=1, help="Groups of the UNet's normalisations."),
) -> None:
    """Import a checkpoint of TFS-Diff; widths and depth follow from the file."""
    from MedFusionLib.methods.tfs_diff.author_weights import import_checkpoint

    _refuse_unwritable(output, [checkpoint])
    import_checkpoint(checkpoint, output, norm_groups)
    _tell(output)


def _refuse_unwritable(output: Path, checkpoints: list[Path]) -> None:
    """Before anything is read."""
    refuse_unwritable_file(output)
    refuse_collisions({"--output": output}, checkpoints)


def _tell(output: Path, use: str = "--option weights=") -> None:
    print(f"Wrote {output}. Use it with: {use}{output}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"'{text}' is no list of whole numbers. Write them like 64,112,160."
        ) from error

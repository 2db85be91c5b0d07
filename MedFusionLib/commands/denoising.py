"""``medfusion train dmfnet-denoising`` and ``dmfnet-samples``: what stage I has learned."""

from __future__ import annotations

from pathlib import Path

import typer

from MedFusionLib.outputs import refuse_collisions, refuse_unwritable_file

DATA = typer.Option(..., "--data", help="Folder with manifest.csv and the slice pairs.")
SEED = typer.Option(0, help="Seed of the noise.")
UNET = typer.Option(..., "--unet", help="weights.safetensors of stage I.")


def write_denoising_curve(
    data: Path = DATA,
    unet: Path = UNET,
    output: Path = typer.Option(..., "-o", "--output", help="Table to write: .csv or .json."),
    split: str = typer.Option("dev", help="Slices to denoise: dev or train."),
    every: int = typer.Option(1, min=1, help="Use every n-th pair."),
    seed: int = SEED,
) -> None:
    """DM-FNet: error of the predicted clean slices against the noise level."""
    from MedFusionLib.training.dmfnet_denoising import write_curve

    refuse_unwritable_file(output)
    refuse_collisions({"--output": output}, [data / "manifest.csv", unet])
    write_curve(data, unet, output, split, every, seed)
    print(f"Wrote {output}")


def write_samples(
    unet: Path = UNET,
    output: Path = typer.Option(..., "-o", "--output", help="PNG to write, images side by side."),
    count: int = typer.Option(4, min=1),
    side: int = typer.Option(128, help="Pixels, a multiple of the stride."),
    steps: int = typer.Option(100, min=1, help="Deterministic steps from noise to image."),
    seed: int = SEED,
) -> None:
    """DM-FNet: draw new images from pure noise with the UNet of stage I."""
    from MedFusionLib.training.dmfnet_denoising import write_sample_sheet

    refuse_unwritable_file(output)
    refuse_collisions({"--output": output}, [unet])
    write_sample_sheet(unet, output, count, side, steps, seed)
    print(f"Wrote {output}")

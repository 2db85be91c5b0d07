"""``medfusion train``: one subcommand per learned method."""

from __future__ import annotations

from pathlib import Path

import typer

from MedFusionLib.commands import train_dmfnet

app = typer.Typer(help="Train a learned method.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Train a learned method. Needs the extra: pip install 'medfusion[train]'."""


@app.command("asfe")
def train_asfe(
    data: Path = typer.Option(..., "--data", help="Folder with manifest.csv and the slice pairs."),
    output: Path = typer.Option(..., "-o", "--output", help="Folder of the run."),
    preset: str = typer.Option("compact", help="Widths of the network: compact or paper."),
    loss: str = typer.Option("faithful", help="faithful, or paper for the paper's own loss."),
    sets: list[str] = typer.Option([], "--set", help="Train on this set only; may be repeated."),
    seed: int = typer.Option(0, help="Seed of weights, order and augmentation."),
    epochs: int = typer.Option(40, min=1),
    steps: int = typer.Option(100, min=1, help="Optimiser steps per epoch."),
    batch_size: int = typer.Option(4, min=1),
    crop: int = typer.Option(128, help="Side of the training squares, a multiple of the stride."),
    learning_rate: float = typer.Option(2e-3),
    patience: int = typer.Option(15, help="Epochs without a better dev score before stopping."),
    dev_every: int = typer.Option(1, min=1, help="Validate on every n-th dev pair."),
    accelerator: str = typer.Option("auto", help="Lightning's accelerator: auto, cpu, gpu, ..."),
    devices: str = typer.Option("auto", help="Lightning's devices: auto, a count, or a list."),
    num_nodes: int = typer.Option(1, min=1),
    precision: str = typer.Option("32-true", help="Lightning's precision, such as bf16-mixed."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint."),
) -> None:
    """Train ASFE-Fusion on the 'train' pairs and choose the best epoch on the 'dev' pairs."""
    from MedFusionLib.training.asfe_run import Hardware, RunSettings, train

    settings = RunSettings(
        data=str(data),
        preset=preset,
        loss=loss,
        sets=tuple(sets),
        seed=seed,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        crop=crop,
        learning_rate=learning_rate,
        patience=patience,
        every_nth_dev_pair=dev_every,
    )
    weights = train(settings, output, Hardware(accelerator, devices, num_nodes, precision), resume)
    print(f"Wrote {weights}")


app.command("dmfnet-stage1")(train_dmfnet.train_stage_one)
app.command("dmfnet-stage2")(train_dmfnet.train_stage_two)
app.command("dmfnet-denoising")(train_dmfnet.write_denoising_curve)
app.command("dmfnet-samples")(train_dmfnet.write_samples)

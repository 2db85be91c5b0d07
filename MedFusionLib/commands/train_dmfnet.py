"""``medfusion train dmfnet-…``: both stages, the denoising curve and sampled images."""

from __future__ import annotations

from pathlib import Path

import typer

DATA = typer.Option(..., "--data", help="Folder with manifest.csv and the slice pairs.")
FOLDER = typer.Option(..., "-o", "--output", help="Folder of the run.")
PRESET = typer.Option("compact", help="Widths of the networks: compact or paper.")
SEED = typer.Option(0, help="Seed of weights, order, augmentation and noise.")
EPOCHS = typer.Option(40, min=1)
STEPS = typer.Option(100, min=1, help="Optimiser steps per epoch.")
BATCH_SIZE = typer.Option(8, min=1, help="Pairs per step.")
CROP = typer.Option(96, help="Side of the training squares, a multiple of the stride.")
LEARNING_RATE = typer.Option(1e-3, help="The highest learning rate.")
RATE = typer.Option("cosine", help="Learning rate over the run: constant or cosine.")
DEV_EVERY = typer.Option(1, min=1, help="Validate on every n-th dev pair.")
ACCELERATOR = typer.Option("auto", help="Lightning's accelerator: auto, cpu, gpu, ...")
DEVICES = typer.Option("auto", help="Lightning's devices: auto, a count, or a list.")
NUM_NODES = typer.Option(1, min=1)
PRECISION = typer.Option("32-true", help="Lightning's precision, such as bf16-mixed.")
RESUME = typer.Option(False, "--resume", help="Go on from the last checkpoint.")
START_FROM = typer.Option(None, "--start-from", help="Weights of an earlier run to begin with.")
UNET = typer.Option(..., "--unet", help="weights.safetensors of stage I.")


def train_stage_one(
    data: Path = DATA,
    output: Path = FOLDER,
    preset: str = PRESET,
    seed: int = SEED,
    epochs: int = EPOCHS,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    crop: int = CROP,
    learning_rate: float = LEARNING_RATE,
    rate: str = RATE,
    dev_every: int = DEV_EVERY,
    start_from: Path | None = START_FROM,
    accelerator: str = ACCELERATOR,
    devices: str = DEVICES,
    num_nodes: int = NUM_NODES,
    precision: str = PRECISION,
    resume: bool = RESUME,
) -> None:
    """DM-FNet, stage I: train the denoising UNet on all single images of 'train'."""
    from MedFusionLib.training.dmfnet_run import Hardware, StageSettings, train_denoiser

    settings = StageSettings(
        data=str(data),
        preset=preset,
        seed=seed,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        crop=crop,
        learning_rate=learning_rate,
        rate=rate,
        every_nth_dev_pair=dev_every,
        start_from=str(start_from or ""),
    )
    hardware = Hardware(accelerator, devices, num_nodes, precision)
    print(f"Wrote {train_denoiser(settings, output, hardware, resume)}")


def train_stage_two(
    data: Path = DATA,
    unet: Path = UNET,
    output: Path = FOLDER,
    preset: str = PRESET,
    loss: str = typer.Option("faithful", help="faithful, or paper for the paper's own loss."),
    seed: int = SEED,
    epochs: int = EPOCHS,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    crop: int = CROP,
    learning_rate: float = LEARNING_RATE,
    rate: str = RATE,
    dev_every: int = DEV_EVERY,
    start_from: Path | None = START_FROM,
    accelerator: str = ACCELERATOR,
    devices: str = DEVICES,
    num_nodes: int = NUM_NODES,
    precision: str = PRECISION,
    resume: bool = RESUME,
) -> None:
    """DM-FNet, stage II: train the fusion head on the frozen UNet of stage I."""
    from MedFusionLib.training.dmfnet_run import FusionSettings, Hardware, train_fusion

    settings = FusionSettings(
        data=str(data),
        unet=str(unet),
        preset=preset,
        loss=loss,
        seed=seed,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        crop=crop,
        learning_rate=learning_rate,
        rate=rate,
        every_nth_dev_pair=dev_every,
        start_from=str(start_from or ""),
    )
    hardware = Hardware(accelerator, devices, num_nodes, precision)
    print(f"Wrote {train_fusion(settings, output, hardware, resume)}")


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

    write_sample_sheet(unet, output, count, side, steps, seed)
    print(f"Wrote {output}")

"""What training runs are made of; the command line shows these fields as its options.

Nothing heavy is imported here, so that ``medfusion --help`` costs nothing.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Any


def setting(default: Any, text: str, flag: str = "", least: float | None = None) -> Any:
    """A dataclass field that is also an option of the command line.

    ``flag`` is the option's name where it is not the field's, ``least`` the smallest value.
    """
    return field(default=default, metadata={"help": text, "flag": flag, "min": least})


SENSING = "For --loss equivariant: weights.safetensors of 'medfusion train emma-sensing'."
LEGIBILITY = "Weight of what a reader must see (lesions, bone) beside the fusion scores' terms."


@dataclass(frozen=True, kw_only=True)
class CommonSettings:
    """What every run is made of; all of it is written to ``settings.json`` in the run's folder."""

    seed: int = setting(0, "Seed of weights, order, augmentation and noise.")
    epochs: int = setting(40, "The dev score is taken after each epoch.", least=1)
    steps: int = setting(100, "Optimiser steps per epoch.", least=1)
    batch_size: int = setting(4, "Samples per step.", least=1)
    crop: int = setting(128, "Side of the training squares, a multiple of the stride.", least=1)
    learning_rate: float = setting(1e-3, "The highest learning rate of the run.")
    averaging: float = setting(0.995, "Decay per step of the weights' moving average.")
    patience: int = setting(15, "Epochs without a better dev score before the run stops.")


@dataclass(frozen=True, kw_only=True)
class RunSettings(CommonSettings):
    """Additionally for a run on the slice pairs of ``training.data``."""

    data: str = setting(MISSING, "Folder with manifest.csv and the slice pairs.")
    sets: tuple[str, ...] = setting((), "Use this set only; may be repeated.", "--set")
    every_nth_dev_pair: int = setting(1, "Validate on every n-th dev pair.", "--dev-every", 1)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Lightning's own names for where and how a run computes."""

    accelerator: str = setting("auto", "Lightning's accelerator: auto, cpu, gpu, ...")
    devices: str = setting("auto", "Lightning's devices: auto, a count, or a list.")
    num_nodes: int = setting(1, "Machines that train together.", least=1)
    precision: str = setting("32-true", "Lightning's precision, such as bf16-mixed.")


@dataclass(frozen=True, kw_only=True)
class PresetSettings(RunSettings):
    """Additionally for a network of several sizes, which may go on from other weights."""

    preset: str = setting("compact", "Widths of the networks: compact or paper.")
    start_from: str = setting("", "Weight file of an earlier run to begin with.")


@dataclass(frozen=True, kw_only=True)
class ASFESettings(PresetSettings):
    """Additionally for ASFE-Fusion: the loss, and a higher learning rate."""

    learning_rate: float = setting(2e-3, "The highest learning rate of the run.")
    loss: str = setting("legible", "legible, paper for the paper's own, or equivariant (EMMA's).")
    legibility: float = setting(1.0, LEGIBILITY)
    sensing: str = setting("", SENSING)


@dataclass(frozen=True, kw_only=True)
class StageSettings(PresetSettings):
    """Additionally for DM-FNet: the curve of the learning rate; and smaller squares."""

    crop: int = setting(96, "Side of the training squares, a multiple of the stride.", least=1)
    rate: str = setting("cosine", "Learning rate over the run: constant or cosine.")


@dataclass(frozen=True, kw_only=True)
class FusionSettings(StageSettings):
    """Additionally for stage II: the frozen UNet's file and the loss."""

    unet: str = setting(MISSING, "weights.safetensors of stage I.")
    loss: str = setting("legible", "legible, or paper for the paper's own loss.")
    legibility: float = setting(1.0, LEGIBILITY)


@dataclass(frozen=True, kw_only=True)
class LiveSettings(RunSettings):
    """Additionally for the live method: weights to begin with, the loss, a higher rate."""

    learning_rate: float = setting(3e-3, "The highest learning rate of the run.")
    start_from: str = setting("", "Weight file of an earlier run to begin with.")
    loss: str = setting("legible", "legible, or equivariant (EMMA's).")
    legibility: float = setting(1.0, LEGIBILITY)
    sensing: str = setting("", SENSING)


@dataclass(frozen=True, kw_only=True)
class TwoPhaseSettings(PresetSettings):
    """Additionally for a run in two phases: the share of the first, the curve of the rate."""

    crop: int = setting(96, "Side of the training squares, a multiple of the stride.", least=1)
    first_phase: float = setting(0.33, "Share of the epochs that rebuild each source.", least=0)
    rate: str = setting("cosine", "Learning rate over the run: constant, cosine or halving.")
    legibility: float = setting(1.0, LEGIBILITY)


@dataclass(frozen=True, kw_only=True)
class CoCoNetSettings(PresetSettings):
    """Additionally for CoCoNet: the shares of its first and last stage, and the loss."""

    crop: int = setting(96, "Side of the training squares, a multiple of the stride.", least=1)
    encoder_share: float = setting(0.15, "Share of the epochs that train the encoder.", least=0)
    contrast_share: float = setting(0.06, "Share of the epochs with the contrast.", least=0)
    loss: str = setting("paper", "paper, or legible for what a reader must see beside it.")
    legibility: float = setting(1.0, LEGIBILITY)


@dataclass(frozen=True, kw_only=True)
class CDDFuseSettings(TwoPhaseSettings):
    """Additionally for CDDFuse: the loss."""

    loss: str = setting("paper", "paper, or legible for what a reader must see beside it.")


@dataclass(frozen=True, kw_only=True)
class WaveletSettings(TwoPhaseSettings):
    """Additionally for the wavelet autoencoder: the loss; its sizes are our own."""

    preset: str = setting("compact", "Widths of the network: compact or full.")
    loss: str = setting("legible", "selective, or legible for what a reader must see beside it.")


@dataclass(frozen=True, kw_only=True)
class SensingSettings(RunSettings):
    """Additionally for EMMA's sensing networks: their size, and what fuses the slices they see."""

    preset: str = setting("compact", "Widths of the networks: compact or paper.")
    crop: int = setting(128, "Side of the squares, a multiple of 16 and of the methods'.", least=1)
    methods: tuple[str, ...] = setting(
        ("average", "maximum", "pyramid", "guided-filter", "additive", "live", "asfe"),
        "Fuses some of the slices; may be repeated.",
        "--method",
    )


@dataclass(frozen=True, kw_only=True)
class EMMASettings(PresetSettings):
    """Additionally for EMMA's fusion network: the sensing networks, the loss, the moved copies."""

    sensing: str = setting(MISSING, "weights.safetensors of 'medfusion train emma-sensing'.")
    learning_rate: float = setting(5e-4, "The highest learning rate of the run.")
    crop: int = setting(96, "Side of the training squares, a multiple of the stride.", least=1)
    batch_size: int = setting(2, "Pairs per step.", least=1)
    copies: int = setting(1, "Moved copies of each slice and kind of movement, up to 3.", least=1)
    loss: str = setting(
        "legible",
        "equivariant, paper (the same, and the corners count that turns leave black), or legible.",
    )
    legibility: float = setting(0.05, "With --loss legible: " + LEGIBILITY)


@dataclass(frozen=True, kw_only=True)
class FinerSettings(CommonSettings):
    """Additionally for the network that refines slices: the volumes that are thinned, its size."""

    data: str = setting(MISSING, "Folder with the volumes.")
    volumes: tuple[str, ...] = setting((), "Thin volume to train on; may be repeated.", "--volume")
    dev_volumes: tuple[str, ...] = setting(
        (), "Thin volume that chooses the epoch; may be repeated.", "--dev-volume"
    )
    dev_slabs: int = setting(64, "Slabs of them that are looked at.", least=1)
    batch_size: int = setting(8, "Slabs per step.", least=1)
    crop: int = setting(64, "Side of the training squares, in pixels.", least=8)
    learning_rate: float = setting(2e-3, "The highest learning rate of the run.")
    rate: str = setting("cosine", "Learning rate over the run: constant, cosine or halving.")
    width: int = setting(24, "Channels of the network.", least=1)
    blocks: int = setting(4, "Residual blocks of the network.", least=0)
    start_from: str = setting("", "Weight file of an earlier run to begin with.")


@dataclass(frozen=True, kw_only=True)
class DFVOSettings(PresetSettings):
    """Additionally for DFVO: the curve of the rate, the loss, and a higher rate."""

    learning_rate: float = setting(2e-3, "The highest learning rate of the run.")
    rate: str = setting("cosine", "Learning rate over the run: constant, cosine or halving.")
    loss: str = setting(
        "legible", "legible, shading for the enhancement alone, or the paper's own."
    )
    legibility: float = setting(1.0, LEGIBILITY)


@dataclass(frozen=True, kw_only=True)
class HiNetSettings(CommonSettings):
    """Additionally for Hi-Net: the head from whose tissues the sequences are modelled."""

    data: str = setting(MISSING, "Folder with the three volumes of one head, on one grid.")
    target: str = setting("T2", "What is learnt from the two others: T1, PD or T2.")
    t1: str = setting("nilearn_icbm152_2009_t1.nii.gz", "T1 without the skull.")
    grey: str = setting("nilearn_icbm152_2009_gm.nii.gz", "Share of grey matter, 0 to 255.")
    white: str = setting("nilearn_icbm152_2009_wm.nii.gz", "Share of white matter, 0 to 255.")
    preset: str = setting("compact", "Width of the network: compact or paper.")
    rate: str = setting("cosine", "Learning rate over the run: constant, cosine or halving.")
    # Weights averaged over long do not go with what batch normalisation has gathered.
    averaging: float = setting(0.9, "Decay per step of the weights' moving average.")


@dataclass(frozen=True, kw_only=True)
class DC2Settings(PresetSettings):
    """Additionally for DC2Fusion: the list of volume pairs, the crop's depth, rate and loss."""

    pairs: str = setting(MISSING, "CSV of the volumes: pair_id, set, patient, split, mri, other.")
    batch_size: int = setting(1, "Pairs per step: 1, as volumes differ in size.", least=1)
    crop: int = setting(96, "Side of the training crops within slices, in voxels.", least=1)
    depth: int = setting(32, "Slices of the training crops.", least=1)
    rate: str = setting("cosine", "Learning rate over the run: constant, cosine or polynomial.")
    loss: str = setting("legible", "legible, or paper for the paper's own.")
    legibility: float = setting(1.0, LEGIBILITY)


@dataclass(frozen=True, kw_only=True)
class TFSDiffSettings(PresetSettings):
    """Additionally for TFS-Diff: what makes the wanted images, and what its sources lack."""

    rate: str = setting("cosine", "Learning rate over the run: constant, cosine or halving.")
    loss: str = setting("legible", "legible, or teacher for the teacher's images alone.")
    legibility: float = setting(1.0, LEGIBILITY)
    teacher: str = setting("asfe", "Method that makes the images that the network learns to draw.")
    absent_share: float = setting(0.3, "Share of slices whose third source is absent.", least=0)
    coarse_share: float = setting(0.2, "Share of slices with coarse sources.", least=0)

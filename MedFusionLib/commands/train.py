"""``medfusion train``: one subcommand per network, and what shows a denoiser's learning."""

from __future__ import annotations

import typer

from MedFusionLib.commands.denoising import write_denoising_curve, write_samples
from MedFusionLib.commands.training_command import training_command
from MedFusionLib.training.settings import (
    ASFESettings,
    CDDFuseSettings,
    CoCoNetSettings,
    DC2Settings,
    DFVOSettings,
    EMMASettings,
    FinerSettings,
    FusionSettings,
    HiNetSettings,
    LiveSettings,
    SensingSettings,
    StageSettings,
    TFSDiffSettings,
    WaveletSettings,
)

app = typer.Typer(help="Train a learned method.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Train a learned method. Needs the extra: pip install 'medfusion[train]'."""


app.command("asfe")(
    training_command(
        ASFESettings,
        "MedFusionLib.training.asfe_run",
        "train_asfe",
        "ASFE-Fusion: train on the 'train' pairs, choose the best epoch on the 'dev' pairs.",
    )
)
app.command("dmfnet-stage1")(
    training_command(
        StageSettings,
        "MedFusionLib.training.dmfnet_run",
        "train_denoiser",
        "DM-FNet, stage I: train the denoising UNet on all single images of 'train'.",
    )
)
app.command("dmfnet-stage2")(
    training_command(
        FusionSettings,
        "MedFusionLib.training.dmfnet_run",
        "train_fusion",
        "DM-FNet, stage II: train the fusion head on the frozen UNet of stage I.",
    )
)
app.command("live")(
    training_command(
        LiveSettings,
        "MedFusionLib.training.live_run",
        "train_live",
        "The live method: train the small network of the live preview.",
    )
)
app.command("dmfnet-denoising")(write_denoising_curve)
app.command("dmfnet-samples")(write_samples)
app.command("cddfuse")(
    training_command(
        CDDFuseSettings,
        "MedFusionLib.training.cddfuse_run",
        "train_cddfuse",
        "CDDFuse: both phases in one run, to rebuild each source and then to fuse them.",
    )
)
app.command("emma-sensing")(
    training_command(
        SensingSettings,
        "MedFusionLib.training.emma_run",
        "train_sensing",
        "EMMA, first: train the networks that lead from fused slices back to the sources.",
    )
)
app.command("emma")(
    training_command(
        EMMASettings,
        "MedFusionLib.training.emma_run",
        "train_emma",
        "EMMA: train the fusion network through its sensing networks.",
    )
)
app.command("adafuse")(
    training_command(
        ASFESettings,
        "MedFusionLib.training.asfe_run",
        "train_adafuse",
        "AdaFuse: train as asfe is; its authors published no loss of their own.",
    )
)
app.command("finer")(
    training_command(
        FinerSettings,
        "MedFusionLib.training.finer_run",
        "train_finer",
        "The network of --refinement network: train it to find slices left out of thin volumes.",
    )
)
app.command("dfvo")(
    training_command(
        DFVOSettings,
        "MedFusionLib.training.dfvo_run",
        "train_dfvo",
        "DFVO: fuse, and brighten what a made bias field darkened in the MR.",
    )
)
app.command("coconet")(
    training_command(
        CoCoNetSettings,
        "MedFusionLib.training.coconet_run",
        "train_coconet",
        "CoCoNet: its encoder, the main stage, and the contrast of target and background.",
    )
)
app.command("wavelet")(
    training_command(
        WaveletSettings,
        "MedFusionLib.training.wavelet_run",
        "train_wavelet",
        "The wavelet autoencoder: both stages in one run, to rebuild images and then to fuse them.",
    )
)
app.command("hinet")(
    training_command(
        HiNetSettings,
        "MedFusionLib.training.hinet_run",
        "train_hinet",
        "Hi-Net: one of T1, PD and T2 from the others, all modelled from one head's tissues.",
    )
)
app.command("dc2")(
    training_command(
        DC2Settings,
        "MedFusionLib.training.dc2_run",
        "train_dc2",
        "DC2Fusion: train on pairs of whole volumes.",
    )
)
app.command("tfs-diff")(
    training_command(
        TFSDiffSettings,
        "MedFusionLib.training.tfs_diff_run",
        "train_tfs_diff",
        "TFS-Diff: a diffusion of three sources learns to draw what another method makes of them.",
    )
)

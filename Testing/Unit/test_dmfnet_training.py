"""Training DM-FNet's two stages on made-up pairs, and judging the denoiser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

pytest.importorskip("lightning", reason="training needs the extra 'train'")

from MedFusionLib.errors import InputError
from MedFusionLib.methods.dmfnet import create
from MedFusionLib.methods.dmfnet.config import PRESETS
from MedFusionLib.methods.dmfnet.diffusion import (
    CleanImageTarget,
    Diffusion,
    NoiseTarget,
    make_schedule,
)
from MedFusionLib.methods.dmfnet.weights_file import read_unet, read_weights
from MedFusionLib.training.dmfnet_denoising import denoising_curve, sample_images, write_curve
from MedFusionLib.training.dmfnet_run import train_denoiser, train_fusion
from MedFusionLib.training.settings import FusionSettings, Hardware, StageSettings

ONE_CPU = Hardware(accelerator="cpu", devices="1")


@pytest.fixture(scope="module")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs of smooth random images with a manifest, half of them for training."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(5)
    rows = []
    for number in range(4):
        for name in ("mri", "other"):
            blocks = random.integers(0, 256, (16, 16), dtype=np.uint8)
            image = Image.fromarray(blocks).resize((64, 64), Image.Resampling.BICUBIC)
            image.save(folder / f"{number}_{name}.png")
        rows.append(
            {
                "pair_id": number,
                "set": "CT-MRI",
                "patient": f"p{number}",
                "slice": number,
                "split": "train" if number < 2 else "dev",
                "mri": f"{number}_mri.png",
                "other": f"{number}_other.png",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder


def stage_one(data: Path, epochs: int) -> StageSettings:
    return StageSettings(data=str(data), epochs=epochs, steps=2, batch_size=1, crop=32)


@pytest.fixture(scope="module")
def first_stage(pairs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage1")
    train_denoiser(stage_one(pairs_folder, epochs=1), folder, ONE_CPU)
    return folder


def test_both_stages_end_in_one_file_that_fuses_and_the_unet_stays_frozen(
    pairs_folder: Path, first_stage: Path, tmp_path: Path
) -> None:
    unet_file = first_stage / "weights.safetensors"
    settings = FusionSettings(
        data=str(pairs_folder),
        epochs=1,
        steps=2,
        batch_size=1,
        crop=64,
        unet=str(unet_file),
        loss="paper",
    )
    weights = train_fusion(settings, tmp_path / "stage2", ONE_CPU)

    unet, config = read_unet(unet_file)
    networks = read_weights(weights)
    assert config == PRESETS["compact"]
    for key, tensor in unet.state_dict().items():
        assert torch.equal(networks.unet.state_dict()[key], tensor)
    # The head began with an image convolution of zeros; training moved it.
    assert networks.head.image_convolution.weight.abs().max() > 0
    images = torch.rand(2, 1, 64, 64).split(1)
    fused = create(torch.device("cpu"), weights=weights).fuse(*images)
    assert torch.isfinite(fused).all()


def test_a_run_is_resumed_where_it_stopped_and_not_overwritten(
    pairs_folder: Path, first_stage: Path
) -> None:
    with pytest.raises(InputError, match="holds a run already"):
        train_denoiser(stage_one(pairs_folder, epochs=2), first_stage, ONE_CPU)

    before, _ = read_unet(first_stage / "weights.safetensors")
    train_denoiser(stage_one(pairs_folder, epochs=2), first_stage, ONE_CPU, resume=True)

    after = torch.load(first_stage / "checkpoints" / "last.ckpt", weights_only=True)
    assert after["global_step"] == 4
    resumed = after["state_dict"]["unet.stem.weight"]
    assert not torch.equal(resumed, before.stem.weight)
    assert json.loads((first_stage / "settings.json").read_text())["epochs"] == 2


def test_resuming_without_a_run_is_refused(pairs_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to resume"):
        train_denoiser(stage_one(pairs_folder, epochs=1), tmp_path, ONE_CPU, resume=True)


@pytest.mark.parametrize(
    ("field", "sentence"),
    [("preset", "no preset 'x'"), ("rate", "no learning rate curve 'x'")],
)
def test_unknown_choices_are_refused_by_name(
    pairs_folder: Path, tmp_path: Path, field: str, sentence: str
) -> None:
    settings = replace(stage_one(pairs_folder, epochs=1), **{field: "x"})
    with pytest.raises(InputError, match=sentence):
        train_denoiser(settings, tmp_path / "run", ONE_CPU)


class KnowsTheAnswer:
    """A denoiser that has seen the clean images: what perfect training would end in."""

    def __init__(self, clean: torch.Tensor) -> None:
        self.clean = clean

    def __call__(self, noisy: torch.Tensor, noise_level: torch.Tensor) -> torch.Tensor:
        return self.clean


class KnowsTheNoise(KnowsTheAnswer):
    """The same for a network that predicts the noise."""

    def __call__(self, noisy: torch.Tensor, noise_level: torch.Tensor) -> torch.Tensor:
        level = noise_level[..., None, None].double()
        return ((noisy.double() - level * self.clean) / (1 - level**2).sqrt()).float()


@pytest.fixture
def clean() -> torch.Tensor:
    return torch.rand((2, 1, 16, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_denoising_curve_is_zero_for_a_perfect_denoiser(clean: torch.Tensor) -> None:
    diffusion = Diffusion(KnowsTheAnswer(clean), make_schedule("cosine", 2000), CleanImageTarget())
    curve = denoising_curve(diffusion, [clean], (20, 1000), seed=0)
    assert curve["error"].tolist() == [0, 0]
    # Little noise of deviation σ at level γ leaves an error of (σ/γ)², less what is clipped.
    ratio = curve["noise_deviation"] / curve["noise_level"]
    assert curve["error_without_network"][0] == pytest.approx(ratio[0] ** 2, rel=0.1)
    assert curve["error_without_network"][1] > 0.1


@pytest.mark.parametrize(
    ("denoiser", "target"),
    [(KnowsTheAnswer, CleanImageTarget()), (KnowsTheNoise, NoiseTarget())],
    ids=["clean", "noise"],
)
def test_sampling_with_a_perfect_denoiser_ends_in_its_image(
    clean: torch.Tensor, denoiser: type[KnowsTheAnswer], target
) -> None:
    diffusion = Diffusion(denoiser(clean), make_schedule("cosine", 30), target)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(clean.shape, generator=generator)
    *_, ancestral = diffusion.ancestral_steps(noise, generator)
    *_, implicit = diffusion.ddim_steps(noise, 7)
    torch.testing.assert_close(ancestral, clean, atol=1e-3, rtol=0)
    torch.testing.assert_close(implicit, clean, atol=1e-3, rtol=0)


def test_samples_depend_on_the_seed_alone(first_stage: Path) -> None:
    unet, _ = read_unet(first_stage / "weights.safetensors")
    diffusion = Diffusion(unet.eval(), make_schedule("cosine", 2000), CleanImageTarget())
    images = [sample_images(diffusion, 2, 32, 3, seed) for seed in (1, 1, 2)]
    assert images[0].shape == (2, 32, 32)
    assert images[0].dtype == np.uint8
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_the_curve_of_a_trained_network_is_written_as_a_table(
    pairs_folder: Path, first_stage: Path, tmp_path: Path
) -> None:
    unet_file = first_stage / "weights.safetensors"
    write_curve(pairs_folder, unet_file, tmp_path / "curve.csv", "dev", 2, 0)
    write_curve(pairs_folder, unet_file, tmp_path / "curve.json", "dev", 2, 0)
    table = pd.read_csv(tmp_path / "curve.csv")
    assert table["noise_level"].is_monotonic_decreasing
    assert np.isfinite(table["error"]).all()
    records = json.loads((tmp_path / "curve.json").read_text())
    assert [record["step"] for record in records] == table["step"].tolist()
    with pytest.raises(InputError, match=r"\.csv or \.json"):
        write_curve(pairs_folder, unet_file, tmp_path / "curve.txt", "dev", 2, 0)

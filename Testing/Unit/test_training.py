"""Training data, augmentation, loss terms and whole runs of ASFE-Fusion on made-up pairs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from skimage.metrics import structural_similarity as skimage_ssim
from training_pairs import write_noise_pairs
from typer.testing import CliRunner

from MedFusionLib.commands.train import app as train_app
from MedFusionLib.errors import InputError, WeightsError
from MedFusionLib.methods.asfe.weight_file import load_network
from MedFusionLib.methods.live import create as create_live
from MedFusionLib.training import losses
from MedFusionLib.training.asfe_losses import FaithfulLoss, paper_loss
from MedFusionLib.training.asfe_run import train_asfe
from MedFusionLib.training.augmentation import Augmentation
from MedFusionLib.training.data import balanced_weights, read_luminance, read_pairs
from MedFusionLib.training.live_run import train_live
from MedFusionLib.training.settings import ASFESettings, Hardware, LiveSettings

STILL = Augmentation(
    crop=64,
    warped_share=0,
    misaligned_share=0,
    gamma=1,
    window_share=0,
    noise_share=0,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sets with one patient per split, as files and a manifest."""
    splits = ("train",) * 4 + ("dev",) * 2
    names = ("CT-MRI", "PET-MRI") * 3
    return write_noise_pairs(tmp_path / "data", list(zip(names, splits, strict=True)))


def test_splits_hold_the_manifests_pairs_and_share_none(data: Path) -> None:
    train_pairs, dev_pairs = read_pairs(data, "train"), read_pairs(data, "dev")
    assert [pair.pair_id for pair in train_pairs] == ["0", "1", "2", "3"]
    assert [pair.pair_id for pair in dev_pairs] == ["4", "5"]
    assert [p.pair_id for p in read_pairs(data, "train", ("PET-MRI",))] == ["1", "3"]


def test_atlas_patients_of_ct_and_spect_are_in_one_split_only(shared: Path) -> None:
    folder = shared / "data" / "harvard"
    patients = {
        split: {(pair.set, pair.patient) for pair in read_pairs(folder, split)}
        for split in ("train", "dev")
    }
    # The atlas has one long PET study; the manifest splits it by plane.
    assert patients["train"] & patients["dev"] <= {("PET-MRI", "petA")}


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no manifest"):
        read_pairs(tmp_path, "train")


def test_colour_becomes_luminance_of_bt601(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50]]], dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "colour.png")
    expected = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_luminance(tmp_path / "colour.png") - expected).max() <= 0.51


def test_every_set_is_drawn_as_often_as_the_others(data: Path) -> None:
    pairs = read_pairs(data, "train")[:3]
    weights = balanced_weights(pairs)
    by_set = {pair.set: 0.0 for pair in pairs}
    for pair, weight in zip(pairs, weights, strict=True):
        by_set[pair.set] += weight
    assert by_set["CT-MRI"] == pytest.approx(by_set["PET-MRI"])


def test_augmentation_without_changes_cuts_out_exact_pixels_up_to_flips() -> None:
    torch.manual_seed(0)
    image = torch.arange(96 * 96.0).view(1, 1, 96, 96) / 96**2
    cut, same = STILL(image, image)
    assert torch.equal(cut, same)
    top, left = divmod(round(float(cut.min()) * 96**2), 96)
    window = image[..., top : top + 64, left : left + 64]
    flips = [window.flip(axes) for axes in ([], [2], [3], [2, 3])]
    assert any(torch.allclose(cut, flip, atol=1e-5) for flip in flips)


def test_augmentation_keeps_pairs_aligned_unless_it_misaligns_them() -> None:
    torch.manual_seed(1)
    image = torch.rand(8, 1, 128, 128)
    turned = dataclasses.replace(STILL, warped_share=1)
    assert torch.equal(*turned(image, image))
    moved = dataclasses.replace(STILL, misaligned_share=1)
    assert not torch.allclose(*moved(image, image), atol=0.1)


def test_augmentation_leaves_background_black_and_values_in_range() -> None:
    torch.manual_seed(2)
    image = torch.zeros(4, 1, 96, 96)
    image[..., 24:72, 24:72] = 1
    changed = Augmentation(crop=64, noise_share=1, noise=0.3)(image, torch.zeros_like(image))
    assert changed[0].min() >= 0 and changed[0].max() <= 1
    assert changed[1].max() == 0


def test_ssim_term_equals_scikit_image_away_from_the_border() -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = torch.rand(2, 1, 1, 64, 64, generator=generator)
    _, expected = skimage_ssim(
        first[0, 0].numpy(),
        second[0, 0].numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    cropped = torch.from_numpy(expected)[5:-5, 5:-5].mean()
    # Without zero filling no window reaches over the border: compare on the inner part only.
    window = losses.gaussian_window(11, 1.5, first)
    m1, m2, v1, v2, cov = losses.local_moments(first, second, window)
    luminance = (2 * m1 * m2 + 1e-4) / (m1**2 + m2**2 + 1e-4)
    inner = (luminance * (2 * cov + 9e-4) / (v1 + v2 + 9e-4)).mean()
    assert inner == pytest.approx(float(cropped), abs=1e-4)


def test_each_measure_is_best_for_a_perfect_copy() -> None:
    generator = torch.Generator().manual_seed(4)
    source, stranger = torch.rand(2, 1, 1, 64, 64, generator=generator)
    assert losses.visual_information_fidelity(source, source) == pytest.approx(1.0, abs=1e-3)
    assert losses.correlation(source, source) == pytest.approx(1.0, abs=1e-4)
    assert losses.gradient_distance(source, source, torch.zeros_like(source)) == 0
    kept = losses.edge_preservation(source, source, source)
    assert kept > 0.95 > losses.edge_preservation(stranger, source, source)


def test_difference_correlation_of_a_sum_is_two() -> None:
    first, second = torch.rand(2, 1, 1, 64, 64, generator=torch.Generator().manual_seed(5))
    assert losses.difference_correlation(first + second, first, second) == pytest.approx(2.0)


@pytest.mark.parametrize("loss", [paper_loss, FaithfulLoss()], ids=["paper", "faithful"])
def test_losses_have_finite_gradients_even_on_black_images(loss) -> None:
    black = torch.zeros(1, 1, 64, 64)
    fused = torch.zeros(1, 1, 64, 64, requires_grad=True)
    torch.stack(list(loss(fused, black, black).values())).sum().backward()
    assert torch.isfinite(fused.grad).all()


def test_faithful_loss_prefers_both_sources_detail_to_their_mean() -> None:
    generator = torch.Generator().manual_seed(6)
    reference = torch.rand(1, 1, 64, 64, generator=generator)
    other = torch.zeros_like(reference)
    loss = FaithfulLoss()

    def total(fused: torch.Tensor) -> float:
        return float(torch.stack(list(loss(fused, reference, other).values())).sum())

    assert total(reference) < total((reference + other) / 2)
    # The paper's content term asks for the mean instead.
    content = paper_loss(reference, reference, other)["content"]
    assert content > paper_loss(reference / 2, reference, other)["content"]


SETTINGS = {"epochs": 2, "steps": 2, "batch_size": 2, "crop": 64, "seed": 7}
CPU = Hardware(accelerator="cpu", devices="1")


def test_a_run_writes_its_settings_and_weights_that_load_and_goes_on_when_resumed(
    data: Path, tmp_path: Path
) -> None:
    settings = ASFESettings(data=str(data), **SETTINGS)
    folder = tmp_path / "run"
    weights = train_asfe(settings, folder, CPU, resume=False)
    network, _ = load_network(weights)
    assert network.architecture.stride == 64
    assert json.loads((folder / "settings.json").read_text())["seed"] == 7
    longer = dataclasses.replace(settings, epochs=3)
    with pytest.raises(InputError, match="--resume"):
        train_asfe(longer, folder, CPU, resume=False)
    train_asfe(longer, folder, CPU, resume=True)
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 6


def test_two_runs_with_one_seed_give_the_same_weights(data: Path, tmp_path: Path) -> None:
    settings = ASFESettings(data=str(data), **{**SETTINGS, "epochs": 1})
    first = load_file(train_asfe(settings, tmp_path / "one", CPU, resume=False))
    second = load_file(train_asfe(settings, tmp_path / "two", CPU, resume=False))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_nothing_to_resume_and_unknown_names_are_refused(data: Path, tmp_path: Path) -> None:
    settings = ASFESettings(data=str(data))
    with pytest.raises(InputError, match="no run to resume"):
        train_asfe(settings, tmp_path / "run", CPU, resume=True)
    for change in ({"preset": "huge"}, {"loss": "luck"}):
        with pytest.raises(InputError, match="Choose one of"):
            train_asfe(dataclasses.replace(settings, **change), tmp_path / "run", CPU, resume=False)
    assert not (tmp_path / "run").exists()


def test_every_setting_of_a_run_is_an_option_of_its_command(data: Path, tmp_path: Path) -> None:
    arguments = ["asfe", "--data", str(data), "-o", str(tmp_path / "run"), "--set", "CT-MRI"]
    small = ["--epochs", "1", "--steps", "1", "--batch-size", "2", "--crop", "64", "--seed", "3"]
    hardware = ["--accelerator", "cpu", "--devices", "1"]
    result = CliRunner().invoke(train_app, [*arguments, *small, *hardware])
    assert result.exception is None, result.output
    written = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert written["sets"] == ["CT-MRI"]
    assert (written["epochs"], written["crop"], written["seed"]) == (1, 64, 3)
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_a_run_may_go_on_from_the_weights_of_another(data: Path, tmp_path: Path) -> None:
    settings = ASFESettings(data=str(data), **{**SETTINGS, "epochs": 1})
    first = train_asfe(settings, tmp_path / "first", CPU)
    # With a learning rate of zero the second run can only hand on what it began with.
    still = dataclasses.replace(settings, start_from=str(first), learning_rate=0.0)
    second = train_asfe(still, tmp_path / "second", CPU)
    begun, ended = load_file(first), load_file(second)
    trained = [key for key in begun if "running_" not in key]
    assert trained and all(torch.equal(begun[key], ended[key]) for key in trained)


def test_the_live_network_goes_on_from_its_own_weights_only(data: Path, tmp_path: Path) -> None:
    settings = LiveSettings(data=str(data), **{**SETTINGS, "epochs": 1})
    weights = train_live(settings, tmp_path / "run", CPU)
    method = create_live(torch.device("cpu"), weights=weights)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)).split(1)
    assert method.fuse(*images).shape == (1, 1, 64, 64)
    still = dataclasses.replace(settings, start_from=str(weights), learning_rate=0.0)
    begun, ended = load_file(weights), load_file(train_live(still, tmp_path / "still", CPU))
    assert all(torch.equal(begun[key], ended[key]) for key in begun)
    of_asfe = train_asfe(ASFESettings(data=str(data), **SETTINGS), tmp_path / "asfe", CPU)
    with pytest.raises(WeightsError, match="no weight file of 'live'"):
        train_live(dataclasses.replace(settings, start_from=str(of_asfe)), tmp_path / "other", CPU)

"""DC2Fusion's training: its loss against MONAI, its crops and warps, its lesions, a whole run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses import SSIMLoss

from MedFusionLib.errors import InputError
from MedFusionLib.methods.dc2 import PRESETS, Architecture
from MedFusionLib.methods.dc2.weight_file import load_network
from MedFusionLib.training.balls import BallMaker
from MedFusionLib.training.dc2_losses import dissimilarity, slice_terms, volume_terms
from MedFusionLib.training.dc2_run import train_dc2
from MedFusionLib.training.lesions import transfers
from MedFusionLib.training.rates import RATES
from MedFusionLib.training.settings import DC2Settings, Hardware
from MedFusionLib.training.volume_augmentation import VolumeAugmentation
from MedFusionLib.training.volume_data import read_volume_pairs
from MedFusionLib.volumes.files import write_volume
from MedFusionLib.volumes.volume import Volume

PLAIN = VolumeAugmentation(
    depth=16, crop=32, turned_share=0, warped_share=0, gamma=1.0, noise_share=0
)
ON_CPU = Hardware(accelerator="cpu", devices="1")


def volume(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_dissimilarity_is_monais() -> None:
    first, second = volume(2, 1, 14, 17, 20), volume(2, 1, 14, 17, 20, seed=1)
    expected = SSIMLoss(spatial_dims=3)(first, second)
    assert dissimilarity(first, second).item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_volume_that_is_both_sources_has_the_least_loss() -> None:
    image = volume(1, 1, 14, 17, 20)
    found = {name: term.item() for name, term in volume_terms(image, image, image).items()}
    assert found == pytest.approx(
        {"correlation": -3.0, "similarity": 0.0, "distance": 0.0}, abs=1e-3
    )


def test_the_reference_weighs_twice_as_much_as_the_other() -> None:
    image, darker = volume(1, 1, 14, 17, 20), volume(1, 1, 14, 17, 20) * 0.5
    to_other = volume_terms(image, image, darker)["distance"]
    assert volume_terms(image, darker, image)["distance"] == pytest.approx(2 * to_other)
    assert to_other.item() == pytest.approx((image - darker).mean().item(), rel=1e-4)


def test_slices_are_judged_as_the_volume_that_they_are() -> None:
    slices = [volume(14, 1, 17, 20, seed=seed) for seed in range(3)]
    volumes = [one[:, 0][None, None] for one in slices]
    assert slice_terms(*slices) == volume_terms(*volumes)


def test_the_authors_learning_rate_falls_to_zero() -> None:
    rate = RATES["polynomial"]
    assert [rate(step, 500) for step in (0, 250, 500)] == pytest.approx([1, 0.5**0.9, 0])


def test_a_crop_that_is_not_warped_holds_the_volumes_own_voxels() -> None:
    torch.manual_seed(3)
    reference, other = volume(1, 1, 20, 40, 50), volume(1, 1, 20, 40, 50, seed=1)
    cut, beside = (one[0, 0].numpy() for one in PLAIN(reference, other))
    assert cut.shape == (16, 32, 32)
    for image, source in ((cut, reference), (beside, other)):
        blocks = np.lib.stride_tricks.sliding_window_view(source[0, 0].numpy(), cut.shape)
        nearest = min(
            np.abs(blocks - one).max(axis=(3, 4, 5)).min() for one in (image, image[..., ::-1])
        )
        assert nearest < 1e-5


def test_the_other_volume_is_warped_by_up_to_a_voxel_and_no_more() -> None:
    """A ramp tells by how much each voxel was moved along its axis."""
    torch.manual_seed(0)
    ramp = torch.linspace(0.1, 0.9, 48).view(1, 1, 48, 1, 1).expand(1, 1, 48, 48, 48)
    step = 0.8 / 47
    warping = dataclasses.replace(PLAIN, depth=32, warped_share=1.0)
    moves = []
    for _ in range(5):
        straight, warped = warping(ramp, ramp)
        moves.append(((warped - straight) / step)[..., 2:-2, 2:-2, 2:-2].abs().max())
    assert 0.5 < max(moves) <= 1.001


def test_a_thin_volume_gives_a_crop_of_one_stride() -> None:
    assert VolumeAugmentation().size(torch.Size([16, 256, 90])) == (16, 96, 80)
    assert VolumeAugmentation().size(torch.Size([9, 256, 256])) == (16, 96, 96)


def test_balls_are_round_in_each_slice_and_thinner_towards_their_ends() -> None:
    torch.manual_seed(1)
    reference = other = torch.full((24, 1, 96, 96), 0.5)
    lesions = BallMaker(count=4, flattest=2.0)(reference, other)
    assert lesions.counted.any(dim=0).all()
    for ball in lesions.profiles.unbind(1):
        heights = ball.amax(dim=(1, 2))
        middle = int(heights.argmax())
        assert heights[middle] == 1
        assert (heights[: middle + 1].diff() >= 0).all() and (heights[middle:].diff() <= 0).all()
        _, row, column = np.unravel_index(int(ball.argmax()), ball.shape)
        below = ball[middle, row:, column][:10]
        assert torch.allclose(below, ball[middle, row, column : column + 10][: len(below)])
    change = torch.where(
        lesions.in_other[:, 0].view(-1, 1, 1, 1),
        lesions.other - other,
        lesions.reference - reference,
    )
    shown = transfers(lesions, change, reference, other)[:, 0]
    assert torch.allclose(shown[lesions.counted[:, 0] > 0], torch.tensor(1.0))


def test_a_ball_that_white_cuts_away_does_not_count() -> None:
    """Voxels of 0 and 1 in turn: their mean leaves room, no voxel takes a brighter ball."""
    torch.manual_seed(0)
    board = (torch.arange(96)[:, None] + torch.arange(96)) % 2
    reference = other = board.float().expand(16, 1, 96, 96)
    lesions = BallMaker(count=6)(reference, other)
    whole = (lesions.profiles.square()).sum((2, 3)).clamp(min=1e-6)
    there = torch.where(
        lesions.in_other[..., None, None], lesions.other - other, lesions.reference - reference
    )
    shares = (lesions.profiles * there).sum((2, 3)).abs() / whole
    assert (shares[lesions.counted > 0] > 0.4 * 0.1).all()
    assert lesions.counted.sum() < (lesions.profiles.amax((2, 3)) > 0.3).sum()


def write_pairs(folder: Path) -> DC2Settings:
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["pair_id,set,patient,split,mri,other"]
    for split in ("train", "dev"):
        for modality in ("MR", "CT"):
            voxels = rng.integers(0, 256, (16, 40, 48), dtype=np.uint8)
            write_volume(
                Volume(voxels, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), modality=modality),
                folder / f"{split}-{modality}.nrrd",
            )
        lines.append(f"{split},CT-MRI,{split},{split},{split}-MR.nrrd,{split}-CT.nrrd")
    (folder / "pairs.csv").write_text("\n".join(lines))
    return DC2Settings(
        data=str(folder),
        pairs=str(folder / "pairs.csv"),
        preset="small",
        epochs=1,
        steps=2,
        crop=32,
        depth=16,
    )


def test_a_run_writes_weights_and_the_settings_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Architecture(
        embedding=8, depths=(1, 1), heads=(1, 2), gate_reduction=4, output="weighted bands"
    )
    monkeypatch.setitem(PRESETS, "small", small)
    settings = write_pairs(tmp_path / "data")
    network, _ = load_network(train_dc2(settings, tmp_path / "run", ON_CPU))
    assert network.architecture == small
    assert (tmp_path / "run" / "settings.json").is_file()
    again = dataclasses.replace(settings, loss="paper", epochs=2)
    with pytest.raises(InputError, match="holds a run already"):
        train_dc2(again, tmp_path / "run", ON_CPU)
    assert train_dc2(again, tmp_path / "run", ON_CPU, resume=True).is_file()


def test_what_cannot_be_trained_on_is_refused_with_a_sentence(tmp_path: Path) -> None:
    settings = dataclasses.replace(write_pairs(tmp_path / "data"), preset="compact")
    with pytest.raises(InputError, match="one pair of volumes per step"):
        train_dc2(dataclasses.replace(settings, batch_size=2), tmp_path / "run", ON_CPU)
    with pytest.raises(InputError, match="There is no table"):
        train_dc2(dataclasses.replace(settings, pairs="none.csv"), tmp_path / "run", ON_CPU)
    with pytest.raises(InputError, match="lists no 'test' pairs"):
        read_volume_pairs(tmp_path / "data", tmp_path / "data" / "pairs.csv", "test")
    assert not (tmp_path / "run").exists()

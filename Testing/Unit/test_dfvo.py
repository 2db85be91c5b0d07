"""DFVO as a fusion method: the enhancement of dark MR, its losses, a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_pairs import write_noise_pairs

from MedFusionLib import read_volume
from MedFusionLib.errors import InputError, WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.dfvo import DFVO, PRESETS, Architecture
from MedFusionLib.methods.dfvo.architecture import from_config
from MedFusionLib.methods.dfvo.layers import Enhancement
from MedFusionLib.methods.dfvo.weight_file import load_network, network_from_state, save_network
from MedFusionLib.sample_data import REFERENCE
from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.training import dfvo_losses, dfvo_objectives
from MedFusionLib.training.dfvo_module import fresh_network
from MedFusionLib.training.dfvo_run import train_dfvo
from MedFusionLib.training.dfvo_shading import made_shading
from MedFusionLib.training.settings import DFVOSettings, Hardware
from MedFusionLib.weights import load_weights

NARROW_PAPER = Architecture(widths=(4, 4, 4, 8), base_channels=8, illumination_widths=(4, 4, 4))


def test_its_card_tells_its_size() -> None:
    counted = sum(parameter.numel() for parameter in DFVO(PRESETS["compact"]).parameters())
    assert method_card("dfvo").parameters == counted


def test_an_architecture_survives_its_way_through_json_and_others_are_refused() -> None:
    for preset in PRESETS.values():
        assert from_config(json.loads(json.dumps(preset.as_config()))) == preset
    with pytest.raises(ValueError, match="output must be one of"):
        dataclasses.replace(PRESETS["compact"], output="bright")
    with pytest.raises(ValueError, match="need a fold of 2"):
        dataclasses.replace(PRESETS["compact"], fold=1)
    with pytest.raises(ValueError, match="multiple of 8"):
        dataclasses.replace(PRESETS["compact"], base_channels=50)


def test_a_weight_file_gives_the_same_network_back_and_fits_no_other(tmp_path: Path) -> None:
    network = DFVO(NARROW_PAPER).eval()
    save_network(network, tmp_path / "dfvo.safetensors")
    again, _ = load_network(tmp_path / "dfvo.safetensors")
    image = torch.rand(1, 1, 16, 24)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))
    network.architecture = dataclasses.replace(NARROW_PAPER, couplings=2)
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


@torch.no_grad()
def test_enhancement_darkens_nothing_trebles_at_most_and_leaves_black_alone() -> None:
    torch.manual_seed(3)
    image = torch.rand(2, 1, 64, 64)
    image[..., :16] = 0
    enhanced = Enhancement(PRESETS["compact"]).eval()(image)
    assert (enhanced >= image).all() and (enhanced <= 3 * image + 1e-6).all()
    assert (enhanced[..., :16] == 0).all()


@torch.no_grad()
def test_enhancement_draws_no_edge() -> None:
    torch.manual_seed(4)
    enhancement = Enhancement(PRESETS["compact"])
    # A white image is its illumination's inverse; a checkerboard is as steep as an image can be.
    board = torch.ones(1, 1, 64, 64)
    board[..., ::2, ::2] = 0
    illumination = enhancement.eval().illumination(board)
    # Interpolated between cells of 8 pixels, no step exceeds an eighth of the whole range.
    steps = (illumination[..., 1:] - illumination[..., :-1]).abs().max()
    assert steps <= (1 - 1 / 3) / 8 + 1e-6


def sample_slice() -> Tensor:
    """A slice through the brain of the sample MR, (1, 1, H, W) in [0, 1], sides in 8 pixels."""
    volume = read_volume(REFERENCE, "MR")
    stack = slice_stack(volume.voxels, volume.direction_matrix, "axial")
    image = choose_window(volume, None).to_unit(stack[len(stack) // 2])
    tensor = torch.from_numpy(image).float()[None, None]
    height, width = (side // 8 * 8 for side in tensor.shape[-2:])
    return tensor[..., :height, :width]


@torch.no_grad()
def test_the_shipped_enhancement_takes_back_a_part_of_a_known_darkening_of_the_sample() -> None:
    image = sample_slice()
    field = torch.linspace(1, 0.4, image.shape[-1]).expand_as(image)
    state, entry = load_weights("dfvo")
    network = network_from_state(state, from_config(entry.config))
    tissue = image > 0.1
    left = network.output.enhanced(image * field)[tissue] / image[tissue]
    assert left.log().abs().mean() < 0.75 * field[tissue].log().abs().mean()


def test_made_shading_is_smooth_and_between_the_deepest_and_none() -> None:
    torch.manual_seed(5)
    shading = made_shading(torch.zeros(64, 1, 96, 96))
    assert shading.min() >= 0.4 - 1e-6 and shading.max() <= 1
    assert (shading[..., 1:] - shading[..., :-1]).abs().max() < 0.05
    untouched = (shading == 1).flatten(1).all(1).sum()
    assert 10 <= untouched <= 45


def test_the_shading_error_of_the_true_field_is_zero_and_of_a_half_is_its_logarithm() -> None:
    image = torch.rand(2, 1, 16, 16)
    shading = torch.full_like(image, 0.8)
    assert dfvo_objectives.shading_error(shading, shading, image) == 0
    error = dfvo_objectives.shading_error(shading / 2, shading, image)
    assert error.item() == pytest.approx(0.693147, rel=1e-5)


def test_the_dark_channel_is_the_least_of_ten_by_ten_pixels() -> None:
    image = torch.ones(1, 3, 40, 40)
    image[0, 1, 20, 20] = 0.25
    dark = dfvo_losses.dark_channel(image)[0, 0]
    rows, columns = torch.where(dark < 1)
    assert (dark[rows, columns] == 0.25).all() and len(rows) == 100
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 25, 16, 25)


def test_no_gradient_reaches_the_fused_slice_in_the_first_epoch_or_from_perception() -> None:
    torch.manual_seed(6)
    loss = dfvo_objectives.PaperLoss(NARROW_PAPER, features=lambda images: images**2)
    network = DFVO(NARROW_PAPER)
    fuser = StandIn(network, current_epoch=0)
    reference, other = torch.rand(2, 2, 1, 32, 32)
    terms = loss(fuser, reference, other)
    assert not terms["perception"].requires_grad
    torch.stack(list(terms.values())).sum().backward()
    assert network.decoder.projection.weight.grad.abs().max() == 0
    fuser.current_epoch = 3
    torch.stack(list(loss(fuser, reference, other).values())).sum().backward()
    assert network.decoder.projection.weight.grad.abs().max() > 0


@dataclasses.dataclass
class StandIn:
    """What a loss asks of a training module."""

    network: DFVO
    current_epoch: int


def test_the_untrained_compact_network_hardly_changes_the_mr() -> None:
    network = fresh_network(PRESETS["compact"]).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network.output.enhanced(image), image, rtol=0.05)


@pytest.mark.parametrize(("preset", "loss"), [("paper", "legible"), ("compact", "paper")])
def test_a_loss_of_the_other_preset_is_refused(tmp_path: Path, preset: str, loss: str) -> None:
    settings = DFVOSettings(data=str(tmp_path), preset=preset, loss=loss)
    with pytest.raises(InputError, match=f"--loss {loss} is for --preset"):
        train_dfvo(settings, tmp_path / "run", Hardware(accelerator="cpu"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("preset", "loss"), [("narrow", "paper"), ("compact", "shading")])
def test_a_run_writes_weights_that_load(
    tmp_path: Path, preset: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "narrow", NARROW_PAPER)
    pairs = [("CT-MRI", "train")] * 2 + [("CT-MRI", "dev")]
    data = write_noise_pairs(tmp_path / "data", pairs)
    settings = DFVOSettings(
        data=str(data), preset=preset, loss=loss, epochs=2, steps=1, batch_size=2, crop=64
    )
    hardware = Hardware(accelerator="cpu", devices="1")
    network, _ = load_network(train_dfvo(settings, tmp_path / "run", hardware))
    assert network.architecture == PRESETS[preset]

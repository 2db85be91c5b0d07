"""AdaFuse as a fusion method: batches, background, sizes, phase, a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.errors import WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.adafuse import PRESETS, AdaFuse, Architecture, create
from MedFusionLib.methods.adafuse.frequency import magnitudes, with_phase_of_the_mean
from MedFusionLib.methods.adafuse.method import AdaFuseMethod
from MedFusionLib.methods.adafuse.weight_file import load_network, save_network
from MedFusionLib.training.asfe_run import train_adafuse
from MedFusionLib.training.settings import ASFESettings, Hardware

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shipped() -> AdaFuseMethod:
    return create(CPU)


def slices(count: int, height: int = 70, width: int = 53) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    reference, other = torch.rand(2, count, 1, height, width, generator=generator)
    reference[..., :16] = other[..., :16] = 0
    return reference, other


def test_a_slice_of_any_size_gives_the_same_result_alone_and_in_a_batch(
    shipped: AdaFuseMethod,
) -> None:
    reference, other = slices(3)
    together = fuse_slices(shipped, reference, other)
    assert together.shape == reference.shape
    for index in range(3):
        alone = fuse_slices(shipped, reference[index : index + 1], other[index : index + 1])
        assert torch.allclose(alone, together[index : index + 1], atol=1e-5)


def test_empty_space_stays_exactly_black(shipped: AdaFuseMethod) -> None:
    fused = fuse_slices(shipped, *slices(1))
    assert fused[..., :16].abs().max() == 0
    assert fused.min() >= 0 and fused.max() <= 1


def test_size_that_is_no_multiple_of_the_stride_is_refused_with_the_number(
    shipped: AdaFuseMethod,
) -> None:
    image = torch.rand(1, 1, 64, 63)
    with pytest.raises(ValueError, match=r"multiples of 64 pixels, not 64×63"):
        shipped.fuse(image, image)


@pytest.mark.parametrize("precision", method_card("adafuse").reduced_precisions)
def test_an_offered_precision_changes_the_fused_slice_by_less_than_five_thousandths(
    shipped: AdaFuseMethod, precision: str
) -> None:
    reference, other = F.avg_pool2d(torch.cat(slices(2, 128, 128)), 2).chunk(2)
    exact = shipped.fuse(reference, other)
    with torch.autocast("cpu", getattr(torch, precision)):
        rounded = shipped.fuse(reference, other)
    assert (rounded - exact).abs().max() <= 5e-3


def test_its_card_tells_its_size() -> None:
    with torch.device("meta"):
        network = AdaFuse(PRESETS["compact"])
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert method_card("adafuse").parameters == counted


def test_equal_maps_come_back_from_their_magnitudes_and_phase() -> None:
    maps = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    # Two equal images' logarithms, added as the attention's residual adds them.
    back = with_phase_of_the_mean(2 * magnitudes(maps), maps, maps)
    assert torch.allclose(back, maps, atol=1e-5)


def test_an_architecture_survives_its_way_through_json_and_others_are_refused() -> None:
    for preset in PRESETS.values():
        assert Architecture(**json.loads(json.dumps(preset.as_config()))) == preset
    with pytest.raises(ValueError, match="depths must be those of 4 levels"):
        dataclasses.replace(PRESETS["compact"], depths=(1, 1))


NARROW = dataclasses.replace(
    PRESETS["compact"], widths=(4, 4, 4, 4, 4), dim=8, heads=2, encoder_hidden=()
)


def test_a_weight_file_gives_the_same_network_back_and_fits_no_other(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = AdaFuse(NARROW).eval()
    save_network(network, tmp_path / "adafuse.safetensors")
    again, _ = load_network(tmp_path / "adafuse.safetensors")
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(image, image), network(image, image))
    network.architecture = dataclasses.replace(NARROW, depths=(1, 1, 1, 2))
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


def test_a_run_writes_weights_that_load(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = ["pair_id,set,patient,split,mri,other"]
    for number, split in enumerate(("train", "train", "dev")):
        for kind in ("mri", "other"):
            image = generator.integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / f"{kind}{number}.png")
        lines.append(f"{number},CT-MRI,{number},{split},mri{number}.png,other{number}.png")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    settings = ASFESettings(data=str(tmp_path), epochs=1, steps=1, batch_size=2, crop=64)
    hardware = Hardware(accelerator="cpu", devices="1")
    network, _ = load_network(train_adafuse(settings, tmp_path / "run", hardware))
    assert network.architecture == PRESETS["compact"]

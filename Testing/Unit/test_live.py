"""The live method: small, fast to fetch, and harmless to empty space."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from noise_slices import slices
from torch.utils.flop_counter import FlopCounterMode

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.live import LiveFusion, create
from MedFusionLib.methods.live.method import Live, save_network
from MedFusionLib.methods.weighted_bands import FoldedBands
from MedFusionLib.training.live_module import fresh_network

CPU = torch.device("cpu")


def test_it_is_as_small_as_promised() -> None:
    network = LiveFusion().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) <= 100_000
    image = torch.rand(1, 1, 256, 256)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image, image)
    assert counter.get_total_flops() <= 4e9


def test_its_card_tells_its_size() -> None:
    counted = sum(parameter.numel() for parameter in LiveFusion().parameters())
    assert method_card("live").parameters == counted


def test_an_untrained_network_weighs_every_place_alike() -> None:
    reference, other = slices(1, 64, 64)
    alike = torch.tensor(FoldedBands.start).view(1, -1, 1, 1).expand(1, -1, 32, 32)
    fused = Live(fresh_network(), "", CPU).fuse(reference, other)
    assert torch.allclose(fused, FoldedBands()(alike, other, reference), atol=1e-6)


def test_a_weight_file_gives_the_same_slices_back(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = LiveFusion((4, 6, 8))
    save_network(network, tmp_path / "live.safetensors")
    images = slices(1, 64, 64)
    again = create(CPU, weights=tmp_path / "live.safetensors").fuse(*images)
    assert torch.equal(again, Live(network, "", CPU).fuse(*images))


def test_weights_of_other_widths_are_refused(tmp_path: Path) -> None:
    network = LiveFusion((4, 6, 8))
    network.widths = (4, 6, 10)
    save_network(network, tmp_path / "live.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        create(CPU, weights=tmp_path / "live.safetensors")

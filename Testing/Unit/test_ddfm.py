"""DDFM as a fusion method: its iteration, its drawings, batches, noise, background, sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.errors import WeightsError
from MedFusionLib.methods import method_card
from MedFusionLib.methods.ddfm import create
from MedFusionLib.methods.ddfm.expectation_maximisation import ExpectationMaximisation
from MedFusionLib.methods.ddfm.method import DDFM
from MedFusionLib.methods.ddfm.sampling import draw_images, full_schedule, spaced_levels
from MedFusionLib.methods.dmfnet.config import DMFNetConfig
from MedFusionLib.methods.dmfnet.diffusion import CleanImageTarget, Diffusion
from MedFusionLib.methods.dmfnet.weights_file import read_shipped, write_unet
from MedFusionLib.uncertainty import fuse_with_uncertainty
from MedFusionLib.volumes.volume import Volume

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def brief() -> DDFM:
    return create(CPU, steps=3)


def slices(count: int, height: int = 64, width: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    coarse = torch.rand(2 * count, 1, height // 8, width // 8, generator=generator)
    reference, other = F.interpolate(coarse, size=(height, width), mode="bilinear").chunk(2)
    reference[..., :16] = other[..., :16] = 0
    return reference, other


def iterations(dtype: torch.dtype, steps: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Two sources in [-1, 1], and what some steps make of a poor estimate."""
    generator = torch.Generator().manual_seed(5)
    drawn = torch.rand(3, 2, 1, 33, 40, generator=generator, dtype=torch.float64).to(dtype)
    reference, other, estimate = 2 * drawn - 1
    iteration = ExpectationMaximisation(reference, other)
    for _ in range(steps):
        estimate = iteration.fuse(estimate)
    return reference, other, estimate


def test_the_iteration_stays_between_the_sources_and_shows_both() -> None:
    reference, other, fused = iterations(torch.float64)
    share = (fused - reference) / (other - reference)
    apart = (other - reference).abs() > 0.1
    # Third shares are the limit without the total variation, which ρ keeps small.
    assert share[apart].min() > 1 / 3 - 0.02
    assert share[apart].max() < 2 / 3 + 0.02
    lower, upper = torch.minimum(reference, other), torch.maximum(reference, other)
    assert (fused >= lower - 0.01).all() and (fused <= upper + 0.01).all()


def test_equal_sources_come_back_whatever_the_estimate() -> None:
    image, estimate = torch.rand(2, 1, 1, 20, 31) * 2 - 1
    assert (ExpectationMaximisation(image, image).fuse(estimate) - image).abs().max() < 1e-3


def test_single_and_double_precision_agree() -> None:
    single, double = iterations(torch.float32)[2], iterations(torch.float64)[2]
    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_a_sure_denoiser_is_drawn_exactly_in_any_number_of_steps(steps: int) -> None:
    wanted = torch.linspace(-1, 1, 12).view(1, 1, 3, 4)
    diffusion = Diffusion(lambda noisy, level: wanted, full_schedule(), CleanImageTarget())
    levels = spaced_levels(full_schedule(), steps)
    assert len(levels) == steps + 1
    drawn = draw_images(diffusion, levels, torch.randn(1, 1, 3, 4), lambda clean: clean)
    assert torch.allclose(drawn, wanted, atol=1e-6)


def test_drawings_of_a_normal_prior_have_its_spread() -> None:
    """Of images that are normal with deviation s, the flow scales the noise by s."""
    deviation = 0.2

    def denoiser(noisy: Tensor, level: Tensor) -> Tensor:
        kept = (level[..., None, None] * deviation) ** 2
        return kept / level[..., None, None] / (kept + 1 - level[..., None, None] ** 2) * noisy

    diffusion = Diffusion(denoiser, full_schedule(), CleanImageTarget())
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    levels = spaced_levels(full_schedule(), 400)
    drawn = draw_images(diffusion, levels, noise, lambda clean: clean)
    assert torch.allclose(drawn, deviation * noise, atol=0.02)


def test_a_slice_gives_the_same_bits_in_whatever_batch(brief: DDFM) -> None:
    reference, other = slices(3)
    together = brief.fuse(reference, other)
    for index in range(3):
        alone = brief.fuse(reference[index : index + 1], other[index : index + 1])
        assert torch.equal(alone, together[index : index + 1])


def test_the_iteration_of_a_batch_keeps_its_slices_apart() -> None:
    """A GPU takes all slices at once: their scales must be their own."""
    reference, other = slices(3)
    estimate = torch.rand_like(reference)
    together = ExpectationMaximisation(reference, other).fuse(estimate)
    for one in (slice(0, 1), slice(1, 3)):
        alone = ExpectationMaximisation(reference[one], other[one]).fuse(estimate[one])
        assert torch.allclose(alone, together[one], atol=1e-6)


def test_neighbours_begin_with_the_same_noise_and_seeds_with_others(brief: DDFM) -> None:
    images = slices(1)
    fused = brief.fuse(*images, [4])
    assert torch.equal(brief.fuse(*images, [5]), fused)
    assert torch.equal(create(CPU, steps=3).fuse(*images), fused)
    assert not torch.equal(create(CPU, steps=3, seed=1).fuse(*images), fused)


def test_global_random_state_is_neither_used_nor_changed(brief: DDFM) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    fused = brief.fuse(*slices(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(brief.fuse(*slices(1)), fused)


@pytest.mark.parametrize("steps", [1, 10])
def test_both_sources_are_shown_and_empty_space_stays_exactly_black(steps: int) -> None:
    reference, other = slices(1)
    fused = create(CPU, steps=steps).fuse(reference, other)
    assert fused[..., :16].abs().max() == 0
    assert fused.min() >= 0 and fused.max() <= 1
    apart = (other - reference).abs() > 0.2
    share = ((fused - reference) / (other - reference))[apart]
    assert share.min() > -0.05 and share.max() < 2 / 3 + 0.05


def test_equal_sources_are_given_back(brief: DDFM) -> None:
    image, _ = slices(1)
    assert (brief.fuse(image, image) - image).abs().max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 30), (50, 64)])
def test_slices_of_any_size_are_fused(brief: DDFM, height: int, width: int) -> None:
    reference, other = torch.rand(2, 1, 1, height, width)
    fused = fuse_slices(brief, reference, other)
    assert fused.shape == reference.shape
    assert torch.isfinite(fused).all()


def test_several_drawings_give_their_mean_and_their_deviation() -> None:
    images = slices(2)
    method = create(CPU, steps=2, draws=3)
    fused, deviation = method.fuse_with_uncertainty(*images)
    assert torch.equal(fused, method.fuse(*images))
    assert deviation.max() > 0 and deviation[..., :16].max() == 0
    single = create(CPU, steps=2).fuse(*images)
    assert ((single - fused).abs() <= 2 / 3**0.5 * deviation + 1e-6).all()
    with pytest.raises(ValueError, match="at least two drawings"):
        create(CPU, steps=2).fuse_with_uncertainty(*images)


def test_the_uncertainty_of_a_volume_is_that_of_its_drawings() -> None:
    voxels = np.random.default_rng(0).integers(0, 256, (2, 2, 32, 48), dtype=np.uint8)
    pair = [Volume(one, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), modality="MR") for one in voxels]
    chosen = {"draws": 2, "steps": 2}
    windows = {"window_reference": "8bit", "window_other": "8bit", "device": "cpu"}
    result, spread = fuse_with_uncertainty(*pair, "ddfm", method_options=chosen, **windows)
    images = torch.from_numpy(voxels / np.float32(255)).unsqueeze(2)
    _, expected = create(CPU, **chosen).fuse_with_uncertainty(*images)
    assert np.abs(spread.voxels - expected[:, 0].numpy()).max() < 1e-5
    assert result.report["seed"] == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"steps": 0}, "takes 1 to 1000 steps, not 0"),
        ({"steps": 1001}, "takes 1 to 1000 steps, not 1001"),
        ({"seed": -1}, "seed of at least 0"),
        ({"draws": 0}, "at least one drawing"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        create(CPU, **options)


def test_a_denoiser_of_another_file_is_taken_with_or_without_a_fusion_head(tmp_path: Path) -> None:
    config = DMFNetConfig(inner_channel=8, norm_groups=4, channel_mults=(1, 2))
    write_unet(tmp_path / "unet.safetensors", config.build_unet(), config)
    method = create(CPU, weights=tmp_path / "unet.safetensors", steps=1)
    assert method.stride == 2 and len(method.weights_sha256) == 64
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no weight file of 'dmfnet'"):
        create(CPU, weights=tmp_path / "other.safetensors")


def test_its_card_tells_the_size_of_the_denoiser_and_shipped_weights_are_named(
    brief: DDFM,
) -> None:
    networks = read_shipped()
    counted = sum(parameter.numel() for parameter in networks.unet.parameters())
    assert method_card("ddfm").parameters == counted
    assert brief.weights_sha256 == networks.sha256

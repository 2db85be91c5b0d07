"""CoCoNet's losses against tensors that the authors' own functions computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity_set import assert_close, read_case
from torch import Tensor

from MedFusionLib.training.coconet_losses import (
    SIMILARITY,
    dissimilarity,
    distance,
    entropy,
    entropy_of_counts,
    gradient_richness,
    grey_counts,
    shares,
)
from MedFusionLib.training.losses import structural_similarity

ADDED = 1e-4
"""What the authors add to all entropies of a batch at each of its images."""
ADDED_TO_GRADIENTS = 1e-5
"""What they add to each mean gradient; both against a division of nothing by nothing."""


@pytest.fixture(scope="module")
def case(shared: Path) -> dict[str, Tensor]:
    return read_case(shared / "parity" / "coconet" / "losses.safetensors")[0]


def unit(image: Tensor) -> Tensor:
    """From the authors' range, [-1, 1], to ours."""
    return (image + 1) / 2


@pytest.mark.parametrize("source", ["x1", "x2"])
def test_gradients_and_entropies_are_the_authors(case: dict[str, Tensor], source: str) -> None:
    images = unit(case[f"in.{source}"])
    richness = gradient_richness(images) + ADDED_TO_GRADIENTS
    assert_close(richness, case[f"mean_gradient.{source}"], 1e-6)
    # Their counter is not emptied between the images of a batch; ours has nothing to empty.
    counted = grey_counts(unit(case[f"in.{source}"].double())).cumsum(0)
    found = torch.stack([entropy_of_counts(counts) for counts in counted]) + len(images) * ADDED
    assert_close(found, case[f"entropy.{source}"], 1e-9)
    assert_close(entropy(images)[:1] + 3 * ADDED, case[f"entropy.{source}"][:1].float(), 1e-6)


@pytest.mark.parametrize("sharpness", [0.5, 0.75])
def test_weights_loss_and_its_gradient_are_the_authors(
    case: dict[str, Tensor], sharpness: float
) -> None:
    name = f"c1_0.5_c2_{sharpness}"
    by_gradient = shares(case["mean_gradient.x1"], case["mean_gradient.x2"], 0.5)
    by_entropy = shares(case["entropy.x1"], case["entropy.x2"], sharpness)
    assert_close(by_gradient, case[f"{name}.weights_gradient"], 2e-6)
    assert_close(by_entropy, case[f"{name}.weights_entropy"], 2e-6)
    first, second = unit(case["in.x1"]), unit(case["in.x2"])
    signed = case["in.y"].clone().requires_grad_()
    similarity = dissimilarity(unit(signed), first, second, by_gradient)
    loss = SIMILARITY * similarity + distance(unit(signed), first, second, by_entropy)
    assert loss.item() == pytest.approx(case[f"{name}.loss"].item(), rel=1e-6)
    loss.backward()
    assert_close(signed.grad, case[f"{name}.grad_y"], 1e-5)


def test_similarity_is_the_authors(case: dict[str, Tensor]) -> None:
    found = structural_similarity(unit(case["in.x1"]), unit(case["in.y"])).mean().view(1)
    assert_close(found, case["ssim.x1_y"], 1e-6)

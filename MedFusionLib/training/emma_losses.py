"""The loss of EMMA: what a fused slice shows must lead back to its sources, however it is moved.

Zhao et al., CVPR 2024, with the authors' weights. Images are (N, 1, H, W) in [0, 1].
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.errors import InputError
from MedFusionLib.training.emma_sensing import SensingPair, load_pair
from MedFusionLib.training.emma_transforms import Transforms
from MedFusionLib.training.legibility import Fuser, LegibleLoss
from MedFusionLib.training.losses import normalised_sobel

EQUIVARIANCE = 0.1


def distance(first: Tensor, second: Tensor, counted: Tensor) -> Tensor:
    """Mean distance of values and of derivatives, where ``counted`` is 1 and not 0."""
    values = (first - second).abs() * counted
    edges = (normalised_sobel(first) - normalised_sobel(second)).abs() * counted
    return values.sum() / counted.sum() + edges.sum() / (2 * counted.sum())


class EquivariantLoss(nn.Module):
    """Judge a fuser by the sensing networks alone; they stay as they are.

    Args:
        sensing: networks from fused slices back to the sources.
        transforms: how many moved copies of each slice must be fused again to themselves.
        corners: whether the corners count that a turn leaves black. In the published training
            they do; a head has no black corners, and a network should not learn to draw them.
    """

    def __init__(self, sensing: SensingPair, transforms: Transforms, corners: bool) -> None:
        super().__init__()
        self.sensing = sensing.requires_grad_(False)
        self.transforms = transforms
        self.corners = corners

    def train(self, mode: bool = True) -> EquivariantLoss:
        """The sensing networks stay in evaluation mode: their statistics are settled."""
        super().train(mode)
        self.sensing.eval()
        return self

    def forward(self, fuser: Fuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        rows, columns = self.transforms.draw(*reference.shape[-2:])
        return self.terms(fuser, reference, other, rows, columns)

    def terms(
        self,
        fuser: Fuser,
        reference: Tensor,
        other: Tensor,
        rows: list[int],
        columns: list[int],
    ) -> dict[str, Tensor]:
        """The weighted terms with these shifts."""
        fused = _fused(fuser, reference, other)
        moved = self.transforms(fused, rows, columns)
        as_reference, as_other = self.sensing(moved)
        again = _fused(fuser, as_reference, as_other)
        everywhere = torch.ones_like(fused)
        unmoved = slice(len(fused))
        counted = torch.ones_like(moved) if self.corners else self._inside(fused, rows, columns)
        return {
            "reference": distance(as_reference[unmoved], reference, everywhere),
            "other": distance(as_other[unmoved], other, everywhere),
            "equivariance": EQUIVARIANCE * distance(moved, again, counted),
        }

    def _inside(self, fused: Tensor, rows: list[int], columns: list[int]) -> Tensor:
        """1 where moved copies hold the slice's pixels, 0 in and next to corners a turn opened."""
        inside = (self.transforms(torch.ones_like(fused), rows, columns) > 0.999).to(fused)
        # A derivative sees one pixel further.
        return -F.max_pool2d(-inside, 3, stride=1, padding=1)


class LegibleEquivariantLoss(nn.Module):
    """EMMA's loss and, ``legibility`` times as strong, what a reader must see.

    EMMA's own asks for nothing that training slices do not show: it lets lesions fade.
    """

    def __init__(self, equivariant: EquivariantLoss, legibility: float) -> None:
        super().__init__()
        self.equivariant = equivariant
        self.seen = LegibleLoss(lambda *images: {}, legibility)

    def forward(self, fuser: Fuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        return self.equivariant(fuser, reference, other) | self.seen(fuser, reference, other)


def equivariant_loss(sensing: str) -> EquivariantLoss:
    """The loss for any fuser, with one copy of each kind and these sensing networks' file.

    Raises ``InputError`` without a file, ``WeightsError`` if it cannot be used.
    """
    if not sensing:
        raise InputError(
            "--loss equivariant needs the sensing networks. Give --sensing FILE, the "
            "weights.safetensors that 'medfusion train emma-sensing' wrote."
        )
    return EquivariantLoss(load_pair(Path(sensing)), Transforms(1, 1, 1), corners=False)


def _fused(fuser: Fuser, reference: Tensor, other: Tensor) -> Tensor:
    return fuser.cut(fuser.uncut(reference, other), reference, other)

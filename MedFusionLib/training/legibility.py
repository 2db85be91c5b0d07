"""What a reader must see, as a loss: lesions of either source, solid bone, a dark background.

Each pair is fused twice in one batch, without lesions and with some inserted. The first slices are
judged by the faithful terms, the difference of the two by how much of each lesion it shows.
All images are (N, 1, H, W) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from MedFusionLib.methods.weighted_bands import gaussian
from MedFusionLib.training.lesions import LesionMaker, Lesions, transfers

Loss = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]
"""Fused, reference, other to weighted scalar terms; their sum is minimised."""

BONE = 0.9
"""Values of the other source above this are bone in a CT, and its hottest places elsewhere."""
HALF_LOST = 0.7
"""Transfer below which a lesion costs additionally: the worst count more than the mean."""
TOO_MUCH = 1.1
"""Transfer above which a lesion is overstated."""
BONE_TOLERANCE = 0.05
"""Distance to the other source that costs nothing in bone: room for the contrast of a lesion."""
DARK = 0.05
"""Where both sources are below this is background."""

LEGIBILITY_WEIGHTS = {
    "lesions": 45.0,
    "lost lesions": 28.0,
    "halo": 6.0,
    "bone": 22.0,
    "bone contrast": 28.0,
    "cut": 28.0,
    "background": 28.0,
}


class Fuser(Protocol):
    """A network under training, whatever the order of its inputs."""

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices before they are cut to the range that can be shown."""
        ...

    def cut(self, uncut: Tensor, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices as they are shown."""
        ...


@dataclass(frozen=True)
class ScoreLoss:
    """A loss on the fused slices alone."""

    loss: Loss

    def __call__(self, fuser: Fuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        fused = fuser.cut(fuser.uncut(reference, other), reference, other).float()
        with torch.autocast(fused.device.type, enabled=False):
            return self.loss(fused, reference, other)


@dataclass(frozen=True)
class LegibleLoss:
    """A loss on the fused slices and, ``legibility`` times as strong, what a reader must see."""

    loss: Loss
    legibility: float = 1.0
    weights: Mapping[str, float] = field(default_factory=lambda: LEGIBILITY_WEIGHTS)
    lesions: LesionMaker = field(default_factory=LesionMaker)

    def __call__(self, fuser: Fuser, reference: Tensor, other: Tensor) -> dict[str, Tensor]:
        lesions = self.lesions(reference, other)
        both = fuser.uncut(
            torch.cat([reference, lesions.reference]), torch.cat([other, lesions.other])
        ).float()
        # The network may run in bfloat16, the loss must not: its ratios need the digits.
        with torch.autocast(both.device.type, enabled=False):
            uncut, uncut_with = both.chunk(2)
            fused = fuser.cut(uncut, reference, other)
            change = fuser.cut(uncut_with, lesions.reference, lesions.other) - fused
            seen = (
                lesion_terms(lesions, change, reference, other)
                | bone_terms(fused, other)
                | range_terms(uncut, fused, reference, other)
            )
            weighted = {
                name: self.legibility * weight * seen[name] for name, weight in self.weights.items()
            }
            return self.loss(fused, reference, other) | weighted


def lesion_terms(lesions: Lesions, change: Tensor, *sources: Tensor) -> dict[str, Tensor]:
    """What is missing of the lesions' contrast, and change where nothing was inserted."""
    shown = transfers(lesions, change, *sources)
    missing = (1 - shown).clamp(min=0).square() + 0.5 * (shown - TOO_MUCH).clamp(min=0).square()
    count = lesions.counted.sum().clamp(min=1)
    elsewhere = change.abs() * (lesions.profiles.sum(1, keepdim=True) == 0)
    return {
        "lesions": (lesions.counted * missing).sum() / count,
        "lost lesions": (lesions.counted * (HALF_LOST - shown).clamp(min=0)).sum() / count,
        "halo": elsewhere.mean(),
    }


def bone_terms(fused: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Distance to the other source where it is bone, beyond a tolerance, and lacking contrast."""
    bone = (other > BONE).float()
    count = bone.sum().clamp(min=20)
    # Thin bone counts most: within thick bone there is no contrast to lose.
    thin = bone * (1 - gaussian(bone, 3.0))
    lacking = (other - gaussian(other, 3.0)) - (fused - gaussian(fused, 3.0))
    return {
        "bone": (bone * ((fused - other).abs() - BONE_TOLERANCE).clamp(min=0)).sum() / count,
        "bone contrast": (thin * lacking.clamp(min=0)).sum() / thin.sum().clamp(min=5),
    }


def range_terms(
    uncut: Tensor, fused: Tensor, reference: Tensor, other: Tensor
) -> dict[str, Tensor]:
    """What is cut off above white and below black, and light over a dark background."""
    brighter = torch.maximum(reference, other)
    return {
        "cut": ((uncut - 1).clamp(min=0) + (-uncut).clamp(min=0)).mean(),
        "background": ((fused - brighter).clamp(min=0) * (brighter < DARK)).mean(),
    }

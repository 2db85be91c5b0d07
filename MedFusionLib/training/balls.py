"""Lesions that training inserts into volumes: balls, seen in each slice that they reach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from MedFusionLib.training.lesions import OPEN_GROUND, LesionMaker, Lesions

LEAST_SHOWN = 0.3
"""A slice counts where a ball's profile reaches so far within it."""

LEAST_INSERTED = 0.5
"""And where so much of its contrast fits between black and white."""


@dataclass(frozen=True)
class BallMaker(LesionMaker):
    """As `LesionMaker`, of the slices (D, 1, H, W) of one volume, neighbours one above the other.

    Balls are flattened along the slices' axis by a random factor, as slices may be thick.
    """

    count: int = 10
    flattest: float = 5.0

    def __call__(self, *images: Tensor) -> Lesions:
        reference, other = images
        pair = torch.cat([reference, other], dim=1).movedim(1, 0)[None]
        means = F.avg_pool3d(pair, (3, 9, 9), 1, (1, 4, 4), count_include_pad=False)
        shown = self._inside(pair) & (pair.amax(1) > self.darkest)
        room = torch.where(shown, pair.new_tensor(torch.inf), pair.new_tensor(0))[0]
        drawn = [self._ball(means, room) for _ in range(self.count)]
        profiles = torch.stack([profile for profile, *_ in drawn], dim=1)
        in_other, amplitudes, open_ground = (
            torch.stack(part) for part in list(zip(*drawn, strict=True))[1:]
        )
        added = profiles * amplitudes[:, None, None]
        into_other = in_other[:, None, None]
        changed = (
            (reference + (added * ~into_other).sum(1, keepdim=True)).clamp(0, 1),
            (other + (added * into_other).sum(1, keepdim=True)).clamp(0, 1),
        )
        inserted = torch.where(into_other, changed[1] - other, changed[0] - reference)
        # What white or black cut away cannot be shown, and its share would be divided by nothing.
        whole = (profiles * inserted).sum((2, 3)) / (profiles * added).sum((2, 3))
        counted = (profiles.amax(dim=(2, 3)) > LEAST_SHOWN) * (whole > LEAST_INSERTED) * open_ground
        return Lesions(changed, profiles, in_other.long().expand(len(profiles), -1), counted)

    def _inside(self, sources: Tensor) -> Tensor:
        inside = torch.zeros_like(sources[:, 0], dtype=torch.bool)
        inside[:, :, self.margin : -self.margin, self.margin : -self.margin] = True
        return inside

    def _ball(self, means: Tensor, room: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Profile (D, H, W), whether it is in the other source, amplitude, on open ground.

        ``means`` (1, 2, D, H, W); ``room`` (D, H, W), every place's distance to the balls so far,
        is renewed.
        """
        sigma, amplitude, source = (part[0] for part in self._kind(1, means))
        in_other = source > 0
        own, beside = means[0, in_other.long()], means[0, 1 - in_other.long()]
        flatness = 1 + (self.flattest - 1) * torch.rand((), device=means.device)
        reached, radius = own + amplitude, 3 * sigma
        allowed = (room > radius) & (reached > 0.02) & (reached < 0.98)
        if not allowed.any():
            return torch.zeros_like(own), in_other, amplitude, torch.zeros_like(amplitude)
        place = (torch.rand_like(own) * allowed).argmax()
        squared = _squared_distance(int(place), own.shape, float(flatness), own.device)
        profile = torch.exp(-4.5 * squared / radius**2) * (squared <= radius**2)
        torch.minimum(room, squared.sqrt() - radius, out=room)
        return profile, in_other, amplitude, (beside.flatten()[place] <= OPEN_GROUND).float()


def _squared_distance(
    place: int, size: torch.Size, flatness: float, device: torch.device
) -> Tensor:
    """Of every voxel to a place given by its index; along the first axis ``flatness`` times."""
    _, height, width = size
    centre = (place // (height * width), place // width % height, place % width)
    axes = [
        (torch.arange(length, device=device) - middle) * scale
        for length, middle, scale in zip(size, centre, (flatness, 1.0, 1.0), strict=True)
    ]
    return sum(axis**2 for axis in torch.meshgrid(*axes, indexing="ij"))  # type: ignore[return-value]

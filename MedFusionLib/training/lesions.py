"""Lesions that training inserts into one source, to ask how much of each the fused slice shows.

A lesion is amplitude · exp(-r² / 2σ²), cut at r = 3σ. All images are (N, 1, H, W) in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

OPEN_GROUND = 0.85
"""Where the other source's 9×9 mean is higher, both contrasts cannot be had on one screen."""


@dataclass(frozen=True)
class Lesions:
    """Pairs with lesions, and what is needed to find each again: L lesions in N pairs.

    ``profiles`` (N, L, H, W) in [0, 1] are zero for a lesion that found no place; ``in_other``
    (N, L) says which source has it; ``counted`` (N, L) is 1 where a lesion stands on open ground.
    """

    reference: Tensor
    other: Tensor
    profiles: Tensor
    in_other: Tensor
    counted: Tensor


@dataclass(frozen=True)
class LesionMaker:
    """Draws lesions of both signs in both sources, small and large, faint and clear."""

    count: int = 6
    """Places that are tried in each pair."""
    small: tuple[float, float] = (2.0, 4.0)
    """σ in pixels, from and to."""
    large: tuple[float, float] = (5.0, 9.0)
    large_share: float = 0.5
    amplitudes: tuple[float, ...] = (0.25, 0.10)
    margin: int = 10
    """Pixels to the border of the training square."""
    darkest: float = 0.12
    """A lesion stands where the brighter source is above this."""

    def __call__(self, reference: Tensor, other: Tensor) -> Lesions:
        """Insert up to ``count`` lesions into each pair, none over another."""
        sources = torch.cat([reference, other], dim=1)
        means = F.avg_pool2d(sources, 9, stride=1, padding=4, count_include_pad=False)
        shown = self._inside(sources) & (sources.amax(1) > self.darkest)
        room = torch.where(shown, sources.new_tensor(torch.inf), sources.new_tensor(0))
        drawn = [self._one(means, room) for _ in range(self.count)]
        profiles, in_other, amplitudes, counted = (
            torch.stack(part, 1) for part in zip(*drawn, strict=True)
        )
        added = profiles * amplitudes[..., None, None]
        into_other = in_other[..., None, None]
        return Lesions(
            (reference + (added * ~into_other).sum(1, keepdim=True)).clamp(0, 1),
            (other + (added * into_other).sum(1, keepdim=True)).clamp(0, 1),
            profiles,
            in_other,
            counted,
        )

    def _inside(self, sources: Tensor) -> Tensor:
        inside = torch.zeros_like(sources[:, 0], dtype=torch.bool)
        inside[:, self.margin : -self.margin, self.margin : -self.margin] = True
        return inside

    def _one(self, means: Tensor, room: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One lesion per pair; ``room`` is every place's distance to the lesions so far."""
        pairs, _, height, width = means.shape
        sigma, amplitude, in_other = self._kind(pairs, means)
        chosen, background = _own_and_beside(means, in_other)
        reached = chosen + amplitude.view(-1, 1, 1)
        radius = 3 * sigma.view(-1, 1, 1)
        allowed = (room > radius) & (reached > 0.02) & (reached < 0.98)
        place = (torch.rand_like(chosen) * allowed).flatten(1).argmax(1)
        found = allowed.flatten(1).any(1).float()
        squared = _squared_distance(place, height, width)
        profile = torch.exp(-4.5 * squared / radius**2) * (squared <= radius**2)
        found_radius = torch.where(found.view(-1, 1, 1) > 0, radius, -torch.inf)
        torch.minimum(room, squared.sqrt() - found_radius, out=room)
        on_open = background.flatten(1).gather(1, place[:, None])[:, 0] <= OPEN_GROUND
        return profile * found.view(-1, 1, 1), in_other, amplitude, found * on_open

    def _kind(self, pairs: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """σ, signed amplitude, and whether it goes into the other source: (N,) each."""
        share = torch.rand(3, pairs, device=like.device)
        low, high = (
            torch.where(share[0] < self.large_share, large, small)
            for small, large in zip(self.small, self.large, strict=True)
        )
        size = low + (high - low) * share[1]
        choices = torch.tensor(self.amplitudes, device=like.device)
        amplitude = choices[torch.randint(len(choices), (pairs,), device=like.device)]
        sign = torch.randint(0, 2, (pairs,), device=like.device) * 2 - 1
        return size, amplitude * sign, share[2] < 0.5


def fixed_lesions(
    reference: Tensor, other: Tensor, seed: int, maker: LesionMaker | None = None
) -> Lesions:
    """Lesions that depend on the seed alone; PyTorch's random state is left as it was."""
    with torch.random.fork_rng(devices=[] if reference.device.type == "cpu" else None):
        torch.manual_seed(seed)
        return (maker or LesionMaker())(reference, other)


def transfers(lesions: Lesions, change: Tensor, reference: Tensor, other: Tensor) -> Tensor:
    """How much of each lesion's contrast a fused slice shows, (N, L): 1 in full, 0 nothing.

    ``change`` is the fused slice with the lesions minus the one without; the other arguments are
    the sources without. Σ w · change / Σ w · inserted, with w the lesion's own profile.
    """
    inserted = torch.where(
        lesions.in_other[..., None, None],
        lesions.other - other,
        lesions.reference - reference,
    )
    there = (lesions.profiles * inserted).flatten(2).sum(2)
    shown = (lesions.profiles * change).flatten(2).sum(2)
    return shown / torch.where(there.abs() < 1e-3, torch.ones_like(there), there)


def _own_and_beside(means: Tensor, in_other: Tensor) -> tuple[Tensor, Tensor]:
    reference, other = means.unbind(1)
    chosen = in_other.view(-1, 1, 1)
    return torch.where(chosen, other, reference), torch.where(chosen, reference, other)


def _squared_distance(place: Tensor, height: int, width: int) -> Tensor:
    """Squared distance of every pixel to a place given by its index: (N, H, W)."""
    rows = torch.arange(height, device=place.device).view(1, -1, 1)
    columns = torch.arange(width, device=place.device).view(1, 1, -1)
    row = torch.div(place, width, rounding_mode="floor").view(-1, 1, 1)
    return ((rows - row) ** 2 + (columns - (place % width).view(-1, 1, 1)) ** 2).float()

"""Lesions that training inserts into one source, to ask how much of each the fused slice shows.

Sources come one after the other: the reference, the other, and a third where a network takes one.

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
    """Slices with lesions, and what is needed to find each again: L lesions in N slices.

    ``profiles`` (N, L, H, W) in [0, 1] are zero for a lesion that found no place; ``place`` (N, L)
    numbers the source that has it; ``counted`` (N, L) is 1 where a lesion stands on open ground.
    """

    sources: tuple[Tensor, ...]
    profiles: Tensor
    place: Tensor
    counted: Tensor

    @property
    def reference(self) -> Tensor:
        return self.sources[0]

    @property
    def other(self) -> Tensor:
        return self.sources[1]

    @property
    def in_other(self) -> Tensor:
        """Whether a lesion is not the reference's, (N, L)."""
        return self.place > 0


@dataclass(frozen=True)
class LesionMaker:
    """Draws lesions of both signs in all sources, small and large, faint and clear."""

    count: int = 6
    """Places that are tried in each slice."""
    small: tuple[float, float] = (2.0, 4.0)
    """σ in pixels, from and to."""
    large: tuple[float, float] = (5.0, 9.0)
    large_share: float = 0.5
    amplitudes: tuple[float, ...] = (0.25, 0.10)
    margin: int = 10
    """Pixels to the border of the training square."""
    darkest: float = 0.12
    """A lesion stands where the brightest source is above this."""

    def __call__(self, *images: Tensor) -> Lesions:
        """Insert up to ``count`` lesions into the sources of each slice, none over another."""
        sources = torch.cat(images, dim=1)
        means = F.avg_pool2d(sources, 9, stride=1, padding=4, count_include_pad=False)
        shown = self._inside(sources) & (sources.amax(1) > self.darkest)
        room = torch.where(shown, sources.new_tensor(torch.inf), sources.new_tensor(0))
        drawn = [self._one(means, room) for _ in range(self.count)]
        profiles, place, amplitudes, counted = (
            torch.stack(part, 1) for part in zip(*drawn, strict=True)
        )
        added = profiles * amplitudes[..., None, None]
        changed = tuple(
            (image + (added * (place == number)[..., None, None]).sum(1, keepdim=True)).clamp(0, 1)
            for number, image in enumerate(images)
        )
        return Lesions(changed, profiles, place, counted)

    def _inside(self, sources: Tensor) -> Tensor:
        inside = torch.zeros_like(sources[:, 0], dtype=torch.bool)
        inside[:, self.margin : -self.margin, self.margin : -self.margin] = True
        return inside

    def _one(self, means: Tensor, room: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One lesion per slice; ``room`` is every pixel's distance to the lesions so far."""
        slices, _, height, width = means.shape
        sigma, amplitude, source = self._kind(slices, means)
        chosen, background = _own_and_beside(means, source)
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
        return profile * found.view(-1, 1, 1), source, amplitude, found * on_open

    def _kind(self, slices: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """σ, signed amplitude, and which channel of ``like`` it goes into: (N,) each."""
        share = torch.rand(3, slices, device=like.device)
        low, high = (
            torch.where(share[0] < self.large_share, large, small)
            for small, large in zip(self.small, self.large, strict=True)
        )
        size = low + (high - low) * share[1]
        choices = torch.tensor(self.amplitudes, device=like.device)
        amplitude = choices[torch.randint(len(choices), (slices,), device=like.device)]
        sign = torch.randint(0, 2, (slices,), device=like.device) * 2 - 1
        count = like.shape[1]
        return size, amplitude * sign, count - 1 - (count * share[2]).long()


def fixed_lesions(*images: Tensor, seed: int, maker: LesionMaker | None = None) -> Lesions:
    """Lesions that depend on the seed alone; PyTorch's random state is left as it was."""
    with torch.random.fork_rng(devices=[] if images[0].device.type == "cpu" else None):
        torch.manual_seed(seed)
        return (maker or LesionMaker())(*images)


def transfers(lesions: Lesions, change: Tensor, *sources: Tensor) -> Tensor:
    """How much of each lesion's contrast a fused slice shows, (N, L): 1 in full, 0 nothing.

    ``change`` is the fused slice with the lesions minus the one without; the other arguments are
    the sources without. Σ w · change / Σ w · inserted, with w the lesion's own profile.
    """
    added = torch.cat(lesions.sources, dim=1) - torch.cat(sources, dim=1)
    slices = torch.arange(len(change), device=change.device)[:, None]
    inserted = added[slices, lesions.place]
    there = (lesions.profiles * inserted).flatten(2).sum(2)
    shown = (lesions.profiles * change).flatten(2).sum(2)
    return shown / torch.where(there.abs() < 1e-3, torch.ones_like(there), there)


def _own_and_beside(means: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """The means of each slice's source, and the brightest of its other sources, (N, H, W)."""
    own = torch.zeros_like(means).scatter_(1, _at(source, means), 1.0) > 0
    beside = means.masked_fill(own, -torch.inf).amax(1)
    return means.gather(1, _at(source, means))[:, 0], beside


def _at(source: Tensor, means: Tensor) -> Tensor:
    """Numbers of channels (N,) as an index of every pixel, (N, 1, H, W)."""
    return source.view(-1, 1, 1, 1).expand(-1, 1, *means.shape[-2:])


def _squared_distance(place: Tensor, height: int, width: int) -> Tensor:
    """Squared distance of every pixel to a place given by its index: (N, H, W)."""
    rows = torch.arange(height, device=place.device).view(1, -1, 1)
    columns = torch.arange(width, device=place.device).view(1, 1, -1)
    row = torch.div(place, width, rounding_mode="floor").view(-1, 1, 1)
    return ((rows - row) ** 2 + (columns - (place % width).view(-1, 1, 1)) ** 2).float()

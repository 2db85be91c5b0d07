"""What a fused volume hides: at each voxel, the share of each source's local contrast that is gone.

The fused picture is compared with its sources as all three are shown: in their windows and colours.
Around each voxel, weighted by a Gaussian, it is regressed on all sources at once; the slope on a
source is the share of that source's contrast that is kept. The slopes are computed together, so
that contrast which only another source has is not taken for the one's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import GREY_MAXIMUM, Layer, SlicePainter, layers_of
from MedFusionLib.slices.stack import nearest_axes, slice_stack
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    from MedFusionLib.refining.invented import Invented

SIGMA_MM = 1.5
"""Of the Gaussian window, or one voxel where these are larger. Wider windows let the kept contrast
around a small lesion that was lost speak for it (docs/LEGIBILITY.md has the figures)."""
REACH = 3.0
"""Where the window ends, in σ."""
HIDDEN_PERCENT = 80
"""A place hides a source where more than this of its contrast is gone."""
LEAST_CONTRAST = 0.01
"""Standard deviation within the window, of the full range, below which a source has no contrast
that could be hidden."""
RIDGE = 2e-5
"""Added to both variances (a standard deviation of 0.45 % of the range). Where the sources show the
same, it shares the slope between them instead of giving all to either."""
HEAD_LEVEL = 0.05
"""The head is where a source's local mean is above this share of its range."""
_NORMALS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Which of the patient's axes L, P and S a plane's slices follow."""
SLAB_VOXELS = 2_000_000
"""Voxels that are worked on at once, so that memory stays small."""


@dataclass(frozen=True)
class Hidden:
    """Per cent of the local contrast that is hidden, of each source, on the fused volume's grid.

    uint8 volumes, 0 to 100: 0 is shown in full or had nothing to hide, 100 is gone or inverted.
    """

    of_sources: tuple[Volume, ...]
    """Of the reference, and of each other volume in the order of the fusion."""
    names: tuple[str, ...]
    """What the sources are called in the sentence: their modalities, or their roles."""
    head_voxels: int
    invented: Invented | None = None
    """On a finer grid: what of the reference was not measured."""

    @property
    def of_reference(self) -> Volume:
        """Of the reference."""
        return self.of_sources[0]

    @property
    def of_other(self) -> Volume:
        """Of the first other volume."""
        return self.of_sources[1]

    @cached_property
    def worse(self) -> Volume:
        """The largest of all at each voxel: where anything is hidden."""
        voxels = np.maximum.reduce([volume.voxels for volume in self.of_sources])
        return replace(self.of_reference, voxels=voxels)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Share of the head at which more than 80 % of each source's contrast is hidden; nan
        without a head."""
        if not self.head_voxels:
            return (math.nan,) * len(self.of_sources)
        return tuple(
            float(np.count_nonzero(volume.voxels > HIDDEN_PERCENT) / self.head_voxels)
            for volume in self.of_sources
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """Keys of the sources in tables and reports: reference, other, further 1, further 2 …"""
        further = (f"further {number}" for number in range(1, len(self.of_sources) - 1))
        return "reference", "other", *further

    @property
    def sentence(self) -> str:
        """The shares in words, the other volumes first, whose lesions are lost most often; and on
        a finer grid, what was invented."""
        if not self.head_voxels:
            return "All sources are empty: there is nothing to hide."
        (reference, *others), (name, *names) = map(_percent, self.shares), self.names
        first = others[0]
        told = [
            f"{first[:1].upper()}{first[1:]} of the head hides more than {HIDDEN_PERCENT} % of the "
            f"{names[0]}'s local contrast"
        ]
        beside = [*zip(others[1:], names[1:], strict=True), (reference, name)]
        told += [f"{share} that of the {source}" for share, source in beside]
        invented = f" {self.invented.sentence}" if self.invented else ""
        return ", ".join(told) + "." + invented

    def areas(self, plane: str) -> dict[str, list[float]]:
        """mm² of each slice of a plane in which more than 80 % of a source's contrast is hidden,
        by its role."""
        return {
            role: _hidden_areas(volume, plane)
            for role, volume in zip(self.roles, self.of_sources, strict=True)
        }

    @property
    def figures(self) -> dict[str, Any]:
        """Plain JSON values for a report, and the sentence."""
        shares = [share if self.head_voxels else None for share in self.shares]
        return {
            "sigma_mm": SIGMA_MM,
            "head_voxels": self.head_voxels,
            "hidden_share": dict(zip(self.roles, shares, strict=True)),
            "invented": self.invented.figures if self.invented else None,
            "sentence": self.sentence,
        }


def hidden_contrast(
    reference: Volume, others: Sequence[Volume], fused: Volume, report: Mapping[str, Any]
) -> Hidden:
    """Compare a fused volume with its sources, all on one grid.

    ``others`` are the aligned ones, and ``report`` that of the fusion (`FusionResult.report`): it
    has the windows and the colour maps. In colour, grey sources are compared by luminance, those
    in colours by luminance and both chrominances, as they are seen in their own colours.
    """
    sources = (reference, *others)
    maps = [np.zeros(reference.grid_shape, np.uint8) for _ in sources]
    stacks = [slice_stack(one, reference.direction_matrix, "axial") for one in maps]
    compared = _Compared.of(reference, others, fused, report)
    head_voxels = 0
    for place in compared.slabs():
        *shares, head = compared.hidden(place)
        head_voxels += int(torch.count_nonzero(head > 0.5))
        for stack, share in zip(stacks, shares, strict=True):
            stack[place.start : place.stop] = (share * 100).round().to(torch.uint8).numpy()
    metadata = {**fused.metadata, "units": "per cent of the local contrast that is hidden"}
    return Hidden(
        tuple(replace(fused, voxels=voxels, metadata=metadata) for voxels in maps),
        _names(sources),
        head_voxels,
    )


def _hidden_areas(volume: Volume, plane: str) -> list[float]:
    stack = slice_stack(volume.voxels, volume.direction_matrix, plane)
    counts = np.count_nonzero(stack > HIDDEN_PERCENT, axis=(1, 2))
    between = volume.spacing[nearest_axes(volume.direction_matrix)[_NORMALS[plane]]]
    return [float(count) for count in counts * (math.prod(volume.spacing) / between)]


def _names(sources: Sequence[Volume]) -> tuple[str, ...]:
    """Modalities, with a number where several are of one; roles where nobody knows."""
    named = ["reference volume", "other volume"]
    named += [f"further volume {number}" for number in range(1, len(sources) - 1)]
    modalities = [source.modality for source in sources]
    for place, modality in enumerate(modalities):
        if modality != "unknown":
            before = modalities[:place].count(modality)
            alone = modalities.count(modality) == 1 or len(sources) == 2
            named[place] = modality if alone else f"{modality} ({before + 1})"
    return tuple(named)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 or not share else "less than 1 %"


@dataclass(frozen=True)
class _Compared:
    """Sources and fused picture as axial stacks that are read a few slices at a time."""

    painter: SlicePainter
    fused: np.ndarray
    full_scale: float
    sigmas: tuple[float, float, float]
    """Of the window, in voxels along slices, rows and columns."""

    @classmethod
    def of(
        cls,
        reference: Volume,
        others: Sequence[Volume],
        fused: Volume,
        report: Mapping[str, Any],
    ) -> _Compared:
        painter = SlicePainter(
            Layer(reference, Window(**report["reference"]["window"])),
            layers_of(others, report),
            "axial",
        )
        directions = reference.direction_matrix
        left, posterior, superior = nearest_axes(directions)
        steps = [reference.spacing[axis] for axis in (superior, posterior, left)]
        sigma = max(SIGMA_MM, min(steps))
        return cls(
            painter,
            slice_stack(fused.voxels, directions, "axial"),
            255 if painter.in_colour else GREY_MAXIMUM,
            (sigma / steps[0], sigma / steps[1], sigma / steps[2]),
        )

    def slabs(self) -> Iterator[range]:
        count, rows, columns = self.fused.shape[:3]
        depth = max(1, SLAB_VOXELS // (rows * columns))
        for first in range(0, count, depth):
            yield range(first, min(first + depth, count))

    def hidden(self, place: range) -> Tensor:
        """(S + 1, N, H, W) of some slices: hidden shares of the S sources, and 1 where the head
        is."""
        slices = self._axis(0, place)
        sources, fused = self._channels(slices.read)
        light = torch.stack([source[0] for source in sources]).amax(dim=0)
        lit = (light > HEAD_LEVEL).any(dim=0)
        found = torch.zeros(len(sources) + 1, len(place), *lit.shape)
        if lit.any():
            # Where no voxel in reach is above the level, no mean is: there is no head.
            rows, columns = self._around(1, lit.any(dim=1)), self._around(2, lit.any(dim=0))
            *near, shown = (one[..., rows.read, columns.read] for one in (*sources, fused))
            maps = _hidden_shares(near, shown, (slices, rows, columns))
            found[..., rows.written, columns.written] = maps
        return found

    def _axis(self, number: int, place: range) -> _Axis:
        return _Axis(place.start, place.stop, self.fused.shape[number], self.sigmas[number])

    def _around(self, number: int, lit: Tensor) -> _Axis:
        """The part of an axis from which lit places are in reach."""
        places = torch.nonzero(lit)
        reach = math.ceil(REACH * self.sigmas[number])
        first, last = int(places[0]) - reach, int(places[-1]) + reach + 1
        return self._axis(number, range(max(0, first), min(last, len(lit))))

    def _channels(self, read: slice) -> tuple[list[Tensor], Tensor]:
        """The sources and the fused picture (C, N, H, W): luminance, or YCbCr in colour."""
        needed = range(read.start, read.stop)
        units = [self.painter.reference_unit(needed), *self.painter.other_units(needed)]
        shown = self.fused[read].astype(np.float32) / self.full_scale
        *sources, fused = (torch.from_numpy(_planes(image)) for image in (*units, shown))
        return sources, fused


def _planes(image: np.ndarray) -> np.ndarray:
    """(1, N, H, W) of grey slices, (3, N, H, W) of RGB (N, H, W, 3)."""
    if image.ndim == 3:
        return np.ascontiguousarray(image, np.float32)[None]
    return np.ascontiguousarray(np.moveaxis(colours.rgb_to_ycbcr(image), -1, 0))


class _Axis:
    """One axis of a slab: from voxels to Gaussian means on a coarser lattice, and the way back.

    A Gaussian of σ leaves next to nothing that a lattice of steps of σ would miss.
    """

    def __init__(self, first: int, last: int, length: int, sigma: float) -> None:
        step = max(1, round(sigma))
        reach = REACH * sigma
        # One point more at either end, so that the way back has one on each side of every voxel.
        lattice = step * np.arange(first // step, -(-(last - 1) // step) + 1)
        lattice = lattice[lattice < length + reach / 2]
        start, stop = int(np.ceil(lattice[0] - reach)), int(np.floor(lattice[-1] + reach)) + 1
        self.written = slice(first, last)
        self.read = slice(max(0, start), min(length, stop))
        """Voxels from which those that are `written` are computed."""
        away = lattice[:, None] - np.arange(self.read.start, self.read.stop)
        self.smooth = _normalised(np.exp(-np.square(away / sigma) / 2) * (np.abs(away) <= reach))
        away = np.arange(first, last)[:, None] - lattice
        self.back = _normalised(np.maximum(1 - np.abs(away) / step, 0))


def _normalised(weights: np.ndarray) -> Tensor:
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def _along_axes(maps: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """(…, N, H, W) multiplied by a matrix along each of its last three axes."""
    slices, rows, columns = matrices
    return torch.einsum("ln,...nhw->...lhw", slices, rows @ (maps @ columns.T))


def _hidden_shares(sources: Sequence[Tensor], fused: Tensor, axes: Sequence[_Axis]) -> Tensor:
    """(S + 1, N, H, W): hidden shares of the sources, and the share of each voxel in the head."""
    kept, varied, head = _regressed(sources, fused, axes)
    count = len(sources)
    known = torch.stack([varies & head for varies in varied]).float()
    shares = (1 - torch.stack(kept)).clamp(0, 1) * known
    maps = _along_axes(torch.cat([shares, known, head[None].float()]), [axis.back for axis in axes])
    shares, known = maps[:count], maps[count : 2 * count]
    # Points of the lattice without contrast have no say in the share of the voxels beside them.
    maps[:count] = torch.where(known > 0.5, shares / known.clamp(min=0.5), 0.0)
    return torch.cat([maps[:count], maps[2 * count :]])


def _regressed(
    sources: Sequence[Tensor], fused: Tensor, axes: Sequence[_Axis]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Slopes on the sources, where each of them varies, and the head, on the lattice.

    The model at each place: fused = Σ kₛ · sourceₛ, up to a constant for each channel; least
    squares with `RIDGE`. The slope on a source in colour is common to all channels. That on a grey
    one is found in the luminance alone, where the share of the colours is free: where luminance
    yields to a colour, it follows the colour at another slope.
    """
    smooth = [axis.smooth for axis in axes]
    means = [_along_axes(source, smooth) for source in sources]
    fused_mean = _along_axes(fused, smooth)

    def covariance(one: int, two: Tensor, mean: Tensor) -> Tensor:
        """Of a source with another image, in the channels that both have (grey has only light)."""
        shared = min(len(sources[one]), len(two))
        product = _along_axes(sources[one][:shared] * two[:shared], smooth)
        return product - means[one][:shared] * mean[:shared]

    places = range(len(sources))
    between = {
        (i, j): covariance(i, sources[j], means[j]) for i in places for j in places if i <= j
    }
    shown = [covariance(i, fused, fused_mean) for i in places]
    light = _slopes({key: one[0] for key, one in between.items()}, [one[0] for one in shown])
    kept, variances = light, [between[i, i].sum(dim=0) for i in places]
    if len(fused) > 1:
        colours_too = _slopes(
            {key: one.sum(dim=0) for key, one in between.items()},
            [one.sum(dim=0) for one in shown],
        )
        kept = [colours_too[i] if len(source) > 1 else light[i] for i, source in enumerate(sources)]
    brightest = torch.stack([mean[0] for mean in means]).amax(dim=0)
    return kept, [one > LEAST_CONTRAST**2 for one in variances], brightest > HEAD_LEVEL


def _slopes(between: Mapping[tuple[int, int], Tensor], shown: Sequence[Tensor]) -> list[Tensor]:
    """Least squares at every place at once: Gaussian elimination of the normal equations.

    ``between`` has the sources' (co)variances, ``shown`` their covariances with the picture. With
    the ridge the matrix is positive definite, so no pivot is sought.
    """
    count = len(shown)
    rows = [
        [between[min(i, j), max(i, j)] + (RIDGE if i == j else 0.0) for j in range(count)]
        for i in range(count)
    ]
    right = list(shown)
    for pivot in range(count):
        for below in range(pivot + 1, count):
            factor = rows[below][pivot] / rows[pivot][pivot]
            for column in range(pivot + 1, count):
                rows[below][column] = rows[below][column] - factor * rows[pivot][column]
            right[below] = right[below] - factor * right[pivot]
    slopes = list(right)
    for place in reversed(range(count)):
        for column in range(place + 1, count):
            slopes[place] = slopes[place] - rows[place][column] * slopes[column]
        slopes[place] = slopes[place] / rows[place][place]
    return slopes

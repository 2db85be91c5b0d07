"""What a fused volume hides: at each voxel, the share of each source's local contrast that is gone.

The fused picture is compared with its sources as all three are shown: in their windows and colours.
Around each voxel, weighted by a Gaussian, it is regressed on both sources at once; the slope on a
source is the share of that source's contrast that is kept. Both slopes are computed together, so
that contrast which only the other source has is not taken for the one's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import GREY_MAXIMUM, SlicePainter
from MedFusionLib.slices.stack import nearest_axes, slice_stack
from MedFusionLib.volumes.volume import Volume

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

    of_reference: Volume
    of_other: Volume
    names: tuple[str, str]
    """What the sources are called in the sentence: their modalities, or their roles."""
    head_voxels: int

    @cached_property
    def worse(self) -> Volume:
        """The larger of both at each voxel: where anything is hidden."""
        voxels = np.maximum(self.of_reference.voxels, self.of_other.voxels)
        return replace(self.of_reference, voxels=voxels)

    @cached_property
    def shares(self) -> tuple[float, float]:
        """Share of the head at which more than 80 % of the reference's and the other's contrast is
        hidden; nan without a head."""
        if not self.head_voxels:
            return math.nan, math.nan
        one, two = (
            np.count_nonzero(volume.voxels > HIDDEN_PERCENT) / self.head_voxels
            for volume in (self.of_reference, self.of_other)
        )
        return float(one), float(two)

    @property
    def sentence(self) -> str:
        """The shares in words; the other volume first, whose lesions are lost most often."""
        if not self.head_voxels:
            return "Both sources are empty: there is nothing to hide."
        reference, other = (_percent(share) for share in self.shares)
        return (
            f"{other[:1].upper()}{other[1:]} of the head hides more than {HIDDEN_PERCENT} % of the "
            f"{self.names[1]}'s local contrast, {reference} that of the {self.names[0]}."
        )

    def areas(self, plane: str) -> dict[str, list[float]]:
        """mm² of each slice of a plane in which more than 80 % of a source's contrast is hidden,
        for ``reference`` and ``other``."""
        roles = {"reference": self.of_reference, "other": self.of_other}
        return {role: _hidden_areas(volume, plane) for role, volume in roles.items()}

    @property
    def figures(self) -> dict[str, Any]:
        """Plain JSON values for a report, and the sentence."""
        shares = [share if self.head_voxels else None for share in self.shares]
        return {
            "sigma_mm": SIGMA_MM,
            "head_voxels": self.head_voxels,
            "hidden_share": dict(zip(("reference", "other"), shares, strict=True)),
            "sentence": self.sentence,
        }


def hidden_contrast(
    reference: Volume, other: Volume, fused: Volume, report: Mapping[str, Any]
) -> Hidden:
    """Compare a fused volume with its sources, all on one grid.

    ``other`` is the aligned one, and ``report`` that of the fusion (`FusionResult.report`): it has
    the windows and the colour map. In colour, the reference is compared by luminance, the other
    volume by luminance and both chrominances, as it is seen in its own colours.
    """
    maps = [np.zeros(reference.grid_shape, np.uint8) for _ in range(2)]
    stacks = [slice_stack(one, reference.direction_matrix, "axial") for one in maps]
    compared = _Compared.of(reference, other, fused, report)
    head_voxels = 0
    for place in compared.slabs():
        *shares, head = compared.hidden(place)
        head_voxels += int(torch.count_nonzero(head > 0.5))
        for stack, share in zip(stacks, shares, strict=True):
            stack[place.start : place.stop] = (share * 100).round().to(torch.uint8).numpy()
    metadata = {**fused.metadata, "units": "per cent of the local contrast that is hidden"}
    one, two = (replace(fused, voxels=voxels, metadata=metadata) for voxels in maps)
    return Hidden(one, two, (_name("reference", reference), _name("other", other)), head_voxels)


def _hidden_areas(volume: Volume, plane: str) -> list[float]:
    stack = slice_stack(volume.voxels, volume.direction_matrix, plane)
    counts = np.count_nonzero(stack > HIDDEN_PERCENT, axis=(1, 2))
    between = volume.spacing[nearest_axes(volume.direction_matrix)[_NORMALS[plane]]]
    return [float(count) for count in counts * (math.prod(volume.spacing) / between)]


def _name(role: str, volume: Volume) -> str:
    return f"{role} volume" if volume.modality == "unknown" else volume.modality


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
        cls, reference: Volume, other: Volume, fused: Volume, report: Mapping[str, Any]
    ) -> _Compared:
        windows = (
            Window(**report["reference"]["window"]),
            Window(**report["other"]["window"]),
        )
        colour_map = None if report["colour"] == "grey" else report["colour"]
        painter = SlicePainter(reference, other, windows, "axial", colour_map)
        directions = reference.direction_matrix
        left, posterior, superior = nearest_axes(directions)
        steps = [reference.spacing[axis] for axis in (superior, posterior, left)]
        sigma = max(SIGMA_MM, min(steps))
        return cls(
            painter,
            slice_stack(fused.voxels, directions, "axial"),
            GREY_MAXIMUM if colour_map is None else 255,
            (sigma / steps[0], sigma / steps[1], sigma / steps[2]),
        )

    def slabs(self) -> Iterator[range]:
        count, rows, columns = self.fused.shape[:3]
        depth = max(1, SLAB_VOXELS // (rows * columns))
        for first in range(0, count, depth):
            yield range(first, min(first + depth, count))

    def hidden(self, place: range) -> Tensor:
        """(3, N, H, W) of some slices: hidden shares of both sources, and 1 where the head is."""
        slices = self._axis(0, place)
        channels = self._channels(slices.read)
        lit = (torch.maximum(channels[0], channels[1][0]) > HEAD_LEVEL).any(dim=0)
        found = torch.zeros(3, len(place), *lit.shape)
        if lit.any():
            # Where no voxel in reach is above the level, no mean is: there is no head.
            rows, columns = self._around(1, lit.any(dim=1)), self._around(2, lit.any(dim=0))
            light, other, fused = (one[..., rows.read, columns.read] for one in channels)
            maps = _hidden_shares(light, other, fused, (slices, rows, columns))
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

    def _channels(self, read: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Reference (N, H, W), other and fused (C, N, H, W): luminance, or YCbCr in colour."""
        needed = range(read.start, read.stop)
        reference, other = self.painter.reference_unit(needed), self.painter.other_unit(needed)
        shown = self.fused[read].astype(np.float32) / self.full_scale
        one, two = (torch.from_numpy(_planes(image)) for image in (other, shown))
        return torch.from_numpy(np.ascontiguousarray(reference)), one, two


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


def _hidden_shares(
    reference: Tensor, other: Tensor, fused: Tensor, axes: Sequence[_Axis]
) -> Tensor:
    """(3, N, H, W): hidden shares of both sources, and the share of each voxel in the head."""
    kept, varied, head = _regressed(reference, other, fused, axes)
    known = torch.stack([varies & head for varies in varied]).float()
    shares = (1 - torch.stack(kept)).clamp(0, 1) * known
    maps = _along_axes(torch.cat([shares, known, head[None].float()]), [axis.back for axis in axes])
    shares, known = maps[:2], maps[2:4]
    # Points of the lattice without contrast have no say in the share of the voxels beside them.
    maps[:2] = torch.where(known > 0.5, shares / known.clamp(min=0.5), 0.0)
    return torch.cat([maps[:2], maps[4:]])


def _regressed(
    reference: Tensor, other: Tensor, fused: Tensor, axes: Sequence[_Axis]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
    """Slopes on both sources, where each of them varies, and the head, on the lattice.

    The model at each place: fused = k_r · (reference as grey) + k_o · other, up to a constant for
    each channel; least squares with `RIDGE`. The slope on the other volume is common to all
    channels. That on the reference is found in the luminance alone, whose share of the other volume
    is free there: where luminance yields to a colour, it follows the colour at another slope.
    """
    count, light = len(other), reference[None]
    products = (light.square(), light * other[:1], light * fused[:1], other.square(), other * fused)
    smooth = [axis.smooth for axis in axes]
    means = torch.cat([_along_axes(one, smooth) for one in (light, other, fused, *products)])
    r, o, f, rr, ro, rf, oo, of = means.split([1, count, count, 1, 1, 1, count, count])
    rr, ro, rf = rr - r.square(), ro - r * o[:1], rf - r * f[:1]
    oo, of = oo - o.square(), of - o * f
    all_oo, all_of = oo.sum(dim=0, keepdim=True), of.sum(dim=0, keepdim=True)
    kept = _slope(rr, oo[:1], ro, rf, of[:1])[0], _slope(all_oo, rr, ro, all_of, rf)[0]
    varied = (rr > LEAST_CONTRAST**2)[0], (all_oo > LEAST_CONTRAST**2)[0]
    return kept, varied, torch.maximum(r[0], o[0]) > HEAD_LEVEL


def _slope(own: Tensor, beside: Tensor, both: Tensor, shown: Tensor, other_shown: Tensor) -> Tensor:
    """Slope on a source from its variance, that of the source beside it, their covariance, and
    those of either with the fused picture."""
    own, beside = own + RIDGE, beside + RIDGE
    return (shown * beside - other_shown * both) / (own * beside - both.square())

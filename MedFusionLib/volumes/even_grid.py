"""Slices as they lie, and their way onto an even, right-angled grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from MedFusionLib.volumes.volume import Volume

EVEN_TOLERANCE = 0.02
"""Slice gaps that differ by less than this share of the usual gap count as even."""
SIDEWAYS_TOLERANCE = 0.1
"""Slices shifted within their plane by less than this many mm count as not shifted."""
DRIFT_TOLERANCE = 0.05
"""An even grid may miss a slice by less than this share of the usual gap."""
MISSING_FACTOR = 1.8
"""A gap this many times as wide as its neighbour may be a place where slices are missing."""
BLOCK = 3
"""So many equal gaps in a row are a block that was measured with that gap."""


@dataclass(frozen=True)
class SliceGaps:
    """Distances between neighbouring slices along their normal, in mm, in slice order.

    ``numbers`` are the slices' instance numbers in the same order, where all have one.
    """

    gaps: np.ndarray
    numbers: np.ndarray | None = None

    @property
    def usual(self) -> float:
        return float(np.median(self.gaps))

    @property
    def finest(self) -> float:
        """The smallest gap that is no exception (at least a tenth of all gaps)."""
        rounded = np.round(self.gaps, 2)
        common = (gap for gap in rounded if (rounded == gap).mean() >= 0.1)
        return float(min(common, default=self.usual))

    @property
    def step(self) -> float:
        """The gap of the even grid: the mean of even gaps, else the finest."""
        return float(self.gaps.mean()) if self.even else self.finest

    @cached_property
    def even(self) -> bool:
        """Whether all gaps are alike and an even grid meets every slice."""
        alike = np.abs(self.gaps - self.usual) <= EVEN_TOLERANCE * self.usual
        drift = np.cumsum(self.gaps - self.gaps.mean())
        return bool(alike.all() and np.abs(drift).max() <= DRIFT_TOLERANCE * self.usual)

    @property
    def slices_missing(self) -> bool:
        """Whether wide gaps are holes, and not a part that was measured with thicker slices.

        A hole is a gap at least 1.8 times as wide as its neighbours that stands alone or in a pair.
        Three and more equal gaps in a row are a block of its own, unless the slices' instance
        numbers jump there just as far.
        """
        runs = self._runs()
        for index, run in enumerate(runs):
            width = self.gaps[run].mean()
            beside = [
                self.gaps[runs[near]].mean()
                for near in (index - 1, index + 1)
                if 0 <= near < len(runs)
            ]
            wide = any(width >= MISSING_FACTOR * other for other in beside)
            if wide and (run.stop - run.start < BLOCK or self._numbers_jump(run)):
                return True
        return False

    def _runs(self) -> list[slice]:
        """Stretches of gaps that are alike."""
        change = np.abs(np.diff(self.gaps)) > EVEN_TOLERANCE * self.usual
        ends = [0, *(np.flatnonzero(change) + 1).tolist(), len(self.gaps)]
        return [slice(start, stop) for start, stop in pairwise(ends)]

    def _numbers_jump(self, run: slice) -> bool:
        """Whether instance numbers leave places free where the gap is wide."""
        if self.numbers is None:
            return False
        steps = np.abs(np.diff(self.numbers))
        return bool(steps.min() > 0 and (steps[run] >= MISSING_FACTOR * steps.min()).all())

    def sentence(self) -> str:
        """The distinct gaps and where they lie, in words."""
        rounded = np.round(self.gaps, 2)
        values = ", ".join(f"{gap:g} mm ({(rounded == gap).sum()}×)" for gap in np.unique(rounded))
        odd = np.flatnonzero(np.abs(self.gaps - self.usual) > EVEN_TOLERANCE * self.usual)
        places = ", ".join(f"{index + 1}-{index + 2}" for index in odd[:8])
        more = " and more" if len(odd) > 8 else ""
        return f"gaps of {values}; uneven after slices {places}{more}"


@dataclass(frozen=True)
class SlicePlaces:
    """Where each slice of a stack lies, in slice order.

    ``positions`` (slices, 3): centre of each first voxel, LPS in mm; ``orientation`` (2, 3): the
    unit vectors along a row and along a column.
    """

    positions: np.ndarray
    orientation: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[0], self.orientation[1])

    @property
    def along(self) -> np.ndarray:
        """Millimetres of each slice along the normal."""
        return self.positions @ self.normal

    @property
    def sideways(self) -> np.ndarray:
        """(slices, 2): shift of each slice along its rows and columns against the first, in mm."""
        return (self.positions - self.positions[0]) @ self.orientation.T

    @property
    def shifted(self) -> bool:
        return bool(np.abs(self.sideways).max() > SIDEWAYS_TOLERANCE)


def on_even_grid(volume: Volume, places: SlicePlaces, gaps: SliceGaps) -> Volume:
    """Linear interpolation onto a right-angled grid that holds all slices.

    Within the plane each slice is moved to where it lies; then values are mixed between
    neighbouring slices along their normal. Says so in ``metadata["warnings"]``.
    """
    along = places.along
    count = int(np.floor((along[-1] - along[0]) / gaps.step + 1e-6)) + 1
    wanted = along[0] + gaps.step * np.arange(count)
    upper = np.searchsorted(along, wanted).clip(1, len(along) - 1)
    share = ((wanted - along[upper - 1]) / (along[upper] - along[upper - 1])).clip(0, 1)
    stack, corner = _moved_slices(volume, places)
    even = np.empty((count, *stack.shape[1:]), dtype=stack.dtype)
    for index, (above, weight) in enumerate(zip(upper, share, strict=True)):
        mixed = (1 - weight) * stack[above - 1] + weight * stack[above]
        even[index] = np.rint(mixed) if even.dtype.kind in "iu" else mixed
    told = [*volume.metadata.get("warnings", "").splitlines(), _even_grid_warning(places, gaps)]
    x, y, z = (np.asarray(volume.origin) + corner @ places.orientation).tolist()
    return replace(
        volume,
        voxels=even,
        spacing=(*volume.spacing[:2], gaps.step),
        origin=(x, y, z),
        metadata=dict(volume.metadata) | {"warnings": "\n".join(told)},
    )


def _moved_slices(volume: Volume, places: SlicePlaces) -> tuple[np.ndarray, np.ndarray]:
    """All slices on one in-plane grid, and that grid's corner against the first slice's (mm).

    Where a slice does not reach, its pixels take the volume's smallest value.
    """
    import SimpleITK

    if not places.shifted:
        return volume.voxels, np.zeros(2)
    shifts = places.sideways
    pixel = np.asarray(volume.spacing[:2])
    corner, far = shifts.min(axis=0), shifts.max(axis=0)
    columns, rows = volume.grid_shape[2], volume.grid_shape[1]
    size = np.array([columns, rows]) + np.ceil((far - corner) / pixel - 1e-6).astype(int)
    moved = np.empty((len(shifts), size[1], size[0], *volume.voxels.shape[3:]), volume.voxels.dtype)
    outside = float(volume.voxels.min())
    for index, shift in enumerate(shifts):
        plane = SimpleITK.GetImageFromArray(volume.voxels[index], isVector=volume.is_colour)
        plane.SetSpacing(pixel.tolist())
        plane.SetOrigin(shift.tolist())
        resampler = SimpleITK.ResampleImageFilter()
        resampler.SetSize(size.tolist())
        resampler.SetOutputSpacing(pixel.tolist())
        resampler.SetOutputOrigin(corner.tolist())
        resampler.SetDefaultPixelValue(outside)
        # Left to itself, the filter cuts the fraction off integer results: 1.9 would become 1.
        resampler.SetOutputPixelType(
            SimpleITK.sitkVectorFloat32 if volume.is_colour else SimpleITK.sitkFloat32
        )
        values = SimpleITK.GetArrayFromImage(resampler.Execute(plane))
        moved[index] = np.rint(values) if moved.dtype.kind in "iu" else values
    return moved, corner


def _even_grid_warning(places: SlicePlaces, gaps: SliceGaps) -> str:
    reasons = []
    if not gaps.even:
        reasons.append(f"The slices are unevenly spaced ({gaps.sentence()})")
    if places.shifted:
        sideways = np.linalg.norm(places.sideways[-1] - places.sideways[0])
        angle = np.degrees(np.arctan2(sideways, gaps.gaps.sum()))
        reasons.append(f"The gantry was tilted by {angle:.1f} degrees against the slices")
    return f"{'. '.join(reasons)}: the series was resampled to an even grid of {gaps.step:g} mm."

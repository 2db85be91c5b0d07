"""Lesions in whole volumes: balls in millimetres, put into a source as it was measured.

The profile is that of `lesions`: amplitude · exp(-r² / 2σ²), cut at r = 3σ, r in mm.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.legibility import lesions
from MedFusionLib.evaluation.legibility.lesions import CUT, SizeClass, ball_profile
from MedFusionLib.slices.intensity import Window
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

SIZES = (SizeClass("small", (2.0, 4.0), 30.0), SizeClass("large", (5.0, 9.0), 60.0))
"""In mm: 5 to 9 mm and 12 to 21 mm across at half height."""
WINDOW_MM = 7.0
"""Width of the cube over which a source's mean decides whether a ball fits."""

_SEEDED = {0: "True", 1: "False"}
"""What names the first two sources to the generator of places; further ones go by number."""


@dataclass(frozen=True)
class Ball:
    """One lesion, by the voxel of the reference's grid at its centre."""

    voxel: tuple[int, int, int]
    """K, J, I."""
    sigma: float
    ground: str
    hot: bool

    def box(self, grid: Volume) -> tuple[slice, slice, slice]:
        """The voxels of the reference's grid that it reaches."""
        return _box(np.array(self.voxel, float), self.sigma, grid)

    def profile(self, grid: Volume) -> np.ndarray:
        """Its shape within `box`; float32."""
        return _profile(np.array(self.voxel, float), self.sigma, grid)


@dataclass(frozen=True)
class Study:
    """Volumes as they are fused: windows, and the way from the reference to each other one."""

    reference: Volume
    others: tuple[Volume, ...]
    aligned_others: tuple[Volume, ...]
    """On the reference's grid."""
    windows: tuple[Window, ...]
    """Of the reference, and of each other one."""
    transforms: tuple[SimpleITK.Transform | None, ...]

    @property
    def sources(self) -> tuple[Volume, ...]:
        """The volumes as they were measured, the reference first."""
        return self.reference, *self.others

    def units(self) -> list[np.ndarray]:
        """All volumes on the reference's grid, in [0, 1]."""
        on_grid = (self.reference, *self.aligned_others)
        return [
            window.to_unit(one.voxels) for window, one in zip(self.windows, on_grid, strict=True)
        ]


@dataclass(frozen=True)
class VolumeVariant:
    """The volumes with balls of one kind in one of them."""

    place: int
    """Of the one with balls among the sources: 0 is the reference."""
    amplitude: float
    size: str
    balls: tuple[Ball, ...]
    sources: tuple[Volume, ...]


def variants(study: Study) -> Iterator[VolumeVariant]:
    """The volumes with balls: in each one, of each amplitude and size; those that fit.

    Places depend on `lesions.SEED` alone. Raises: InputError for an other volume in colour.
    """
    if any(other.is_colour for other in study.others):
        raise InputError("Lesions cannot be put into a colour volume. Give the scalar volume.")
    units = study.units()
    for place, source in enumerate(units):
        beside = [unit for number, unit in enumerate(units) if number != place]
        for amplitude in lesions.AMPLITUDES:
            for size in SIZES:
                name = f"{_SEEDED.get(place, place)} {amplitude} {size.name}".encode()
                generator = np.random.default_rng([lesions.SEED, zlib.crc32(name)])
                balls = place_balls(study.reference, [source, *beside], amplitude, size, generator)
                if balls:
                    yield _variant(study, place, amplitude, size.name, balls)


def _variant(
    study: Study, place: int, amplitude: float, size: str, balls: Sequence[Ball]
) -> VolumeVariant:
    sources = list(study.sources)
    transform = None if place == 0 else study.transforms[place - 1]
    sources[place] = insert(
        sources[place], study.reference, balls, amplitude, study.windows[place], transform
    )
    return VolumeVariant(place, amplitude, size, tuple(balls), tuple(sources))


def place_balls(
    grid: Volume,
    units: Sequence[np.ndarray],
    amplitude: float,
    size: SizeClass,
    generator: np.random.Generator,
) -> list[Ball]:
    """Balls for the first of several volumes in [0, 1] on one grid, drawn evenly from their places.

    Their ground is the brightest of the volumes beside it.
    """
    width = [max(1, 2 * round((WINDOW_MM / step - 1) / 2) + 1) for step in grid.spacing[::-1]]
    around, *beside = (scipy.ndimage.uniform_filter(unit, width) for unit in units)
    ground = np.maximum.reduce(beside)
    raised = around + amplitude
    lit = np.maximum.reduce(units) > lesions.LIT
    free = lit & (raised > lesions.LEAST) & (raised < lesions.MOST)
    voxels = np.argwhere(free)
    places = voxels * np.array(grid.spacing[::-1])
    balls = []
    while len(voxels):
        chosen = int(generator.integers(len(voxels)))
        k, j, i = voxels[chosen].tolist()
        saturated = ground[k, j, i] > lesions.SATURATED
        balls.append(
            Ball(
                (k, j, i),
                float(generator.uniform(*size.sigma)),
                lesions.SATURATED_GROUND if saturated else lesions.OPEN_GROUND,
                bool(ground[k, j, i] > lesions.HOT),
            )
        )
        far = np.square(places - places[chosen]).sum(axis=1) >= size.apart**2
        voxels, places = voxels[far], places[far]
    return balls


def insert(
    volume: Volume,
    grid: Volume,
    balls: Sequence[Ball],
    amplitude: float,
    window: Window,
    transform: SimpleITK.Transform | None,
) -> Volume:
    """The volume in float32 with balls, whose voxels are those of ``grid``; kept to the window.

    ``transform`` goes from the grid's space to the volume's (LPS, mm); None for one space.
    """
    voxels = volume.voxels.astype(np.float32)
    for ball in balls:
        centre = _voxel_in(volume, grid, ball, transform)
        box = _box(centre, ball.sigma, volume)
        if all(one.start < one.stop for one in box):
            step = np.float32(amplitude * (window.high - window.low))
            changed = voxels[box] + step * _profile(centre, ball.sigma, volume)
            # Beyond the window the eye sees no change, so that none is made.
            low, high = (np.float32(end) for end in (window.low, window.high))
            voxels[box] = np.clip(
                changed, np.minimum(voxels[box], low), np.maximum(voxels[box], high)
            )
    return replace(volume, voxels=voxels)


def _voxel_in(
    volume: Volume, grid: Volume, ball: Ball, transform: SimpleITK.Transform | None
) -> np.ndarray:
    """K, J, I (not whole) of a ball's centre in a volume."""
    point = (grid.affine_lps @ [*ball.voxel[::-1], 1.0])[:3]
    if transform is not None:
        point = np.array(transform.TransformPoint(point.tolist()))
    return np.linalg.solve(volume.affine_lps, [*point, 1.0])[:3][::-1]


def _box(centre: np.ndarray, sigma: float, volume: Volume) -> tuple[slice, slice, slice]:
    reach = CUT * sigma / np.array(volume.spacing[::-1])
    first = np.maximum(np.ceil(centre - reach), 0).astype(int)
    last = np.minimum(np.floor(centre + reach), np.array(volume.grid_shape) - 1).astype(int)
    k, j, i = (slice(int(one), int(two) + 1) for one, two in zip(first, last, strict=True))
    return k, j, i


def _profile(centre: np.ndarray, sigma: float, volume: Volume) -> np.ndarray:
    box = _box(centre, sigma, volume)
    axes = [
        np.square((np.arange(one.start, one.stop) - middle) * step)
        for one, middle, step in zip(box, centre, volume.spacing[::-1], strict=True)
    ]
    return ball_profile(axes[0][:, None, None] + axes[1][:, None] + axes[2], sigma)

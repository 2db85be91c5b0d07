"""What a study does to a volume before it is registered: misplaced, cut, flipped, noised …

Each change takes a volume and a seed and gives a volume on a grid of the same space, so that the
transform that was right before is right after; ``flipped`` alone has no right transform left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import SimpleITK
from scipy import ndimage
from scipy.optimize import brentq

from MedFusionLib.registration.images import head_mask, on_grid
from MedFusionLib.registration.overlap import resample
from MedFusionLib.registration.transforms import displacements, matrix_of
from MedFusionLib.volumes.volume import Volume, to_image

LARGEST_DEGREES = 25.0
LARGEST_MM = 40.0
MOST_DEGREES = 90.0
MARGIN = 1.3
CUT_SHARE = 0.25
NOISE_SHARE = 0.1
BIAS = 0.5
LESION_MM = 15.0

Change = Callable[[Volume, int], Volume]


def made_transform(centre: tuple[float, float, float], seed: int) -> SimpleITK.Transform:
    """Rigid transform about a centre: a turn of up to 25° about any axis, a shift up to 40 mm."""
    random = np.random.default_rng(seed)
    axis, way = (one / np.linalg.norm(one) for one in random.normal(size=(2, 3)))
    degrees, length = random.uniform(0, LARGEST_DEGREES), random.uniform(0, LARGEST_MM)
    turn = SimpleITK.VersorRigid3DTransform()
    turn.SetCenter(centre)
    turn.SetRotation(axis.tolist(), float(np.radians(degrees)))
    turn.SetTranslation((length * way).tolist())
    return turn


def made_transform_by(
    millimetres: float, centre: tuple[float, float, float], points: np.ndarray, seed: int
) -> SimpleITK.Transform:
    """Rigid transform about a centre that moves the points (N, 3) by so much on average.

    A degree for every millimetre, about and along random axes, as much of both as it takes.
    """
    random = np.random.default_rng(seed)
    axis, way = (one / np.linalg.norm(one) for one in random.normal(size=(2, 3)))
    identity = SimpleITK.Transform(3, SimpleITK.sitkIdentity)

    def moved_by(amount: float) -> SimpleITK.Transform:
        turn = SimpleITK.VersorRigid3DTransform()
        turn.SetCenter(centre)
        turn.SetRotation(axis.tolist(), float(np.radians(amount)))
        turn.SetTranslation((amount * way).tolist())
        return turn

    def excess(amount: float) -> float:
        return float(displacements(moved_by(amount), identity, points).mean()) - millimetres

    return moved_by(brentq(excess, 0.0, MOST_DEGREES) if millimetres > 0 else 0.0)


def filed_elsewhere(volume: Volume, transform: SimpleITK.Transform) -> Volume:
    """The volume with its head moved by a rigid ``transform``, by the header alone."""
    matrix = matrix_of(transform) @ volume.affine_lps
    directions = matrix[:3, :3] / np.array(volume.spacing)
    return replace(
        volume,
        origin=tuple(matrix[:3, 3].tolist()),
        directions=tuple(directions.ravel().tolist()),
    )


def scanned_elsewhere(volume: Volume, transform: SimpleITK.Transform) -> Volume:
    """The volume as a scanner sees it after ``transform`` moved the head: same directions, a
    grid around the new place."""
    shape = tuple(int(np.ceil(MARGIN * length)) for length in volume.grid_shape)
    middles = [(np.array(size[::-1]) - 1) / 2 for size in (volume.grid_shape, shape)]
    there = np.array(transform.TransformPoint((volume.affine_lps @ [*middles[0], 1])[:3].tolist()))
    origin = there - volume.affine_lps[:3, :3] @ middles[1]
    empty = np.broadcast_to(np.uint8(0), shape)
    grid = Volume(empty, volume.spacing, tuple(origin.tolist()), volume.directions)
    return resample(volume, grid, transform.GetInverse())


def _cut(volume: Volume, seed: int) -> Volume:
    """A quarter less on one side of one axis."""
    random = np.random.default_rng(seed)
    axis, at_start = int(random.integers(3)), bool(random.integers(2))
    lost = int(CUT_SHARE * volume.grid_shape[axis])
    first = [0, 0, 0]
    first[axis] = lost if at_start else 0
    parts = [slice(None)] * 3
    parts[axis] = slice(lost, None) if at_start else slice(0, volume.grid_shape[axis] - lost)
    origin = (volume.affine_lps @ [*first[::-1], 1])[:3]
    voxels = np.ascontiguousarray(volume.voxels[tuple(parts)])
    return replace(volume, voxels=voxels, origin=tuple(origin.tolist()))


def _flipped(volume: Volume, seed: int) -> Volume:
    """Left for right: the voxels mirrored along the axis that runs most nearly left–right."""
    axis = 2 - int(np.argmax(np.abs(volume.direction_matrix[0])))
    return replace(volume, voxels=np.ascontiguousarray(np.flip(volume.voxels, axis)))


def _with(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    """A change of the values alone; they become float32."""

    def changed(volume: Volume, seed: int) -> Volume:
        values = volume.voxels.astype(np.float32)
        return replace(
            volume, voxels=change(values, np.random.default_rng(seed)).astype(np.float32)
        )

    return changed


def _noised(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    spread = NOISE_SHARE * float(np.ptp(values))
    return values + random.normal(0.0, spread, values.shape)


def _biased(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Brighter to one side by half, as a coil's profile."""
    way = random.normal(size=3)
    ramps = np.meshgrid(*(np.linspace(-1, 1, n) for n in values.shape), indexing="ij")
    slope = sum(part * ramp for part, ramp in zip(way / np.linalg.norm(way), ramps, strict=True))
    return values.min() + (values - values.min()) * (1 + BIAS * slope)


def _scaled(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.uniform(0.1, 10.0) * values + random.uniform(-500.0, 500.0)


def _inverted(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return values.max() + values.min() - values


def _with_lesion(volume: Volume, seed: int) -> Volume:
    """A bright ball of 15 mm radius somewhere in the head."""
    random = np.random.default_rng(seed)
    inside = np.argwhere(_head(volume))
    middle = inside[random.integers(len(inside))]
    steps = np.array(volume.spacing[::-1])
    places = np.ogrid[tuple(slice(0, n) for n in volume.grid_shape)]
    squares = sum(((p - m) * s) ** 2 for p, m, s in zip(places, middle, steps, strict=True))
    bright = np.percentile(volume.voxels, 99.5).astype(volume.voxels.dtype)
    return replace(volume, voxels=np.where(squares < LESION_MM**2, bright, volume.voxels))


def _stripped(volume: Volume, seed: int) -> Volume:
    """Without the outer 12 mm of the head, about skin and skull."""
    inside = _head(volume)
    deep = ndimage.distance_transform_edt(inside, sampling=volume.spacing[::-1]) > 12.0
    return replace(volume, voxels=np.where(deep, volume.voxels, volume.voxels.min()))


def _head(volume: Volume) -> np.ndarray:
    image = SimpleITK.Cast(to_image(volume), SimpleITK.sitkFloat32)
    return SimpleITK.GetArrayFromImage(on_grid(head_mask(image), image)) > 0


FLIPPED = "flipped"
CHANGES: dict[str, Change] = {
    "cropped": _cut,
    FLIPPED: _flipped,
    "noised": _with(_noised),
    "biased": _with(_biased),
    "scaled": _with(_scaled),
    "inverted": _with(_inverted),
    "lesion": _with_lesion,
    "stripped": _stripped,
}

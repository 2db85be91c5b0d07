"""Finding the transform: starts, a coarse search over rotations, then finer and finer images.

Everything is SimpleITK's ImageRegistrationMethod with Mattes mutual information (Mattes et al.,
IEEE TMI 22:120–128, 2003). Each run uses one thread and a given seed: sums over several threads
come in any order, and a registration that does not repeat cannot be checked. The two cores of a
small machine are used by running independent registrations side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
import SimpleITK

from MedFusionLib.errors import Cancelled, RegistrationError
from MedFusionLib.registration_images import Head, box_points, shrink
from MedFusionLib.registration_transforms import displacements, moved, unwrapped

Cancel = Callable[[], bool]
Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 2
CANCELLED = "The registration was cancelled; nothing was written."
CAME_APART = (
    "The two heads hardly overlap, so they cannot be registered from there. Check that both "
    "volumes show the same region, or start from another transform (--initial)."
)
NEAR_DEGREES = (-20.0, 0.0, 20.0)
WIDE_DEGREES = (-40.0, -20.0, 0.0, 20.0, 40.0)
UP_AND_DOWN_MM = (-30.0, 30.0)
CLIMBED = 6
REFINED = 3
AGREEING_MM = 15.0
LEAST_COVERED = 0.3
HEAD_POINTS = 500


@dataclass(frozen=True)
class Stage:
    """One resolution: voxel width and step lengths in mm, samples drawn, histogram bins."""

    voxel_mm: float
    samples: int
    bins: int
    first_step_mm: float
    last_step_mm: float


SEARCH = Stage(8.0, 8_000, 24, 8.0, 0.5)
COARSE = Stage(4.0, 20_000, 32, 3.0, 0.1)
FINE = Stage(2.0, 40_000, 96, 1.0, 0.02)
CHECK = Stage(3.0, 15_000, 48, 2.0, 0.05)


@dataclass(frozen=True)
class Found:
    """A transform from the fixed to the moving head, and its mutual information in nats."""

    transform: SimpleITK.Transform
    mutual_information: float


def never() -> bool:
    """A cancel that is never asked for."""
    return False


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within, every ITK filter and metric uses one thread.

    A method's own ``SetNumberOfThreads`` does not reach its metric, which would add up the parts
    of its threads in whatever order they end; the last bits then differ from run to run, and
    after a hundred iterations so does the third digit.
    """
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Results in the order of the items; SimpleITK lets other threads run while it computes."""
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, items))


def optimise(
    fixed: Head,
    moving: Head,
    mask: SimpleITK.Image,
    start: SimpleITK.Transform,
    stage: Stage,
    seed: int,
    cancel: Cancel = never,
) -> Found:
    """Climb from ``start`` at one resolution, looking at the fixed voxels inside ``mask``.

    Raises ``Cancelled`` as soon as ``cancel()`` says so, and ``RegistrationError`` where the heads
    come apart so far that too few samples are left.
    """
    method = _method(mask, stage)
    image = _cropped(shrink(fixed.image, stage.voxel_mm), mask)
    inside = max(1, int(SimpleITK.GetArrayFromImage(on_grid(mask, image)).sum()))
    method.SetMetricSamplingPercentage(min(1.0, stage.samples / inside), seed + 1)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetInitialTransform(start, inPlace=False)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetOptimizerAsRegularStepGradientDescent(
        stage.first_step_mm,
        stage.last_step_mm,
        numberOfIterations=200,
        # 0.5, ITK's default, stops up to 15 mm away: rotations and shifts pull against each other.
        relaxationFactor=0.85,
        gradientMagnitudeTolerance=1e-8,
    )
    method.AddCommand(SimpleITK.sitkIterationEvent, lambda: _stop_if(method, cancel))
    try:
        found = method.Execute(image, shrink(moving.image, stage.voxel_mm))
    except RuntimeError as error:
        raise RegistrationError(CAME_APART) from error
    if cancel():
        raise Cancelled(CANCELLED)
    return Found(unwrapped(found), -method.GetMetricValue())


def _stop_if(method: SimpleITK.ImageRegistrationMethod, cancel: Cancel) -> None:
    if cancel():
        method.StopRegistration()


def _method(mask: SimpleITK.Image, stage: Stage) -> SimpleITK.ImageRegistrationMethod:
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(stage.bins)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(SimpleITK.sitkLinear)
    return method


def _cropped(image: SimpleITK.Image, mask: SimpleITK.Image) -> SimpleITK.Image:
    """The part of the image around the mask: samples drawn elsewhere would be thrown away."""
    inside = SimpleITK.GetArrayFromImage(on_grid(mask, image))
    if not inside.any():
        return image
    spans = [np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    low = [int(span[0]) for span in spans]
    size = [int(span[-1] - span[0] + 1) for span in spans]
    return SimpleITK.RegionOfInterest(image, size, low)


def on_grid(mask: SimpleITK.Image, image: SimpleITK.Image) -> SimpleITK.Image:
    """The mask on the image's grid."""
    return SimpleITK.Resample(mask, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)


def best_rigid_start(
    fixed: Head, moving: Head, seed: int, cancel: Cancel = never
) -> SimpleITK.Transform:
    """A transform near the right one, wherever the two heads lie at first.

    Tried are the positions as they are, the centres of the two images and the centres of mass of
    the two heads (also 30 mm up and down, because a PET shows the brain where an MR shows the
    neck as well), each turned by up to 20° about every axis. The best ones are optimised on 8 mm
    and 4 mm voxels. Where they do not come together, rotations up to 40° are searched as well.
    """
    found = _climb_from_best(fixed, moving, NEAR_DEGREES, seed, cancel)
    if not _agree(found, fixed):
        found += _climb_from_best(fixed, moving, WIDE_DEGREES, seed, cancel)
    if not found:
        raise RegistrationError(
            "No position was found in which the two heads overlap. Check that both volumes show "
            "the same region, or start from another transform (--initial)."
        )
    return max(found, key=_information).transform


def _information(found: Found) -> float:
    return found.mutual_information


def _climb_from_best(
    fixed: Head, moving: Head, degrees: Sequence[float], seed: int, cancel: Cancel
) -> list[Found]:
    """Optimised starts, best first; may be empty."""
    starts = _candidates(fixed, moving, degrees)
    values = values_at(fixed, moving, starts, cancel)
    order = np.argsort(values)[::-1][:CLIMBED]
    found = climb(fixed, moving, [starts[place] for place in order], SEARCH, seed, cancel)
    best = [one.transform for one in found[:REFINED]]
    return climb(fixed, moving, best, COARSE, seed, cancel)


def climb(
    fixed: Head,
    moving: Head,
    starts: Sequence[SimpleITK.Transform],
    stage: Stage,
    seed: int,
    cancel: Cancel,
) -> list[Found]:
    mask = fixed.skin

    def one_climb(start: SimpleITK.Transform) -> Found | None:
        try:
            return optimise(fixed, moving, mask, start, stage, seed, cancel)
        except RegistrationError:  # the heads came apart on the way
            return None

    found = [one for one in side_by_side(one_climb, starts) if one is not None]
    kept = [one for one in found if covered(fixed, moving, one.transform) >= LEAST_COVERED]
    return sorted(kept, key=_information, reverse=True)


def _agree(found: Sequence[Found], fixed: Head) -> bool:
    """Whether at least two starts ended, up to 15 mm, in the place of the best one."""
    points = box_points(fixed.mask)
    distances = [displacements(one.transform, found[0].transform, points).mean() for one in found]
    return sum(distance < AGREEING_MM for distance in distances) >= 2


def _candidates(fixed: Head, moving: Head, degrees: Sequence[float]) -> list[SimpleITK.Transform]:
    mass = np.array(moving.centre) - fixed.centre
    shifts = [np.zeros(3), np.array(_middle(moving.image)) - _middle(fixed.image), mass]
    shifts += [mass + np.array([0.0, 0.0, up]) for up in UP_AND_DOWN_MM]
    starts = [
        SimpleITK.Euler3DTransform(fixed.centre, *np.radians(angles).tolist(), shift.tolist())
        for shift, angles in product(shifts, product(degrees, repeat=3))
    ]
    return [start for start in starts if covered(fixed, moving, start) >= LEAST_COVERED]


def _middle(image: SimpleITK.Image) -> tuple[float, float, float]:
    return image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])


def values_at(
    fixed: Head, moving: Head, starts: Sequence[SimpleITK.Transform], cancel: Cancel
) -> list[float]:
    """Mutual information of each start on 8 mm voxels; minus infinity where it has none."""
    images = shrink(fixed.image, SEARCH.voxel_mm), shrink(moving.image, SEARCH.voxel_mm)
    mask = fixed.skin

    def value(start: SimpleITK.Transform) -> float:
        if cancel():
            raise Cancelled(CANCELLED)
        method = _method(mask, SEARCH)
        method.SetInitialTransform(start)
        try:
            return -method.MetricEvaluate(*images)
        except RuntimeError:  # too few samples overlap
            return -np.inf

    return side_by_side(value, starts)


def covered(fixed: Head, moving: Head, transform: SimpleITK.Transform) -> float:
    """Share of the fixed head, 0 to 1, that lies inside the moving image."""
    image = moving.image
    axes = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    points = moved(transform, _head_points(fixed))
    indices = np.linalg.solve(axes, (points - image.GetOrigin()).T).T
    inside = (indices >= -0.5) & (indices <= np.array(image.GetSize()) - 0.5)
    return float(inside.all(axis=1).mean())


def _head_points(head: Head) -> np.ndarray:
    indices = np.argwhere(SimpleITK.GetArrayFromImage(head.mask))[:, ::-1]
    thinned = indices[np.linspace(0, len(indices) - 1, min(HEAD_POINTS, len(indices))).astype(int)]
    axes = np.array(head.mask.GetDirection()).reshape(3, 3) * head.mask.GetSpacing()
    return thinned @ axes.T + head.mask.GetOrigin()

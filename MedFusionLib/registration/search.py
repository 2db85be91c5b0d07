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
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np
import SimpleITK

from MedFusionLib.errors import Cancelled, RegistrationError
from MedFusionLib.registration.images import Head, box_points, laid, on_grid
from MedFusionLib.registration.measures import VOXEL_MM, covered, mutual_information
from MedFusionLib.registration.transforms import (
    displacements,
    from_matrix,
    matrix_of,
    scaled,
    unwrapped,
)

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
RADIUS_MM = 80.0


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
FINE = Stage(2.0, 40_000, 32, 1.0, 0.02)
CHECK = Stage(3.0, 15_000, 32, 2.0, 0.05)


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
    ended = _climbed(fixed, moving, mask, start, stage, seed, cancel)
    return _measured(fixed, moving, mask, ended, stage)


def improve(
    fixed: Head,
    moving: Head,
    mask: SimpleITK.Image,
    start: SimpleITK.Transform,
    stage: Stage,
    seed: int,
    cancel: Cancel = never,
) -> Found:
    """``optimise``, but the start is kept where the climb ends below it.

    The optimiser follows random samples and leaves out those that find no partner, so what it
    ends with is measured on all voxels in the mask.
    """
    ended = optimise(fixed, moving, mask, start, stage, seed, cancel)
    begun = _measured(fixed, moving, mask, start, stage)
    return ended if ended.mutual_information >= begun.mutual_information else begun


def _measured(
    fixed: Head,
    moving: Head,
    mask: SimpleITK.Image,
    place: SimpleITK.Transform,
    stage: Stage,
) -> Found:
    width = max(VOXEL_MM, stage.voxel_mm)
    return Found(place, mutual_information(fixed, moving, place, mask, width))


def _climbed(
    fixed: Head,
    moving: Head,
    mask: SimpleITK.Image,
    start: SimpleITK.Transform,
    stage: Stage,
    seed: int,
    cancel: Cancel,
) -> SimpleITK.Transform:
    image = _cropped(fixed.level(stage.voxel_mm), mask)
    inside = max(1, int(SimpleITK.GetArrayFromImage(on_grid(mask, image)).sum()))
    method = _method(_in_radii(mask), stage)
    method.SetMetricSamplingPercentage(min(1.0, stage.samples / inside), seed + 1)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetInitialTransform(scaled(start, 1 / RADIUS_MM), inPlace=False)
    method.SetOptimizerAsRegularStepGradientDescent(
        stage.first_step_mm / RADIUS_MM,
        stage.last_step_mm / RADIUS_MM,
        numberOfIterations=200,
        # 0.5, ITK's default, may stop on the way: rotations and shifts pull against each other.
        relaxationFactor=0.7,
        gradientMagnitudeTolerance=1e-8,
    )
    method.AddCommand(SimpleITK.sitkIterationEvent, lambda: _stop_if(method, cancel))
    try:
        found = method.Execute(_in_radii(image), _in_radii(moving.in_air(stage.voxel_mm)))
    except RuntimeError as error:
        raise RegistrationError(CAME_APART) from error
    if cancel():
        raise Cancelled(CANCELLED)
    return scaled(unwrapped(found), RADIUS_MM)


def _in_radii(image: SimpleITK.Image) -> SimpleITK.Image:
    """The image in a space whose unit is a head's radius instead of a millimetre.

    There a step of a turn or stretch moves the head's surface as far as the same step of a shift,
    so the optimiser needs no scales. ITK's own scales weigh the gradient, but not the length of a
    step: where only the turn is wrong, the first step of "one millimetre" turns by one radian.
    """
    there = SimpleITK.Image(image)
    there.SetSpacing([step / RADIUS_MM for step in image.GetSpacing()])
    there.SetOrigin([place / RADIUS_MM for place in image.GetOrigin()])
    return there


def _stop_if(method: SimpleITK.ImageRegistrationMethod, cancel: Cancel) -> None:
    if cancel():
        method.StopRegistration()


def _method(mask: SimpleITK.Image, stage: Stage) -> SimpleITK.ImageRegistrationMethod:
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(stage.bins)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(SimpleITK.sitkLinear)
    # Left on, ITK smooths slopes by the widest side of a voxel along all axes: the optimiser then
    # follows slopes that are not those of what it measures, in noise and thick slices downhill.
    method.MetricUseFixedImageGradientFilterOff()
    method.MetricUseMovingImageGradientFilterOff()
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


def near_places(fixed: Head, moving: Head, seed: int, cancel: Cancel = never) -> list[Found]:
    """What starts turned by up to 20° and the positions as filed lead to, best first."""
    return _climb_from_best(fixed, moving, NEAR_DEGREES, seed, cancel)


def best_rigid_start(
    fixed: Head, moving: Head, seed: int, cancel: Cancel = never
) -> SimpleITK.Transform:
    """A transform near the right one, wherever the two heads lie at first.

    Tried are the positions as they are, the centres of the two images and the centres of mass of
    the two heads (also 30 mm up and down, because a PET shows the brain where an MR shows the
    neck as well), each turned by up to 20° about every axis. The best ones are optimised on 8 mm
    and 4 mm voxels. Where they do not come together, rotations up to 40° are searched as well.
    """
    found = near_places(fixed, moving, seed, cancel)
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
    best = [one.transform for one in found[:REFINED]] + _as_filed(fixed, moving)
    return climb(fixed, moving, best, COARSE, seed, cancel)


def _as_filed(fixed: Head, moving: Head) -> list[SimpleITK.Transform]:
    """The positions as in the files, where they give an overlap: they may be right."""
    filed = SimpleITK.Euler3DTransform(fixed.centre)
    return [filed] if covered(fixed, moving, filed) >= LEAST_COVERED else []


def climb(
    fixed: Head,
    moving: Head,
    starts: Sequence[SimpleITK.Transform],
    stage: Stage,
    seed: int,
    cancel: Cancel,
) -> list[Found]:
    """Climbed rigid starts, best first; those whose heads come apart are left out.

    Each start is climbed with the moving head laid there, so that a large turn is as good as none.
    """
    mask = fixed.skin
    identity = SimpleITK.Euler3DTransform(fixed.centre)
    small = Head(moving.level(stage.voxel_mm), moving.mask, moving.centre)

    def one_climb(start: SimpleITK.Transform) -> Found | None:
        try:
            found = improve(fixed, laid(small, start), mask, identity, stage, seed, cancel)
        except RegistrationError:  # the heads came apart on the way
            return None
        whole = matrix_of(start) @ matrix_of(found.transform)
        return replace(found, transform=from_matrix(whole, "rigid", fixed.centre))

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
    fixed: Head,
    moving: Head,
    starts: Sequence[SimpleITK.Transform],
    cancel: Cancel,
    voxel_mm: float = SEARCH.voxel_mm,
) -> list[float]:
    """Mutual information of each start on coarse voxels; minus infinity where it has none."""
    images = fixed.level(voxel_mm), moving.in_air(voxel_mm)
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

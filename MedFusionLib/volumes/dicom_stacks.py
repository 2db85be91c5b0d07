"""One stack of slices out of a series that may hold several: echoes, phases, reconstructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.dicom_frames import (
    COLLISION_MARKS,
    NM_VECTORS,
    STACK_MARKS,
    Frame,
    is_localizer,
)
from MedFusionLib.volumes.dicom_values import as_number

PARALLEL_TOLERANCE = 1e-3
"""Slices whose direction cosines differ by less than this are parallel."""
SAME_PLACE = 1e-2
"""Two slices less than this many mm apart lie at the same place."""
GEOMETRY_MARKS = ("Orientation", "Size", "PixelSpacing")
OVERLAPPING = 1.5
"""Slices this many times as thick as the gap between them may be two sweeps over one region."""


def parse_choice(series: str | None) -> tuple[str | None, dict[str, str]]:
    """``UID``, ``UID:EchoTime=4.6,ImageType=…`` or ``EchoTime=4.6`` as UID and marks.

    Raises ``InputError`` for a mark without a value.
    """
    if not series:
        return None, {}
    uid, colon, text = series.partition(":")
    if not colon and "=" in uid:
        uid, text = "", uid
    choice = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise InputError(
                f"'{part}' does not name a stack of the series. Give UID:NAME=VALUE, as the list "
                "of stacks shows it."
            )
        choice[name.strip()] = value.strip()
    return uid or None, choice


def one_stack(frames: Sequence[Frame], choice: Mapping[str, str], where: str) -> list[Frame]:
    """The frames of one stack, sorted along their normal.

    ``choice`` names marks and their values, as the refusal lists them. Raises ``InputError`` where
    several stacks remain, none fits, or two slices lie at the same place.
    """
    frames = [_with_geometry_marks(frame, frames[0]) for frame in frames]
    _refuse_unknown_marks(frames, choice, where)
    stacks = _stacks(frames)
    wanted = {
        key: stack for key, stack in stacks.items() if all(_fits(frame, choice) for frame in stack)
    }
    if len(wanted) != 1:
        raise InputError(_which_stack(stacks, wanted, where))
    stack = sorted(next(iter(wanted.values())), key=lambda frame: frame.place)
    _refuse_same_place(stack, where)
    _refuse_two_sweeps(stack, where)
    return stack


def without_localizers(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """The frames that are no overviews, and a sentence on those that are."""
    kept = [frame for frame in frames if not is_localizer(frame)]
    left = len(frames) - len(kept)
    if not kept or not left:
        return list(frames), []
    return kept, [f"Left out {left} overview image{'s' if left > 1 else ''} (localizer)."]


def _with_geometry_marks(frame: Frame, first: Frame) -> Frame:
    """Frames on one grid share these marks; a rounding in the last digit makes no new stack."""
    near = np.abs(frame.orientation - first.orientation).max() <= PARALLEL_TOLERANCE
    orientation = first.orientation if near else frame.orientation
    spacing = np.asarray(frame.pixel_spacing)
    if np.allclose(spacing, first.pixel_spacing, rtol=1e-4, atol=0):
        spacing = np.asarray(first.pixel_spacing)
    size = f"{frame.header.text('Columns')}x{frame.header.text('Rows')}"
    marks = {
        "Orientation": "/".join(
            f"{number + 0.0:.3g}" for number in np.round(orientation, 3).ravel()
        ),
        "Size": size,
        "PixelSpacing": "/".join(f"{step:.6g}" for step in spacing),
    }
    return replace(frame, orientation=orientation, marks=frame.marks | marks)


def _refuse_unknown_marks(frames: Sequence[Frame], choice: Mapping[str, str], where: str) -> None:
    for name in choice:
        if not any(frame.marks.get(name) for frame in frames):
            known = sorted({name for frame in frames for name, text in frame.marks.items() if text})
            raise InputError(f"No slice in '{where}' has a {name}. They have: {', '.join(known)}.")


def _fits(frame: Frame, choice: Mapping[str, str]) -> bool:
    return all((frame.marks.get(name) or "none") == value for name, value in choice.items())


Key = tuple[tuple[str, str], ...]


def _stacks(frames: Sequence[Frame]) -> dict[Key, list[Frame]]:
    """The frames by the marks that tell overlapping stacks apart."""
    stacks: dict[Key, list[Frame]] = {(): list(frames)}
    for name in GEOMETRY_MARKS:
        stacks = _split(stacks, name, [len(_by_mark(stack, name)) > 1 for stack in stacks.values()])
    for name in (*STACK_MARKS, *NM_VECTORS):
        stacks = _split(stacks, name, [_compete(stack, name) for stack in stacks.values()])
    for name in COLLISION_MARKS:
        stacks = _split(
            stacks,
            name,
            [_collide(stack) and _parts_cleanly(stack, name) for stack in stacks.values()],
        )
    return stacks


def _split(
    stacks: Mapping[Key, list[Frame]], name: str, wanted: Iterable[bool]
) -> dict[Key, list[Frame]]:
    """Every stack that wants it, split by a mark."""
    parts: dict[Key, list[Frame]] = {}
    for (key, stack), split in zip(stacks.items(), wanted, strict=True):
        if not split:
            parts[key] = stack
            continue
        for value, frames in _by_mark(stack, name).items():
            parts[(*key, (name, value or "none"))] = frames
    return parts


def _by_mark(frames: Iterable[Frame], name: str) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(frame.marks.get(name, ""), []).append(frame)
    return groups


def _compete(frames: Sequence[Frame], name: str) -> bool:
    """Whether two values of a mark cover the same region, and not one beside the other."""
    groups = [group for group in _by_mark(frames, name).values() if len(group) > 1]
    covered = [np.array([frame.place for frame in group]) for group in groups]
    return any(
        _reaches_into(one, two) or _reaches_into(two, one) for one, two in combinations(covered, 2)
    )


def _reaches_into(places: np.ndarray, others: np.ndarray) -> bool:
    low, high = others.min() - SAME_PLACE, others.max() + SAME_PLACE
    return bool(np.any((places > low) & (places < high)))


def _collide(frames: Sequence[Frame]) -> bool:
    places = np.sort([frame.place for frame in frames])
    return bool(np.any(np.diff(places) < SAME_PLACE))


def _parts_cleanly(frames: Sequence[Frame], name: str) -> bool:
    groups = _by_mark(frames, name).values()
    return len(groups) > 1 and all(len(group) > 1 and not _collide(group) for group in groups)


def _which_stack(
    stacks: Mapping[Key, list[Frame]], wanted: Mapping[Key, list[Frame]], where: str
) -> str:
    """The refusal, with what to type for each stack."""
    shown = wanted or stacks
    listing = "; ".join(
        f"{_name(key, stack)} ({len(stack)} slices)" for key, stack in list(shown.items())[:20]
    )
    parallel = not any(name == "Orientation" for key in shown for name, _ in key)
    kind = (
        "several stacks of slices over one region"
        if parallel
        else ("slices that do not lie parallel")
    )
    begin = "No such stack" if not wanted else f"'{where}' holds {kind}"
    return f"{begin}: {listing}. Pick one (--series)."


def _name(key: Key, stack: Sequence[Frame]) -> str:
    uid = stack[0].header.text("SeriesInstanceUID")
    return f"{uid}:{','.join(f'{name}={value}' for name, value in key)}"


def _refuse_same_place(stack: Sequence[Frame], where: str) -> None:
    if _collide(stack):
        raise InputError(
            f"Two slices in '{where}' lie at the same place, and nothing in their headers tells "
            "them apart. Export one of the stacks alone."
        )


def _refuse_two_sweeps(stack: Sequence[Frame], where: str) -> None:
    """Thick slices that interleave and were numbered one sweep after the other are two phases.

    Nothing else tells them apart where the second phase lies half a slice beside the first.
    """
    told = {as_number(frame.header.text("SliceThickness")) for frame in stack}
    thickness = told.pop() if len(told) == 1 else None
    if thickness is None or len(stack) < 4:
        return
    gap = float(np.median(np.diff([frame.place for frame in stack])))
    if thickness > OVERLAPPING * gap and _swept_twice([frame.instance for frame in stack]):
        raise InputError(
            f"The slices in '{where}' are {thickness:g} mm thick, lie {gap:g} mm apart and were "
            "numbered in two sweeps over one region: two phases that interleave. Export one of "
            "them alone."
        )


def _swept_twice(numbers: Sequence[int | None]) -> bool:
    """Whether the order of the numbers runs over the slices' places once, turns, and runs again."""
    if None in numbers:
        return False
    order = np.argsort(np.array(numbers, float), kind="stable")
    steps = np.diff(order)
    turns = np.count_nonzero(np.diff(np.sign(steps)))
    return bool(1 <= turns <= 2 and np.abs(steps).max() > 1)

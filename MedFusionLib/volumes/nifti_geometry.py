"""Where a NIfTI file's voxels lie: its sform, its qform, and what to do when they disagree.

A header can hold two positions, each with a code that says what space it leads to, 0 for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.volume import RAS_TO_LPS

FORMS = ("sform", "qform")
SPACES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}
UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of a header's unit of length: unknown (millimetres, as everybody means), metre,
millimetre, micrometre."""
SAME = 0.1
"""Positions that differ by less than this share of a voxel count as one."""
TOLERATED = 0.5
"""Up to this share of a voxel the sform is taken and the user told; beyond, the user has to say."""
SHEAR_TOLERANCE = 1e-3
"""Cosine between two axes up to which they count as at right angles (0.06 degrees)."""
QUATERNION_TOLERANCE = 1e-3
HALF_TURN = 1e-7
"""A real part of the quaternion whose square is below this is rounding, and 0 (as in nifti1.h)."""


@dataclass(frozen=True)
class NiftiPlace:
    """The fields of a header that say where its voxels lie, as they stand in it."""

    srow: np.ndarray
    """(3, 4)"""
    sform_code: int
    quatern: np.ndarray
    qoffset: np.ndarray
    qform_code: int
    pixdim: np.ndarray
    units: int
    shape: tuple[int, ...]
    """Voxels along I, J, K (and more)."""


def affine_of(
    place: NiftiPlace, path: Path, wanted: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """(4, 4) from voxel indices to millimetres in LPS, and what the user should know.

    ``wanted`` (sform or qform) is taken as it stands. Else the sform goes first, if its code is
    not 0. Raises ``InputError`` where neither is declared, where they differ by more than half a
    voxel, and where the chosen one is no place in space or has axes that are not at right angles.
    """
    form, warnings = _chosen(place, path, wanted)
    affine = _affine(place, form, path)
    _refuse_sheared(affine, form, place, path)
    if place.units & 7 not in (0, 2):
        warnings.append(f"'{path.name}' counts lengths in units of {UNITS[place.units & 7]:g} mm.")
    return RAS_TO_LPS @ affine, warnings


def refuse_unknown_form(wanted: str | None) -> None:
    """Raise ``InputError`` for what is neither sform, qform nor None."""
    if wanted is not None and wanted not in FORMS:
        raise InputError(f"There is no geometry '{wanted}'. Choose one of: {', '.join(FORMS)}.")


def _chosen(place: NiftiPlace, path: Path, wanted: str | None) -> tuple[str, list[str]]:
    if wanted is not None:
        refuse_unknown_form(wanted)
        return wanted, []
    if place.sform_code <= 0 and place.qform_code <= 0:
        raise InputError(
            f"'{path}' does not say where its voxels lie: the codes of sform and qform are both 0. "
            "Convert its source again, or, if you know that one of them holds, name it "
            "(--geometry sform or qform)."
        )
    if place.sform_code <= 0:
        return "qform", []
    if place.qform_code <= 0:
        return "sform", []
    return "sform", _disagreement(place, path)


def _disagreement(place: NiftiPlace, path: Path) -> list[str]:
    sform, qform = (_affine(place, form, path) for form in FORMS)
    distance = _greatest_distance(sform, qform, place.shape)
    smallest = float(np.linalg.norm(qform[:3, :3], axis=0).min())
    if distance <= SAME * smallest:
        return []
    told = (
        f"In '{path.name}' the sform ({_space(place.sform_code)}) and the qform "
        f"({_space(place.qform_code)}) place voxels up to {distance:.3g} mm apart"
    )
    if distance <= TOLERATED * smallest:
        return [f"{told}: the sform was taken, as it holds more digits."]
    raise InputError(f"{told}. Say which one holds (--geometry sform or --geometry qform).")


def _space(code: int) -> str:
    return f"{SPACES[code]} space" if code in SPACES else f"code {code}"


def _greatest_distance(one: np.ndarray, two: np.ndarray, shape: tuple[int, ...]) -> float:
    """Millimetres between where two affines put a corner of the grid, at most."""
    ends = [(0, length - 1) for length in shape[:3]]
    corners = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]], float)
    return float(np.linalg.norm((corners @ (one - two).T)[:, :3], axis=1).max())


def _affine(place: NiftiPlace, form: str, path: Path) -> np.ndarray:
    """(4, 4) from voxel indices to millimetres in RAS."""
    affine = np.eye(4)
    affine[:3] = place.srow if form == "sform" else _qform(place, path)
    millimetres = UNITS.get(place.units & 7)
    if millimetres is None:
        raise InputError(
            f"'{path}' gives lengths in a unit that NIfTI does not know (code {place.units & 7}). "
            "Convert its source again."
        )
    affine[:3] *= millimetres
    if not np.isfinite(affine).all() or _volume_share(affine) < 1e-6:
        raise InputError(
            f"The {form} of '{path}' is no place in space: {np.array2string(affine[:3])}. Convert "
            "its source again."
        )
    return affine


def _volume_share(affine: np.ndarray) -> float:
    """Volume of a voxel against that of a box with edges of the same lengths: 0 if it is flat."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    return abs(float(np.linalg.det(affine[:3, :3] / edges))) if edges.all() else 0.0


def _qform(place: NiftiPlace, path: Path) -> np.ndarray:
    """(3, 4) by method 2 of nifti1.h: a rotation as a unit quaternion, widths, and a position."""
    b, c, d = place.quatern
    rest = 1.0 - float(b * b + c * c + d * d)
    widths = place.pixdim[1:4]
    if not np.isfinite(rest) or rest < -QUATERNION_TOLERANCE or not (widths > 0).all():
        raise InputError(
            f"The qform of '{path}' is no place in space: quaternion {b:g}, {c:g}, {d:g}, voxels "
            f"of {' × '.join(f'{width:g}' for width in widths)}. Convert its source again, or name "
            "the position that holds (--geometry sform)."
        )
    a = np.sqrt(rest) if rest > HALF_TURN else 0.0
    length = np.sqrt(a * a + b * b + c * c + d * d)
    a, b, c, d = a / length, b / length, c / length, d / length
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness = -1.0 if place.pixdim[0] < 0 else 1.0
    columns = rotation * widths * [1.0, 1.0, handedness]
    return np.column_stack([columns, place.qoffset])


def _refuse_sheared(affine: np.ndarray, form: str, place: NiftiPlace, path: Path) -> None:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine <= SHEAR_TOLERANCE:
        return
    degrees = np.degrees(np.arcsin(min(1.0, cosine)))
    remedy = "Resample it to a grid with right angles"
    if form == "sform" and place.qform_code > 0:
        remedy += f", or take its qform, {_space(place.qform_code)} (--geometry qform)"
    raise InputError(
        f"The {form} of '{path}' is sheared: its axes are up to {degrees:.2g}° off a right angle, "
        f"as after an affine registration. {remedy}."
    )

"""A DICOM series from a folder, with its slice positions checked one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.suv import suv_factor_of_file
from MedFusionLib.volumes.volume import Volume, from_image

if TYPE_CHECKING:
    import SimpleITK

POSITION, ORIENTATION = "0020|0032", "0020|0037"
KEPT_TAGS = {
    "0008|0060": "dicom_modality",
    "0020|0052": "frame_of_reference_uid",
    "0020|000d": "study_uid",
    "0020|000e": "series_uid",
    "0008|103e": "series_description",
    "0054|1001": "units",
}
EVEN_TOLERANCE = 0.02
"""Slice gaps that differ by less than this share of the usual gap count as even."""
SIDEWAYS_TOLERANCE = 0.1
"""Slices shifted within their plane by less than this many mm count as not shifted."""
MISSING_FACTOR = 1.8
"""A gap this many times the usual one, between even neighbours, means slices are missing."""


@dataclass(frozen=True)
class SliceGaps:
    """Distances between neighbouring slices along their normal, in mm, in slice order."""

    gaps: np.ndarray

    @property
    def usual(self) -> float:
        return float(np.median(self.gaps))

    @property
    def finest(self) -> float:
        """The smallest gap that is no exception (at least a tenth of all gaps)."""
        rounded = np.round(self.gaps, 2)
        return float(min(gap for gap in rounded if (rounded == gap).mean() >= 0.1))

    @property
    def even(self) -> bool:
        return bool(np.all(np.abs(self.gaps - self.usual) <= EVEN_TOLERANCE * self.usual))

    @property
    def slices_missing(self) -> bool:
        """A few gaps are whole multiples of the usual one, and all others are even."""
        ratio = self.gaps / self.usual
        wide = ratio >= MISSING_FACTOR
        whole = np.abs(ratio - np.round(ratio)) <= 0.1
        rest_even = np.abs(ratio[~wide] - 1) <= EVEN_TOLERANCE
        return bool(wide.any() and whole[wide].all() and rest_even.all())

    def sentence(self) -> str:
        """The distinct gaps and where they lie, in words."""
        rounded = np.round(self.gaps, 2)
        values = ", ".join(f"{gap:g} mm ({(rounded == gap).sum()}×)" for gap in np.unique(rounded))
        odd = np.flatnonzero(np.abs(self.gaps - self.usual) > EVEN_TOLERANCE * self.usual)
        places = ", ".join(f"{index + 1}-{index + 2}" for index in odd[:8])
        more = " and more" if len(odd) > 8 else ""
        return f"gaps of {values}; uneven after slices {places}{more}"


def list_series(folder: Path) -> dict[str, tuple[str, ...]]:
    """UID and files, sorted along the slice normal, of each DICOM series in a folder."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageSeriesReader
    return {
        uid: reader.GetGDCMSeriesFileNames(str(folder), uid)
        for uid in reader.GetGDCMSeriesIDs(str(folder))
    }


def read_series(folder: Path, series: str | None = None) -> Volume:
    """Read one DICOM series as a volume on an even, right-angled grid.

    Slices with uneven gaps, or shifted sideways by a tilted gantry, are resampled to such a
    grid, with a warning in ``metadata["warnings"]``. Raises ``InputError`` when there is no
    series, when there are several and none is picked, and when slices are missing.
    """
    files = _picked_files(folder, series)
    headers = [_header(path) for path in files]
    order = np.argsort([header.place for header in headers])
    files = tuple(files[index] for index in order)
    headers = [headers[index] for index in order]
    _refuse_crossing_slices(headers, folder)
    gaps = SliceGaps(np.diff([header.place for header in headers]))
    _refuse_missing_slices(gaps, folder)
    metadata = {"source": str(folder)} | _kept_tags(headers[0].tags) | _uptake_tags(files[0])
    volume = from_image(_assemble(files, headers, gaps.usual), metadata=metadata)
    shifts = _sideways_shifts(headers)
    if gaps.even and np.abs(shifts).max() <= SIDEWAYS_TOLERANCE:
        return volume
    return _on_even_grid(volume, headers, gaps, shifts)


@dataclass(frozen=True)
class _Header:
    """Where one file's slice lies."""

    tags: dict[str, str]
    position: np.ndarray
    orientation: np.ndarray
    """(2, 3): the unit vectors along a row and along a column, LPS."""

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[0], self.orientation[1])

    @property
    def place(self) -> float:
        """Millimetres along the slice normal."""
        return float(self.normal @ self.position)


def _picked_files(folder: Path, series: str | None) -> tuple[str, ...]:
    found = list_series(folder)
    if not found:
        raise InputError(f"The folder '{folder}' holds no DICOM series. Check the path.")
    listing = "; ".join(f"{uid} ({len(files)} slices)" for uid, files in found.items())
    if series is None and len(found) > 1:
        raise InputError(
            f"The folder '{folder}' holds {len(found)} series: {listing}. Pick one with --series."
        )
    if series is not None and series not in found:
        raise InputError(f"The folder '{folder}' has no series {series}. It holds: {listing}.")
    files = found[series] if series is not None else next(iter(found.values()))
    if len(files) < 2:
        raise InputError(f"The series in '{folder}' is a single slice. MedFusion needs a volume.")
    return files


def _header(path: str) -> _Header:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(path)
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
        tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
        position = np.array([float(number) for number in tags[POSITION].split("\\")])
        orientation = np.array([float(number) for number in tags[ORIENTATION].split("\\")])
    except (RuntimeError, KeyError, ValueError) as error:
        raise InputError(
            f"'{path}' does not say where its slice lies (no image position and orientation), "
            "or is truncated. Export the series again."
        ) from error
    return _Header(tags, position, orientation.reshape(2, 3))


def _refuse_crossing_slices(headers: list[_Header], folder: Path) -> None:
    first = headers[0]
    if any(np.abs(header.orientation - first.orientation).max() > 1e-3 for header in headers):
        raise InputError(f"The slices in '{folder}' do not lie parallel. Pick one stack of them.")


def _refuse_missing_slices(gaps: SliceGaps, folder: Path) -> None:
    if np.any(gaps.gaps < 1e-3):
        raise InputError(
            f"Two slices in '{folder}' lie at the same place (several time points or a mixed "
            "series). Pick one stack of them."
        )
    if gaps.slices_missing:
        raise InputError(
            f"Slices are missing in '{folder}': {gaps.sentence()}. Export the whole series again."
        )


def _kept_tags(tags: dict[str, str]) -> dict[str, str]:
    return {name: tags[tag] for tag, name in KEPT_TAGS.items() if tags.get(tag)}


def _uptake_tags(file: str) -> dict[str, str]:
    factor = suv_factor_of_file(Path(file))
    return {} if factor is None else {"suv_factor": repr(factor)}


def _assemble(files: tuple[str, ...], headers: list[_Header], step: float) -> SimpleITK.Image:
    """Stack the slices; the geometry is set from the headers, not left to the reader."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"The series at '{Path(files[0]).parent}' cannot be read: a file is truncated or "
            "its slices differ in size."
        ) from error
    row, column = headers[0].orientation
    directions = np.column_stack([row, column, headers[0].normal])
    image.SetSpacing((*image.GetSpacing()[:2], step))
    image.SetOrigin(tuple(headers[0].position))
    image.SetDirection(tuple(directions.ravel()))
    return image


def _sideways_shifts(headers: list[_Header]) -> np.ndarray:
    """(slices, 2): shift of each slice along its rows and columns against the first, in mm."""
    first = headers[0]
    steps = np.array([header.position - first.position for header in headers])
    return steps @ first.orientation.T


def _on_even_grid(
    volume: Volume, headers: list[_Header], gaps: SliceGaps, shifts: np.ndarray
) -> Volume:
    """Linear interpolation onto a right-angled grid that holds all slices.

    Within the plane each slice is moved to where it lies; then values are mixed between
    neighbouring slices along their normal.
    """
    places = np.array([header.place for header in headers])
    step = gaps.usual if gaps.even else gaps.finest
    count = int(np.floor((places[-1] - places[0]) / step + 1e-6)) + 1
    wanted = places[0] + step * np.arange(count)
    upper = np.searchsorted(places, wanted).clip(1, len(places) - 1)
    share = (wanted - places[upper - 1]) / (places[upper] - places[upper - 1])
    stack, corner = _moved_slices(volume, shifts)
    even = np.empty((count, *stack.shape[1:]), dtype=stack.dtype)
    for index, (above, weight) in enumerate(zip(upper, share, strict=True)):
        mixed = (1 - weight) * stack[above - 1] + weight * stack[above]
        even[index] = np.rint(mixed) if even.dtype.kind in "iu" else mixed
    warnings = _even_grid_warning(gaps, shifts, step)
    return replace(
        volume,
        voxels=even,
        spacing=(*volume.spacing[:2], step),
        origin=_point(np.asarray(volume.origin) + corner @ headers[0].orientation),
        metadata=dict(volume.metadata) | {"warnings": warnings},
    )


def _moved_slices(volume: Volume, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All slices on one in-plane grid, and that grid's corner against the first slice's (mm).

    Where a slice does not reach, its pixels take the volume's smallest value.
    """
    import SimpleITK

    if np.abs(shifts).max() <= SIDEWAYS_TOLERANCE:
        return volume.voxels, np.zeros(2)
    pixel = np.asarray(volume.spacing[:2])
    corner, far = shifts.min(axis=0), shifts.max(axis=0)
    columns, rows = volume.grid_shape[2], volume.grid_shape[1]
    size = np.array([columns, rows]) + np.ceil((far - corner) / pixel - 1e-6).astype(int)
    moved = np.empty((len(shifts), size[1], size[0]), dtype=volume.voxels.dtype)
    outside = float(volume.voxels.min())
    for index, shift in enumerate(shifts):
        plane = SimpleITK.GetImageFromArray(volume.voxels[index])
        plane.SetSpacing(pixel.tolist())
        plane.SetOrigin(shift.tolist())
        grid = SimpleITK.Image(size.tolist(), plane.GetPixelID())
        grid.SetSpacing(pixel.tolist())
        grid.SetOrigin(corner.tolist())
        resampled = SimpleITK.Resample(
            plane, grid, SimpleITK.Transform(), SimpleITK.sitkLinear, outside
        )
        moved[index] = SimpleITK.GetArrayViewFromImage(resampled)
    return moved, corner


def _even_grid_warning(gaps: SliceGaps, shifts: np.ndarray, step: float) -> str:
    reasons = []
    if not gaps.even:
        reasons.append(f"The slices are unevenly spaced ({gaps.sentence()})")
    if np.abs(shifts).max() > SIDEWAYS_TOLERANCE:
        sideways = np.linalg.norm(shifts[-1] - shifts[0])
        angle = np.degrees(np.arctan2(sideways, gaps.gaps.sum()))
        reasons.append(f"The gantry was tilted by {angle:.1f} degrees against the slices")
    return f"{'. '.join(reasons)}: the series was resampled to an even grid of {step:g} mm."


def _point(coordinates: np.ndarray) -> tuple[float, float, float]:
    x, y, z = coordinates.tolist()
    return x, y, z

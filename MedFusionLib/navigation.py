"""A fusion as navigation systems import it: one folder of DICOM objects in the reference's study.

``fused``: the fused volume as single-frame MR images of 16 bits; of a colour volume its luminance,
and the colours as secondary captures in ``colour``. ``registration.dcm``: what relates the two
frames of reference. ``blending.dcm``: the other images laid over the reference's by the viewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from MedFusionLib.errors import GeometryError, IdentityError, InputError, RegistrationError
from MedFusionLib.slices.colour import apply_colour_map, luminance
from MedFusionLib.slices.painting import GREY_MAXIMUM
from MedFusionLib.volumes.dicom_blending import blending_state, why_not_blended
from MedFusionLib.volumes.dicom_derived import Sources, read_sources
from MedFusionLib.volumes.dicom_export import refuse_unfit_voxels, write_series
from MedFusionLib.volumes.dicom_grid import refuse_elsewhere, right_handed, with_square_pixels
from MedFusionLib.volumes.dicom_registration import spatial_registration
from MedFusionLib.volumes.dicom_series import KEPT_KEYWORDS
from MedFusionLib.volumes.files import read_volume, refuse_sheared, refuse_unlike
from MedFusionLib.volumes.identity import differing_fields
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FUSED, COLOUR = "fused", "colour"
REGISTRATION, BLENDING = "registration.dcm", "blending.dcm"
PALETTE_SIZE = 256
STILL = 1e-6
"""A matrix that is this near to doing nothing does nothing."""


@dataclass(frozen=True)
class Place:
    """Where the voxels of a source volume lie: ``affine`` (4, 4) from indices (i, j, k, 1) to LPS
    in mm, ``shape`` (K, J, I)."""

    affine: np.ndarray
    shape: Sequence[int]


def place_of(volume: Volume) -> Place:
    """The place of a volume."""
    return Place(volume.affine_lps, volume.grid_shape)


@dataclass(frozen=True)
class NavigationExport:
    """The files, relative to the folder, and sentences on what was left out and why."""

    files: list[Path]
    notes: list[str]


def export_for_navigation(
    volume: Volume,
    reference_metadata: Mapping[str, str],
    other_metadata: Mapping[str, str],
    other_place: Place | None,
    report: Mapping[str, Any],
    folder: Path,
    square_pixels: bool = False,
) -> NavigationExport:
    """Fill an empty folder with the DICOM objects of a fusion.

    ``volume`` is the fused one, on the reference's grid; the metadata are those of the two sources,
    ``other_place`` the grid of the other one as it was fused (None where nobody knows), ``report``
    the fusion's. ``square_pixels`` resamples the slices to pixels as high as wide.

    Raises ``MedFusionError`` with a sentence where a surgeon could be misled: no DICOM reference
    with a frame of reference, more than two sources, two patients, a registration that failed or is
    none of one matrix, two frames of reference that nothing relates, volumes that do not lie where
    their images do.
    """
    if report.get("further"):
        raise InputError(
            "An export for navigation tells of a reference and one other volume, and this volume "
            "was fused from more. Export it as a plain DICOM series, or fuse two volumes for it."
        )
    refuse_unfit_voxels(volume)
    refuse_sheared(volume, "a DICOM series")
    refuse_two_people(reference_metadata, other_metadata)
    _refuse_untold_transform(report)
    sources = read_sources(reference_metadata, other_metadata)
    _refuse_without_reference(sources)
    refuse_two_people(_written_identity(sources.references), _written_identity(sources.others))
    refuse_elsewhere(volume.affine_lps, volume.grid_shape, sources.references, "fused")
    if other_place is not None:
        refuse_elsewhere(other_place.affine, other_place.shape, sources.others, "other")
    laid = right_handed(with_square_pixels(volume) if square_pixels else volume)
    related, notes = _relating_objects(sources, report)
    files = _write_images(laid, sources, report, folder)
    for name, dataset in related.items():
        dataset.save_as(folder / name, enforce_file_format=True)
        files.append(Path(name))
    return NavigationExport(files, notes)


def refuse_two_people(one: Mapping[str, str], two: Mapping[str, str]) -> None:
    """Raise ``IdentityError`` where metadata name two patients; no force goes past it."""
    differing = differing_fields(one, two)
    if differing:
        raise IdentityError(
            f"The two volumes name different patients ({', '.join(differing)} differ), so nothing "
            "is written for a navigation system. Choose volumes of one patient."
        )


def _written_identity(headers: Sequence[Dataset]) -> dict[str, str]:
    """Whom the images themselves show, whatever a scene knows of it."""
    if not headers:
        return {}
    return {name: str(headers[0].get(tag) or "") for tag, name in KEPT_KEYWORDS.items()}


def refuse_no_dicom(reference_metadata: Mapping[str, str]) -> None:
    """Raise ``InputError`` unless the reference came from DICOM files."""
    if not reference_metadata.get("source_files"):
        raise InputError(
            "A navigation system needs to know patient, study and frame of reference, which only "
            "a reference volume read from DICOM tells. Give the reference as DICOM."
        )


def refuse_nonlinear() -> NoReturn:
    """Raise ``InputError`` for a transform that is no matrix."""
    raise InputError(
        "The volumes are laid on each other by a transform that is not linear, and a DICOM "
        "registration holds a matrix. Use a rigid or affine transform for navigation."
    )


def _refuse_without_reference(sources: Sources) -> None:
    if not sources.references:
        refuse_no_dicom({})
    if not sources.references[0].get("FrameOfReferenceUID"):
        raise InputError(
            "The reference's images name no frame of reference, so a navigation system could not "
            "tell that the fused images lie in the same space."
        )


def _refuse_untold_transform(report: Mapping[str, Any]) -> None:
    """Transforms that no matrix tells, and registrations that nobody should go by."""
    if (report.get("transform") or {}).get("matrix") is None:
        refuse_nonlinear()
    quality = (report.get("registration") or {}).get("quality") or {}
    if quality.get("verdict") == "failed":
        raise RegistrationError(
            "The registration failed, so nothing is written for a navigation system: "
            f"{quality.get('reason', '')}"
        )


def _write_images(
    volume: Volume, sources: Sources, report: Mapping[str, Any], folder: Path
) -> list[Path]:
    series = {FUSED: (volume, "")}
    if volume.is_colour:
        series = {FUSED: (fused_luminance(volume), " luminance"), COLOUR: (volume, " colour")}
    files = []
    for name, (shown, addition) in series.items():
        (folder / name).mkdir()
        written = write_series(shown, sources, report, folder / name, addition)
        refuse_unlike(shown, read_volume(folder / name), name)
        files += [Path(name) / file for file in written]
    return files


def fused_luminance(volume: Volume) -> Volume:
    """The luminance of a colour volume as int16, 0 to 4095: one scaling for all voxels."""
    grey = np.empty(volume.grid_shape, dtype=np.int16)
    for index, plane in enumerate(volume.voxels):
        grey[index] = np.rint(luminance(plane) * (GREY_MAXIMUM / 255))
    return replace(volume, voxels=grey)


def _relating_objects(
    sources: Sources, report: Mapping[str, Any]
) -> tuple[dict[str, Dataset], list[str]]:
    """Registration and blending state by file name, and why one of them is missing."""
    if not sources.others:
        missing = "No registration and no blending state were written: the other volume is no DICOM"
        return {}, [f"{missing} series, and both name its images."]
    objects: dict[str, Dataset] = {}
    notes = []
    matrix = np.array(report["transform"]["matrix"], float)
    moved = not np.allclose(matrix, np.eye(4), rtol=0, atol=STILL)
    frames = [
        images[0].get("FrameOfReferenceUID") for images in (sources.references, sources.others)
    ]
    if moved or frames[0] != frames[1]:
        _refuse_unrelated_frames(report)
        objects[REGISTRATION] = spatial_registration(sources, report, matrix)
    else:
        notes.append(
            "No registration was written: both series lie in one frame of reference and were fused "
            "as they lie."
        )
    reason = why_not_blended(sources, report)
    if reason is not None:
        return objects, [*notes, f"No blending state was written: {reason}."]
    objects[BLENDING] = blending_state(
        sources, report, palette_of(report["colour"]), objects.get(REGISTRATION)
    )
    return objects, notes


def _refuse_unrelated_frames(report: Mapping[str, Any]) -> None:
    if report["transform"]["kind"] in ("none", "resample"):
        raise GeometryError(
            "The two series lie in different frames of reference, and no registration relates "
            "them, so nothing is written for a navigation system. Register first (rigid or "
            "affine)."
        )


def palette_of(colour_map: str) -> np.ndarray:
    """(256, 3) in [0, 1]: the colours of a map from its low end to its high one."""
    return apply_colour_map(np.linspace(0, 1, PALETTE_SIZE, dtype=np.float32), colour_map)

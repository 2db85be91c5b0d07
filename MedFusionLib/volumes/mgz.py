"""FreeSurfer's MGZ files, through nibabel: SimpleITK's own builds cannot read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.volume import Volume

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_mgz(path: Path) -> Volume:
    """Read an .mgz or .mgh file of one frame."""
    nibabel = _nibabel()
    try:
        image = nibabel.load(path)
        voxels = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel and zlib raise many kinds for a broken file
        raise InputError(f"'{path}' cannot be read as MGZ: {error}. Export it again.") from error
    if voxels.ndim == 4 and voxels.shape[3] > 1:
        raise InputError(f"'{path}' holds a 4D image of {voxels.shape[3]} frames. Save one.")
    voxels = voxels.reshape(voxels.shape[:3]).transpose(2, 1, 0)
    voxels = np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("="))
    affine = RAS_TO_LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    i, j, k = spacing.tolist()
    x, y, z = affine[:3, 3].tolist()
    directions = tuple((affine[:3, :3] / spacing).ravel().tolist())
    return Volume(voxels, (i, j, k), (x, y, z), directions, metadata={"source": str(path)})


def write_mgz(volume: Volume, path: Path) -> None:
    """Write a scalar volume; MGZ has no colour."""
    nibabel = _nibabel()
    if volume.is_colour:
        raise InputError("An MGZ file holds no colour. Write .nrrd, or fuse with --colour grey.")
    affine = RAS_TO_LPS @ volume.affine_lps
    nibabel.save(nibabel.MGHImage(np.asarray(volume.voxels.transpose(2, 1, 0)), affine), path)


def _nibabel():
    try:
        import nibabel
    except ImportError as error:
        raise InputError(
            "MGZ files need the package nibabel. Install it (pip install nibabel), or convert "
            "the file to NIfTI."
        ) from error
    return nibabel

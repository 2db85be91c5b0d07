"""Makes the sample pair in ``MedFusionLib/sample_data`` from the ICBM 152 2009 template.

    python Resources/make_sample_data.py FOLDER

FOLDER holds ``nilearn_icbm152_2009_{t1,gm,wm}.nii.gz`` (1 mm, 8 bit). The MR is the T1 template
as it is. The PET is made: tracer uptake of grey to white matter 4:1, blurred as a scanner of
6 mm FWHM does, seen by a patient who lies turned and shifted in the scanner, on an oblique grid
of 2.5 mm, with Poisson noise. The turn and shift are kept as ``true_transform.tfm`` (points of
the MR's space to the PET's space, LPS, mm).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK

TARGET = Path(__file__).resolve().parent.parent / "MedFusionLib" / "sample_data"
GREY_TO_WHITE = 4.0
SCANNER_FWHM = 6.0
PEAK_COUNTS = 900.0
SPACING = 2.5
GRID_OBLIQUE_DEGREES = 8.0
TURN_DEGREES = (2.0, -4.0, 6.5)
SHIFT_MM = (6.0, -7.0, 4.0)
SEED = 152


def uptake(folder: Path) -> SimpleITK.Image:
    """Tracer uptake, 1 in pure grey matter, blurred by the scanner."""
    grey, white = (
        SimpleITK.ReadImage(
            str(folder / f"nilearn_icbm152_2009_{name}.nii.gz"), SimpleITK.sitkFloat32
        )
        for name in ("gm", "wm")
    )
    mixed = (grey * GREY_TO_WHITE + white) / (255.0 * GREY_TO_WHITE)
    return SimpleITK.SmoothingRecursiveGaussian(mixed, SCANNER_FWHM / (8 * np.log(2)) ** 0.5)


def patient_position(head: SimpleITK.Image) -> SimpleITK.Euler3DTransform:
    """MR space to PET space: turned about the head's centre, then shifted."""
    centre = head.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in head.GetSize()])
    return SimpleITK.Euler3DTransform(centre, *np.radians(TURN_DEGREES), SHIFT_MM)


def scanner_grid(head: SimpleITK.Image, position: SimpleITK.Transform) -> SimpleITK.Image:
    """An empty oblique grid around the head as it lies in the PET scanner."""
    angle = np.radians(GRID_OBLIQUE_DEGREES)
    cosine, sine = np.cos(angle), np.sin(angle)
    directions = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    extent = np.array(head.GetSize()) * head.GetSpacing()
    size = (np.ceil(extent / SPACING).astype(int) + 8).tolist()
    middle = head.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in head.GetSize()])
    centre = np.array(position.TransformPoint(middle))
    grid = SimpleITK.Image(size, SimpleITK.sitkFloat32)
    grid.SetSpacing([SPACING] * 3)
    grid.SetDirection(directions.ravel().tolist())
    grid.SetOrigin((centre - directions @ (np.array(size) - 1) * SPACING / 2).tolist())
    return grid


def scan(head: SimpleITK.Image, position: SimpleITK.Transform) -> SimpleITK.Image:
    """Counts in each voxel of the scanner."""
    grid = scanner_grid(head, position)
    seen = SimpleITK.Resample(head, grid, position.GetInverse(), SimpleITK.sitkLinear, 0.0)
    expected = SimpleITK.GetArrayFromImage(seen) * PEAK_COUNTS
    counts = np.random.default_rng(SEED).poisson(expected.clip(min=0)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(counts)
    image.CopyInformation(seen)
    return image


def main(folder: Path) -> None:
    """Write the pair and its true transform."""
    TARGET.mkdir(parents=True, exist_ok=True)
    source = str(folder / "nilearn_icbm152_2009_t1.nii.gz")
    anatomy = SimpleITK.ReadImage(source)
    for key in anatomy.GetMetaDataKeys():
        anatomy.EraseMetaData(key)
    head = uptake(folder)
    position = patient_position(head)
    SimpleITK.WriteImage(anatomy, str(TARGET / "Sample_MR_T1.nrrd"), useCompression=True)
    pet = scan(head, position)
    SimpleITK.WriteImage(pet, str(TARGET / "Sample_FDG_PET.nrrd"), useCompression=True)
    SimpleITK.WriteTransform(position, str(TARGET / "true_transform.tfm"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

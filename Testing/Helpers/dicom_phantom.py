"""A made head as a formula of patient coordinates, and DICOM files that sample it.

Whatever a reader gives back can be checked voxel by voxel: the formula at the voxel's place. The
head is neither symmetric nor the same in any two directions, so that every flip and swap shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
}
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
Edit = Callable[[Dataset, int], object]


def head(points: np.ndarray) -> np.ndarray:
    """Value at points (…, 3), LPS in mm: a soft ellipsoid, and a bright spot left, front and up."""
    radius = np.sqrt(((points / (17.0, 21.0, 18.0)) ** 2).sum(-1))
    spot = ((points - (7.0, -6.0, 5.0)) ** 2).sum(-1)
    return 600 / (1 + np.exp((radius - 1) * 6)) + 900 * np.exp(-spot / 60)


@dataclass(frozen=True)
class Grid:
    """Slices of pixels in the patient; ``directions`` has the I, J and K axes as columns."""

    shape: tuple[int, int, int] = (9, 12, 10)
    """K, J, I."""
    spacing: tuple[float, float, float] = (3.0, 3.5, 4.0)
    """I, J, K in mm."""
    directions: np.ndarray = None  # type: ignore[assignment]
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def matrix(self) -> np.ndarray:
        return np.eye(3) if self.directions is None else self.directions

    @property
    def origin(self) -> np.ndarray:
        """Centre of the first voxel; the grid's middle lies at ``shift``."""
        middle = (np.array(self.shape[::-1]) - 1) / 2 * self.spacing
        return np.asarray(self.shift) - self.matrix @ middle

    def position(self, index: float) -> np.ndarray:
        """Centre of a slice's first voxel."""
        return self.origin + index * self.spacing[2] * self.matrix[:, 2]

    def slice_points(self, position: np.ndarray) -> np.ndarray:
        """(J, I, 3): where the pixels of a slice at a position lie."""
        rows, columns = np.mgrid[: self.shape[1], : self.shape[2]]
        along = columns[..., None] * self.spacing[0] * self.matrix[:, 0]
        down = rows[..., None] * self.spacing[1] * self.matrix[:, 1]
        return position + along + down


def turned(degrees: float = 20.0) -> np.ndarray:
    """An oblique right-handed set of axes."""
    angle = np.deg2rad(degrees)
    about_z = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    return about_z @ about_x


def truth(volume, formula=head) -> np.ndarray:
    """(K, J, I): the formula at the places where a volume says that its voxels lie."""
    indices = np.stack(np.meshgrid(*map(np.arange, volume.grid_shape), indexing="ij"), -1)
    affine = volume.affine_lps
    return formula(indices[..., ::-1] @ affine[:3, :3].T + affine[:3, 3])


def worst(volume, formula=head) -> float:
    """The largest difference between a volume and the formula."""
    return float(np.abs(volume.voxels - truth(volume, formula)).max())


def blank(modality: str, sop_class: str | None = None) -> Dataset:
    """The identity that any image has."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class or CLASSES[modality]
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.PatientName, image.PatientID = "Test^Pat", "1"
    image.StudyInstanceUID, image.FrameOfReferenceUID = "1.2.3.9", "1.2.3.4"
    image.SeriesInstanceUID = "1.2.3.1"
    image.StudyDate = image.SeriesDate = "20200101"
    image.StudyTime = image.SeriesTime = "100000"
    image.Modality, image.ImageType = modality, ["ORIGINAL", "PRIMARY", "AXIAL"]
    return image


def set_pixels(image: Dataset, stored: np.ndarray) -> None:
    """Store (J, I) or (frames, J, I) of a whole-number type, uncompressed."""
    image.Rows, image.Columns = stored.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8 * stored.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    data = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("<")).tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)
    image["PixelData"].VR = "OW"


def set_grid(image: Dataset, grid: Grid) -> None:
    """What all slices of a grid have in common."""
    image.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
    image.SliceThickness = grid.spacing[2]
    image.ImageOrientationPatient = orientation(grid)


def orientation(grid: Grid) -> list[float]:
    return [round(float(number), 9) for number in (*grid.matrix[:, 0], *grid.matrix[:, 1])]


def decimals(numbers: Sequence[float]) -> list[float]:
    """As many digits as a decimal string holds."""
    return [round(float(number), 6) for number in numbers]


def write(image: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    grid: Grid = Grid(),
    modality: str = "CT",
    formula=head,
    *,
    positions: Sequence[np.ndarray] | None = None,
    slope: Callable[[int], float] = lambda index: 1,
    intercept: float = 0,
    dtype: str = "i2",
    edit: Edit | None = None,
    first: int = 0,
) -> Path:
    """One file a slice; ``edit(image, index)`` changes a file before it is written."""
    if positions is None:
        positions = [grid.position(index) for index in range(grid.shape[0])]
    for index, position in enumerate(positions):
        image = blank(modality)
        image.InstanceNumber = first + index + 1
        set_grid(image, grid)
        image.ImagePositionPatient = decimals(position)
        image.RescaleSlope, image.RescaleIntercept = str(slope(index)), str(intercept)
        values = formula(grid.slice_points(position))
        scaled = np.rint((values - intercept) / slope(index))
        set_pixels(image, scaled.astype(dtype))
        if edit is not None:
            edit(image, index)
        write(image, folder / f"IM{first + index:04d}.dcm")
    return folder


def frames(grid: Grid, order: Sequence[int], formula=head) -> np.ndarray:
    """(frames, J, I) uint16 of the slices in some order."""
    planes = [formula(grid.slice_points(grid.position(index))) for index in order]
    return np.rint(planes).astype("u2")


def write_enhanced(
    path: Path, grid: Grid = Grid(), order: Sequence[int] | None = None, edit=None, formula=head
) -> Path:
    """An enhanced MR of one frame a slice, in some order of frames."""
    order = range(grid.shape[0]) if order is None else order
    image = blank("MR", ENHANCED_MR)
    image.InstanceNumber, image.NumberOfFrames = 1, len(order)
    set_pixels(image, frames(grid, order, formula))
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
    measures.SliceThickness = grid.spacing[2]
    plane.ImageOrientationPatient = orientation(grid)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = [frame_groups(grid, index) for index in order]
    if edit is not None:
        edit(image)
    return write(image, path)


def frame_groups(grid: Grid, index: int) -> Dataset:
    """The functional groups that differ from frame to frame."""
    groups, place, content, scale = Dataset(), Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = decimals(grid.position(index))
    content.StackID, content.InStackPositionNumber = "1", index + 1
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = "1", "0", "US"
    groups.PlanePositionSequence, groups.FrameContentSequence = [place], [content]
    groups.PixelValueTransformationSequence = [scale]
    return groups


def write_nuclear(path: Path, grid: Grid = Grid(), order: Sequence[int] | None = None, edit=None):
    """A reconstructed SPECT: its place stands with its detector, its order in ``SliceVector``."""
    order = range(grid.shape[0]) if order is None else order
    image = blank("NM")
    image.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    image.InstanceNumber, image.NumberOfFrames = 1, len(order)
    set_pixels(image, frames(grid, order))
    image.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
    image.SliceThickness = image.SpacingBetweenSlices = grid.spacing[2]
    detector = Dataset()
    detector.ImagePositionPatient = decimals(grid.position(order[0]))
    detector.ImageOrientationPatient = orientation(grid)
    image.DetectorInformationSequence = [detector]
    image.SliceVector = [index + 1 for index in order]
    image.FrameIncrementPointer = 0x00540080
    if edit is not None:
        edit(image)
    return write(image, path)


def write_dose(path: Path, grid: Grid = Grid(), offsets=None, edit=None) -> Path:
    """A dose in Gy: the head's values by a hundred, stored in 32 bits with a scaling."""
    image = blank("RTDOSE")
    image.NumberOfFrames = grid.shape[0]
    set_grid(image, grid)
    image.ImagePositionPatient = decimals(grid.position(0))
    stored = frames(grid, range(grid.shape[0]), lambda points: 1000 * head(points) / 65)
    set_pixels(image, stored.astype("u4"))
    image.DoseGridScaling, image.DoseUnits = "0.00065", "GY"
    image.FrameIncrementPointer = 0x3004000C
    steps = grid.spacing[2] * np.arange(grid.shape[0])
    image.GridFrameOffsetVector = decimals(steps if offsets is None else offsets)
    if edit is not None:
        edit(image)
    return write(image, path)

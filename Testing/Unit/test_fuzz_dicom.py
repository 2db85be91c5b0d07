"""Whatever a DICOM header says, the answer is the formula's value or a sentence, never another one.

Legal files of every kind must be read to the voxel; files with broken, missing or contradicting
values, with holes, or cut off anywhere, must be read to the voxel or refused. Many more examples
run with ``MEDFUSION_FUZZ=5000 pytest Testing/Unit/test_fuzz_dicom.py``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from dicom_phantom import (
    Grid,
    head,
    truth,
    turned,
    write_dose,
    write_enhanced,
    write_nuclear,
    write_series,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from MedFusionLib.errors import MedFusionError
from MedFusionLib.volumes.files import read_volume

EXAMPLES = int(os.environ.get("MEDFUSION_FUZZ", "110"))
SLICES, ROWS, COLUMNS = 6, 5, 7


def fuzzed(share: float):
    """Settings for a share of the examples."""
    return settings(
        max_examples=max(1, round(share * EXAMPLES)),
        deadline=None,
        derandomize="MEDFUSION_FUZZ" not in os.environ,
        suppress_health_check=[HealthCheck.too_slow],
    )


# What each element may hold that is broken or contradicts the rest. Where the file is read all the
# same, the formula must come out; so no value stands here that legally moves a slice or a value.
NO_NUMBERS = ["", "0", "nan", "inf", "1e400", "abc", "-"]
BROKEN_NUMBERS = [*NO_NUMBERS, "9" * 17]
BROKEN_PAIRS = ["", "0\\0", "-3\\3", "3", "nan\\nan", "1\\2\\3", "abc\\2", "0\\3"]
BROKEN_POINTS = ["", "1\\2", "nan\\0\\0", "abc\\0\\0", "1\\2\\3\\4", "inf\\0\\0"]
BROKEN_AXES = [
    "",
    "1\\0\\0",
    "0\\0\\0\\0\\0\\0",
    "1\\0\\0\\1\\0\\0",
    "2\\0\\0\\0\\2\\0",
    "a\\0\\0\\0\\1\\0",
]
TEXTS = {
    "PixelSpacing": BROKEN_PAIRS,
    "ImagePositionPatient": BROKEN_POINTS,
    "ImageOrientationPatient": BROKEN_AXES,
    "RescaleSlope": NO_NUMBERS,
    "RescaleIntercept": ["", "nan", "abc", "inf"],
    "DoseGridScaling": NO_NUMBERS,
    "GridFrameOffsetVector": ["", "0", "0\\1\\2", "abc", "nan\\1\\2\\3\\4\\5"],
    "NumberOfFrames": [*BROKEN_NUMBERS, "1", "2", "7"],
    "SliceThickness": [*BROKEN_NUMBERS, "30"],
    "SpacingBetweenSlices": ["", "0", "nan", "abc"],
    "InstanceNumber": [*BROKEN_NUMBERS, "3"],
    "AcquisitionNumber": [*BROKEN_NUMBERS, "3"],
    "EchoTime": [*BROKEN_NUMBERS, "4.6"],
    "FrameReferenceTime": [*BROKEN_NUMBERS, "60000"],
    "ImagerPixelSpacing": BROKEN_PAIRS,
    "Modality": ["", "CT", "PT", "NM", "XX", "RTDOSE", "SEG"],
    "PhotometricInterpretation": ["", "MONOCHROME9", "RGB", "PALETTE COLOR", "YBR_FULL", "ARGB"],
    "ImageType": ["", "ORIGINAL", "ORIGINAL\\PRIMARY\\LOCALIZER", "DERIVED\\SECONDARY\\TOMO"],
    "Units": ["", "BQML", "CNTS"],
    "PatientID": ["", "2", "ANON"],
    "SeriesInstanceUID": ["", "1.2.3.7"],
    "SOPInstanceUID": ["", "1.2.3.4.5"],
    "FrameOfReferenceUID": ["", "1.2.3.8"],
    "RescaleType": ["", "HU"],
    "AcquisitionTime": ["", "120000", "noon"],
    "StackID": ["", "2"],
    "PixelPaddingRangeLimit": ["", "abc"],
    "RadiopharmaceuticalInformationSequence": ["", "abc"],
}
NUMBERS = {
    "Rows": [0, 1, 4, 6, 65535],
    "Columns": [0, 1, 6, 8, 65535],
    "BitsAllocated": [0, 1, 8, 12, 32, 64],
    "BitsStored": [0, 8, 12, 17, 32],
    "HighBit": [0, 7, 12, 16],
    "PixelRepresentation": [0, 1, 2],
    "SamplesPerPixel": [0, 2, 3],
    "PixelPaddingValue": [40000],
}
CHANGES = st.one_of(
    st.sampled_from(sorted(TEXTS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from([*TEXTS[name], None]))
    ),
    st.sampled_from(sorted(NUMBERS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from([*NUMBERS[name], None]))
    ),
)
SPREAD = st.sampled_from(["all", "some", "one"])
GRIDS = st.builds(
    Grid,
    shape=st.just((SLICES, ROWS, COLUMNS)),
    spacing=st.tuples(*[st.sampled_from([2.0, 3.3, 5.25])] * 3),
    directions=st.sampled_from([0.0, 20.0, 90.0, 200.0]).map(turned),
    shift=st.tuples(*[st.sampled_from([0.0, -2.5, 7.125])] * 3),
)
ORDERS = st.permutations(range(SLICES))


def gray(points):
    """The dose's values."""
    return head(points) / 100


def write_kind(kind, folder, grid, order):
    """A file or series of some kind, and the formula and the error of its values."""
    if kind == "enhanced":
        return write_enhanced(folder / "x.dcm", grid, order).parent, head, 0.51
    if kind == "nuclear":
        return write_nuclear(folder / "x.dcm", grid, order).parent, head, 0.51
    if kind == "dose":
        return write_dose(folder / "x.dcm", grid).parent, gray, 0.00066
    positions = [grid.position(index) for index in order]
    return write_series(folder, grid, kind, positions=positions, dtype="u2"), head, 0.51


KINDS = st.sampled_from(["CT", "MR", "PT", "enhanced", "nuclear", "dose"])


@given(kind=KINDS, grid=GRIDS, order=ORDERS, as_file=st.booleans())
@fuzzed(0.25)
def test_a_legal_file_of_any_kind_and_order_is_read_to_the_voxel(kind, grid, order, as_file):
    with tempfile.TemporaryDirectory() as name:
        folder, formula, error = write_kind(kind, Path(name), grid, order)
        single = as_file and kind in ("enhanced", "nuclear", "dose")
        volume = read_volume(folder / "x.dcm" if single else folder)
        assert volume.grid_shape == grid.shape
        assert np.abs(volume.voxels - truth(volume, formula)).max() <= error


@given(
    grid=GRIDS, order=ORDERS, intercept=st.sampled_from([0, -1024, 0.5]),
    slopes=st.lists(st.sampled_from([1, 2, 0.25, 1.7]), min_size=SLICES, max_size=SLICES),
)  # fmt: skip
@fuzzed(0.15)
def test_each_slice_has_its_own_scale(grid, order, intercept, slopes):
    with tempfile.TemporaryDirectory() as name:
        positions = [grid.position(index) for index in order]
        volume = read_volume(
            write_series(
                Path(name), grid, positions=positions, slope=slopes.__getitem__, intercept=intercept
            )
        )
        assert np.abs(volume.voxels - truth(volume)).max() <= max(slopes) / 2 + 0.01


@given(
    kind=KINDS, grid=GRIDS, which=st.integers(0, SLICES - 1),
    changes=st.lists(st.tuples(CHANGES, SPREAD), min_size=1, max_size=3),
)  # fmt: skip
@fuzzed(0.4)
def test_a_broken_header_is_read_to_the_voxel_or_refused(kind, grid, which, changes):
    # Rows and columns that were exchanged hold as many pixels, and nothing else tells.
    names = {change[0] for change, _ in changes}
    assume(not {"Rows", "Columns"} <= names)
    with tempfile.TemporaryDirectory() as name:
        folder, formula, error = write_kind(kind, Path(name), grid, range(SLICES))
        damage(folder, changes, which)
        volume = answer(folder)
        if volume is not None:
            assert np.abs(volume.voxels - truth(volume, formula)).max() <= error


def damage(folder, changes, which):
    """Change elements wherever they stand, in files without the kinds of their values.

    Such files (implicit VR) do not say that a text is no number, so any text can stand anywhere.
    """
    images = {path: pydicom.dcmread(path) for path in sorted(folder.iterdir())}
    for (keyword, value), spread in changes:
        holders = [part for image in images.values() for part in holding(image, keyword)]
        holders = holders or list(images.values())
        first = which % len(holders)
        touched = {"all": holders, "some": holders[::2], "one": holders[first : first + 1]}[spread]
        for holder in touched:
            change(holder, pydicom.datadict.tag_for_keyword(keyword), value)
    for path, image in images.items():
        image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        image.save_as(path, implicit_vr=True, little_endian=True)


def holding(part: Dataset, keyword: str) -> Iterator[Dataset]:
    """The data set and those inside it that hold an element."""
    if keyword in part:
        yield part
    for element in part:
        if element.VR == "SQ":
            for item in element.value:
                yield from holding(item, keyword)


def change(holder: Dataset, tag: int, value: str | int | None) -> None:
    if value is None:
        holder.pop(tag, None)
    else:
        holder.add_new(tag, "US" if isinstance(value, int) else "LT", value)


def answer(path):
    """The volume, or None for a refusal; any other exception fails the test."""
    try:
        return read_volume(path)
    except MedFusionError as error:
        assert str(error).strip()[-1] in ".)", str(error)
        return None


@given(
    gone=st.sets(st.integers(0, 11), max_size=6), numbered=st.booleans(),
    grid=st.builds(Grid, st.just((12, 4, 5)), directions=st.sampled_from([0, 30]).map(turned)),
)  # fmt: skip
@fuzzed(0.15)
def test_slices_that_were_lost_leave_a_right_volume_or_none(gone, numbered, grid):
    with tempfile.TemporaryDirectory() as name:
        kept = [index for index in range(12) if index not in gone]

        def renumber(image, index):
            image.InstanceNumber = kept[index] + 1 if numbered else None

        positions = [grid.position(index) for index in kept]
        volume = answer(write_series(Path(name), grid, positions=positions, edit=renumber))
        if volume is None:
            return
        # A measured slice is exact, and one between two lies between their values.
        places = np.array([grid.matrix[:, 2] @ position for position in positions])
        normal = volume.direction_matrix[:, 2]
        for index, plane in enumerate(volume.voxels):
            place = normal @ np.asarray(volume.origin) + index * volume.spacing[2]
            above = int(np.searchsorted(places, place - 1e-3).clip(0, len(places) - 1))
            below = above if abs(places[above] - place) < 1e-3 else above - 1
            ends = [head(grid.slice_points(positions[end])) for end in (below, above)]
            assert (plane >= np.minimum(*ends) - 0.51).all()
            assert (plane <= np.maximum(*ends) + 0.51).all()
        # Three and more equal gaps in a row may be a part with thicker slices; fewer never are.
        gaps = np.diff(kept)
        assert len(set(gaps)) == 1 or "unevenly spaced" in volume.metadata["warnings"]
        assert not numbered or len(set(gaps)) == 1


@given(
    kind=KINDS, which=st.integers(0, SLICES - 1), cut=st.floats(0.01, 0.999),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
)  # fmt: skip
@fuzzed(0.3)
def test_a_file_that_is_cut_off_or_flipped_is_never_another_error(kind, which, cut, flips):
    grid = Grid(shape=(SLICES, ROWS, COLUMNS))
    with tempfile.TemporaryDirectory() as name:
        folder, formula, error = write_kind(kind, Path(name), grid, range(SLICES))
        paths = sorted(folder.iterdir())
        path = paths[which % len(paths)]
        whole = bytearray(path.read_bytes())
        for place, value in flips:
            whole[round(place * (len(whole) - 1))] = value
        if flips:
            path.write_bytes(whole)
            answer(folder)
            return
        path.write_bytes(whole[: round(cut * len(whole))])
        volume = answer(folder)
        if volume is not None:
            assert np.abs(volume.voxels - truth(volume, formula)).max() <= error

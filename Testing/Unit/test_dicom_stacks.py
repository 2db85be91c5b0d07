"""Which slices of a series make one volume: gaps, holes, blocks, phases, echoes, overviews."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_phantom import Grid, head, truth, turned, worst, write_series

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.even_grid import SliceGaps
from MedFusionLib.volumes.files import read_volume

HALF_A_SLICE_ON = Grid(shift=(0, 0, 2.0))


def arterial(points):
    """A second phase: the same head at another brightness."""
    return 0.4 * head(points)


def numbered(number):
    return lambda image, index: setattr(image, "AcquisitionNumber", number)


def two_phases(folder, second: Grid, edit=None):
    write_series(folder, edit=numbered(1))
    return write_series(folder, second, formula=arterial, first=500, edit=edit or numbered(2))


@pytest.mark.parametrize("second", [HALF_A_SLICE_ON, Grid()], ids=["interleaved", "same places"])
def test_two_acquisitions_of_one_region_are_listed_and_picked_by_name(tmp_path, second):
    two_phases(tmp_path, second)
    with pytest.raises(InputError, match=r"1\.2\.3\.1:AcquisitionNumber=1 \(9.*Number=2 \(9"):
        read_volume(tmp_path)
    assert worst(read_volume(tmp_path, series="1.2.3.1:AcquisitionNumber=1")) < 0.51
    picked = read_volume(tmp_path, series="1.2.3.1:AcquisitionNumber=2")
    assert worst(picked, arterial) < 0.51
    assert len(picked.metadata["source_files"].splitlines()) == 9


def test_interleaved_phases_that_no_header_tells_apart_are_refused(tmp_path):
    two_phases(tmp_path, HALF_A_SLICE_ON, lambda image, index: None)
    for path in tmp_path.iterdir():
        _rewrite(path, lambda image: image.__delitem__("AcquisitionNumber"))
    with pytest.raises(InputError, match="two sweeps"):
        read_volume(tmp_path)


def _rewrite(path, edit):
    import pydicom

    image = pydicom.dcmread(path)
    if "AcquisitionNumber" in image:
        edit(image)
        image.save_as(path, enforce_file_format=True)


def test_overlapping_slices_of_one_sweep_are_one_volume(tmp_path):
    def thick(image, index):
        image.SliceThickness = 8

    assert worst(read_volume(write_series(tmp_path, edit=thick))) < 0.51


def test_acquisitions_side_by_side_are_one_volume(tmp_path):
    # A table that moves on gives every few slices a number of their own.
    volume = read_volume(write_series(tmp_path, edit=lambda i, k: numbered(k // 3)(i, k)))
    assert volume.grid_shape == (9, 12, 10)
    assert worst(volume) < 0.51


def test_a_moment_of_its_own_for_each_slice_splits_nothing(tmp_path):
    def clocked(image, index):
        image.AcquisitionTime, image.TriggerTime = f"1000{index:02d}", 10 * index
        image.AcquisitionNumber = index

    assert worst(read_volume(write_series(tmp_path, edit=clocked))) < 0.51


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", (4.6, 9.2)),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
        ("TemporalPositionIdentifier", (1, 2)),
        ("DiffusionBValue", (0, 1000)),
        ("AcquisitionTime", ("100000", "100100")),
    ],
)
def test_whatever_tells_two_stacks_apart_names_them(tmp_path, keyword, values):
    for number, value in enumerate(values):
        write_series(
            tmp_path,
            formula=(head, arterial)[number],
            first=100 * number,
            edit=lambda image, index, value=value: setattr(image, keyword, value),
        )
    names = ["/".join(value) if isinstance(value, list) else str(value) for value in values]
    with pytest.raises(InputError, match=f"{keyword}={names[0]}.*{keyword}={names[1]}"):
        read_volume(tmp_path)
    assert worst(read_volume(tmp_path, series=f"1.2.3.1:{keyword}={names[0]}")) < 0.51
    assert worst(read_volume(tmp_path, series=f"{keyword}={names[1]}"), arterial) < 0.51


def test_slices_twice_at_one_place_that_nothing_tells_apart_are_refused(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path, first=100, formula=arterial)
    with pytest.raises(InputError, match="lie at the same place"):
        read_volume(tmp_path)


def test_a_mark_that_no_slice_has_and_a_name_without_a_value_are_refused(tmp_path):
    write_series(tmp_path)
    with pytest.raises(InputError, match=r"No slice.*EchoTime"):
        read_volume(tmp_path, series="1.2.3.1:EchoTime=3")
    with pytest.raises(InputError, match="'second' does not name a stack"):
        read_volume(tmp_path, series="1.2.3.1:second")


def test_an_overview_in_the_series_is_left_out_and_told(tmp_path):
    write_series(tmp_path)
    scout = Grid(shape=(1, 16, 16), directions=turned(90))
    write_series(
        tmp_path,
        scout,
        first=50,
        edit=lambda image, index: setattr(image, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    volume = read_volume(tmp_path)
    assert volume.grid_shape == (9, 12, 10)
    assert worst(volume) < 0.51
    assert "1 overview image (localizer)" in volume.metadata["warnings"]


@pytest.mark.parametrize(
    ("grid", "mark"),
    [
        (Grid(directions=turned(90)), "Orientation"),
        (Grid(shape=(9, 14, 10)), "Size"),
        (Grid(spacing=(2.0, 2.0, 4.0)), "PixelSpacing"),
    ],
)
def test_slices_of_another_grid_in_the_series_are_refused_and_either_can_be_picked(
    tmp_path, grid, mark
):
    write_series(tmp_path)
    write_series(tmp_path, grid, first=50)
    with pytest.raises(InputError, match=rf"{mark}=(\S+) \(9 slices\)") as refused:
        read_volume(tmp_path)
    for name in [part.split(" (")[0] for part in str(refused.value).split("1.2.3.1:")[1:]]:
        assert worst(read_volume(tmp_path, series=f"1.2.3.1:{name}")) < 0.51


def series_at(folder, places, number=lambda index: index + 1):
    """Slices at places (mm along z); instance numbers as given, none for None."""
    grid = Grid(shape=(len(places), 12, 10), spacing=(3.0, 3.5, 2.5))
    positions = [np.array([*grid.origin[:2], place]) for place in places]

    def renumber(image, index):
        image.InstanceNumber = number(index)

    return write_series(folder, grid, positions=positions, edit=renumber)


def interpolation_error(volume, gap):
    """The most that linear interpolation over a gap can be off: gap² / 8 times the curvature.

    The curvature of the formula along z is measured on its values at the volume's voxels.
    """
    fine = np.stack(
        [
            truth(volume, lambda points, step=step: head(points + np.array([0, 0, step])))
            for step in (-1, 0, 1)
        ]
    )
    return gap**2 / 8 * np.abs(np.diff(fine, 2, axis=0)).max() * 1.3 + 1


def test_a_part_with_thicker_slices_is_resampled_to_the_thinner_ones(tmp_path):
    places = [*np.arange(-18, 0, 2.0), *np.arange(0, 20, 4.0)]
    volume = read_volume(series_at(tmp_path, places))
    assert volume.spacing[2] == pytest.approx(2.0)
    assert "2 mm (9×), 4 mm (4×)" in volume.metadata["warnings"]
    assert worst(volume) < interpolation_error(volume, 4)
    # Where slices were measured the values are exact.
    measured = np.isin(np.round(volume.origin[2] + 2 * np.arange(len(volume.voxels)), 3), places)
    assert np.abs(volume.voxels - truth(volume))[measured].max() < 0.51


@pytest.mark.parametrize(
    ("places", "numbers"),
    [
        ([0, 2, 4, 8, 10, 12, 14], None),
        ([0, 2, 4, 8, 12, 14, 16], None),
        ([0, 2, 4, 6, 8, 14], None),
        ([0, 2, 4, 6, 11, 13, 15], None),
        ([0, 2, 4, 6, 10, 14, 18, 22], [1, 2, 3, 4, 6, 8, 10, 12]),
    ],
    ids=["one", "two apart", "before the last", "no multiple", "every second by number"],
)
def test_holes_in_a_series_are_refused(tmp_path, places, numbers):
    number = (lambda index: None) if numbers is None else numbers.__getitem__
    with pytest.raises(InputError, match=r"Slices are missing.*gaps of"):
        read_volume(series_at(tmp_path, places, number))


def test_positions_that_are_rounded_count_as_even(tmp_path):
    volume = read_volume(series_at(tmp_path, np.round(np.arange(24) * 0.625 - 7, 2)))
    assert "warnings" not in volume.metadata
    assert volume.spacing[2] == pytest.approx(0.625, abs=1e-3)


def test_a_small_drift_that_adds_up_is_resampled_and_not_laid_elsewhere(tmp_path):
    # Every gap alone is even to 2 %, and the middle would lie half a slice off.
    gaps = [*np.full(40, 1.0), *np.full(40, 1.019)]
    places = np.concatenate([[0], np.cumsum(gaps)]) - 40
    volume = read_volume(series_at(tmp_path, places))
    assert "unevenly spaced" in volume.metadata["warnings"]
    assert worst(volume) < interpolation_error(volume, 1.02)


def test_gaps_that_all_differ_have_a_finest_one():
    gaps = SliceGaps(np.linspace(1.0, 1.6, 31))
    assert gaps.finest == pytest.approx(1.3)
    assert not gaps.even and not gaps.slices_missing


def test_a_leaning_stack_of_colour_is_straightened_too():
    from MedFusionLib.volumes.even_grid import SlicePlaces, on_even_grid
    from MedFusionLib.volumes.volume import Volume

    positions = np.array([(0.0, 2.0 * index, 4.0 * index) for index in range(4)])
    rows = np.arange(20)[None, :, None] * 2.0 + positions[:, 1, None, None]
    grey = np.broadcast_to(3 * rows, (4, 20, 6))
    colour = np.stack([grey, grey / 2, 255 - grey], -1).astype(np.uint8)
    volume = Volume(colour, (2.0, 2.0, 4.0), (0.0, 0.0, 0.0))
    places = SlicePlaces(positions, np.eye(3)[:2])
    straight = on_even_grid(volume, places, SliceGaps(np.diff(places.along)))
    y = straight.origin[1] + 2.0 * np.arange(straight.grid_shape[1])
    for index, plane in enumerate(straight.voxels):
        inside = (y >= positions[index, 1]) & (y <= positions[index, 1] + 38)
        assert np.abs(plane[inside, 3, 0] - 3 * y[inside]).max() <= 1
        assert np.abs(plane[inside, 3, 2] - (255 - 3 * y[inside])).max() <= 1

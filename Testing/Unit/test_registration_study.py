"""What a study of registrations does to volumes, and how it counts."""

from __future__ import annotations

import csv
from itertools import islice

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.registration_changes import (
    CHANGES,
    filed_elsewhere,
    made_transform,
    made_transform_by,
    scanned_elsewhere,
)
from MedFusionLib.evaluation.registration_study import COLUMNS, Row, read_pairs, run_pair
from MedFusionLib.evaluation.registration_tables import check_is_right, summary
from MedFusionLib.volumes.files import write_volume
from MedFusionLib.volumes.volume import Volume, to_image

CENTRE = (4.0, -6.0, 9.0)
SPOT = np.array([30.0, -20.0, 12.0])


def head(modality="MR", spot=SPOT):
    """An egg of a head on 4 mm voxels with one bright spot in it, which is no mirror image."""
    k, j, i = np.indices((48, 56, 48), dtype=np.float32)
    points = np.stack([i, j, k], -1) * 4.0 - (94.0, 110.0, 94.0)
    inside = (((points - CENTRE) / (66.0, 84.0, 70.0)) ** 2).sum(-1) < 1
    bright = 400.0 * np.exp(-((points - spot) ** 2).sum(-1) / (2 * 6.0**2))
    voxels = np.where(inside, 100.0 + 40 * np.sin(points[..., 1] / 12), 0.0) + bright
    origin = (-94.0, -110.0, -94.0)
    return Volume(voxels.astype(np.float32), (4.0,) * 3, origin, modality=modality)


def brightest(volume):
    """Centre, in mm, of what is brighter than 350, or than as much of the range as that."""
    image = SimpleITK.Cast(to_image(volume), SimpleITK.sitkFloat64)
    values = SimpleITK.GetArrayFromImage(image)
    weights = np.clip(values - values.min() - 0.7 * np.ptp(values), 0, None)
    index = [(weights * axis).sum() / weights.sum() for axis in np.indices(values.shape)][::-1]
    return np.array(image.TransformContinuousIndexToPhysicalPoint([float(one) for one in index]))


@pytest.mark.parametrize("change", [filed_elsewhere, scanned_elsewhere])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_moved_head_shows_its_spot_where_the_transform_takes_it(change, seed):
    moved = made_transform(CENTRE, seed)
    there = moved.TransformPoint(SPOT.tolist())
    assert brightest(change(head(), moved)) == pytest.approx(there, abs=0.5)


@pytest.mark.parametrize("name", ["cropped", "noised", "biased", "scaled", "stripped"])
def test_a_change_leaves_the_spot_in_its_place(name):
    tolerance = 8.0 if name == "noised" else 1.0
    assert brightest(CHANGES[name](head(), 3)) == pytest.approx(SPOT, abs=tolerance)


def test_a_lesion_is_a_second_bright_spot_and_changes_nothing_else():
    before, after = head().voxels, CHANGES["lesion"](head(), 3).voxels
    changed = before != after
    assert np.ptp(after[changed]) == 0 and after[changed][0] > 1.5 * np.median(before)
    places = 4.0 * np.argwhere(changed)
    assert np.linalg.norm(places - places.mean(axis=0), axis=1).max() < 15.0
    assert 4.0**3 * len(places) > 0.9 * 4 / 3 * np.pi * 15.0**3


def test_a_flip_takes_the_spot_to_the_other_side_and_an_inversion_makes_it_dark():
    volume = head()
    middle = (volume.affine_lps @ [*(np.array([47, 55, 47]) / 2), 1.0])[0]
    assert brightest(CHANGES["flipped"](volume, 0)) == pytest.approx(
        [2 * middle - SPOT[0], *SPOT[1:]], abs=0.5
    )
    inverted = to_image(CHANGES["inverted"](volume, 0))
    darkest = inverted.TransformPhysicalPointToIndex(SPOT.tolist())
    assert inverted[darkest] < 0.2 * np.ptp(SimpleITK.GetArrayFromImage(inverted))


@pytest.mark.parametrize("millimetres", [0.0, 2.6, 15.0, 40.0])
def test_a_displacement_moves_the_points_by_as_much_as_asked(millimetres):
    points = np.random.default_rng(5).normal(0, 70, (9, 3))
    moved = made_transform_by(millimetres, CENTRE, points, 8)
    ways = [np.linalg.norm(np.subtract(moved.TransformPoint(p), p)) for p in points.tolist()]
    assert np.mean(ways) == pytest.approx(millimetres, abs=1e-6)


def row(relation="right", engine="medfusion", misplaced=20.0, error=0.5, verdict="", check=""):
    return Row("a–b", "reported", relation, "filed", 0, engine, misplaced, error, 2.0, verdict, 0.1,
               check, 9.0)  # fmt: skip


@pytest.mark.parametrize(
    "misplaced, answers",
    [
        (1.9, ("lie on each other",)),
        (3.0, ("lie on each other", "shifted")),
        (4.1, ("shifted",)),
        (np.nan, ("shifted", "cannot tell")),
    ],
)
def test_a_check_is_right_by_how_far_the_heads_lie_apart(misplaced, answers):
    for answer in ("lie on each other", "shifted", "cannot tell"):
        asked = row(misplaced=misplaced, check=answer, engine="quick check")
        assert check_is_right(asked) == (answer in answers)


def test_the_totals_count_alarms_and_false_praise():
    rows = [
        row(verdict="pass"),
        row(verdict="doubtful"),
        row(error=1.9, verdict="failed"),
        row(error=4.5, verdict="pass"),
        row(error=3.0, verdict="doubtful"),
        row("wrong", error=np.nan, verdict="pass"),
        row("flipped", error=np.nan, verdict="failed"),
        row(engine="quick check", error=np.nan, check="lie on each other"),
        row("wrong", engine="quick check", misplaced=np.nan, check="shifted"),
    ]
    table = summary(rows)
    for line in (
        "| reported | errors below one diagonal | 3 of 5 |",
        "| reported | of these not called pass | 2 of 3 |",
        "| reported | errors beyond two diagonals | 1 of 5 |",
        "| reported | of these called pass | 1 of 1 |",
        "| reported | wrong or flipped pairs called pass | 1 of 2 |",
        "| reported | quick checks right | 0 of 1 |",
        "| reported | beyond two diagonals told to lie on each other | 1 of 1 |",
        "| reported | wrong or flipped pairs told so | 0 of 1 |",
    ):
        assert line in table


@pytest.fixture
def listed(tmp_path):
    for name in ("one", "two"):
        write_volume(head(), tmp_path / f"{name}.nrrd")
    lines = [COLUMNS, ("reported", "right", "one.nrrd", "MR", "two.nrrd", "MR", ""),
             ("chosen", "wrong", "one.nrrd", "MR", "missing.nrrd", "CT", "")]  # fmt: skip
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return tmp_path


def test_pairs_are_moved_and_registered_then_checked_at_set_distances(listed):
    (pair,) = read_pairs(listed / "pairs.csv", [listed])  # the other one has no second file
    registered, *checked = islice(run_pair(pair, range(1, 2), False, ["medfusion"]), 3)
    assert (registered.engine, registered.part, registered.change) == (
        "medfusion", "reported", "scanned")  # fmt: skip
    assert registered.error < 0.5 * registered.diagonal < registered.misplaced
    assert {one.engine for one in checked} == {"quick check"}
    shares = [one.misplaced / one.diagonal for one in checked]
    assert shares == pytest.approx([0.0, 0.5], abs=1e-6)


def test_a_list_with_other_columns_is_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="no list of pairs"):
        list(read_pairs(tmp_path / "pairs.csv", [tmp_path]))


def test_elastix_finds_what_was_moved_as_medfusion_counts_it():
    """Both must measure in the same space, or the comparison is none."""
    pytest.importorskip("itk.elxParameterObjectPython", reason="itk-elastix is not installed")
    from MedFusionLib.evaluation.registration_engines import by_elastix

    volume, moved = head(), made_transform(CENTRE, 3)
    found = by_elastix(volume, filed_elsewhere(volume, moved), 0).transform
    for point in ((60.0, 0.0, 0.0), (0.0, -70.0, 20.0), (0.0, 40.0, 60.0)):
        assert found.TransformPoint(point) == pytest.approx(moved.TransformPoint(point), abs=0.5)

"""Points placed by hand, as Slicer writes them: a start and a check of an alignment."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from MedFusionLib.errors import InputError
from MedFusionLib.registration.landmarks import Landmarks, read_landmarks

POINTS = np.array([[0.0, -80.0, 10.0], [70.0, 5.0, -20.0], [-68.0, 8.0, -22.0], [4.0, 30.0, 75.0]])
TURN = Rotation.from_euler("xyz", [12, -7, 20], degrees=True)
SHIFT = np.array([15.0, -22.0, 8.0])
THERE = TURN.apply(POINTS) + SHIFT
TURN_AND_SHIFT = SimpleITK.AffineTransform(
    TURN.as_matrix().ravel().tolist(), SHIFT.tolist(), (0.0, 0.0, 0.0)
)
LABELS = ("nasion", "left ear", "right ear", "vertex")


def write_json(path, points, labels=LABELS, system="LPS", status="defined"):
    signs = (1, 1, 1) if system == "LPS" else (-1, -1, 1)
    listed = [
        {"id": str(i), "label": label, "position": (point * signs).tolist()}
        for i, (label, point) in enumerate(zip(labels, points, strict=True))
    ]
    for point in listed:
        point["positionStatus"] = status
    markup = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": listed}
    path.write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    return path


def write_fcsv(path, points, labels=LABELS, system="LPS"):
    signs = (1, 1, 1) if system in ("LPS", "1") else (-1, -1, 1)
    lines = [
        "# Markups fiducial file version = 4.11",
        f"# CoordinateSystem = {system}",
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
    ]
    for label, point in zip(labels, points, strict=True):
        x, y, z = point * signs
        lines.append(f"1,{x},{y},{z},0,0,0,1,1,1,0,{label},,")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_paired_points_give_the_rigid_transform_that_moved_them(tmp_path):
    landmarks = read_landmarks(
        write_json(tmp_path / "mr.mrk.json", POINTS), write_json(tmp_path / "pet.mrk.json", THERE)
    )
    found = landmarks.rigid()
    probe = np.random.default_rng(0).normal(0, 80, (20, 3))
    for point, there in zip(probe, TURN.apply(probe) + SHIFT, strict=True):
        assert np.allclose(found.TransformPoint(point.tolist()), there, atol=1e-6)
    assert landmarks.distances(found).max() < 1e-6


@pytest.mark.parametrize("system", ["LPS", "RAS", "0", "1"])
def test_both_formats_and_both_coordinate_systems_are_the_same_points(tmp_path, system):
    fcsv = write_fcsv(tmp_path / "mr.fcsv", POINTS, system=system)
    as_json = {"0": "RAS", "1": "LPS"}.get(system, system)
    markups = write_json(tmp_path / "pet.mrk.json", THERE, system=as_json)
    landmarks = read_landmarks(fcsv, markups)
    assert np.allclose(landmarks.reference, POINTS) and np.allclose(landmarks.other, THERE)
    assert landmarks.labels == LABELS


def test_points_with_the_same_labels_belong_together_in_whatever_order(tmp_path):
    order = [2, 0, 3, 1]
    landmarks = read_landmarks(
        write_json(tmp_path / "mr.mrk.json", POINTS),
        write_json(tmp_path / "pet.mrk.json", THERE[order], [LABELS[i] for i in order]),
    )
    assert np.allclose(landmarks.other, THERE)


def test_points_with_other_labels_are_paired_in_their_order(tmp_path):
    names = ("PET-1", "PET-2", "PET-3", "PET-4")
    landmarks = read_landmarks(
        write_json(tmp_path / "mr.mrk.json", POINTS),
        write_json(tmp_path / "pet.mrk.json", THERE, names),
    )
    assert np.allclose(landmarks.other, THERE)


def test_the_distance_of_another_transform_is_reported_point_by_point():
    landmarks = Landmarks(LABELS, POINTS, np.add(POINTS, [3.0, 4.0, 0.0]))
    report = landmarks.to_report(SimpleITK.Transform(3, SimpleITK.sitkIdentity))
    assert report["mean_mm"] == pytest.approx(5.0) and report["largest_mm"] == pytest.approx(5.0)
    assert [point["label"] for point in report["points"]] == list(LABELS)


def test_the_distance_of_a_bending_transform_is_that_of_where_it_takes_each_point():
    field = SimpleITK.Image([40, 40, 40], SimpleITK.sitkVectorFloat64, 3)
    field.SetSpacing([8.0] * 3)
    field.SetOrigin([-160.0] * 3)
    ways = np.zeros((40, 40, 40, 3))
    ways[:, :20] = (6.0, 0.0, 0.0)  # y below 0 alone
    bend = SimpleITK.GetImageFromArray(ways, isVector=True)
    bend.CopyInformation(field)
    landmarks = Landmarks(LABELS, POINTS, POINTS)
    found = landmarks.distances(SimpleITK.DisplacementFieldTransform(bend))
    assert found == pytest.approx([6.0, 0.0, 0.0, 0.0], abs=1e-6)


def test_points_whose_labels_are_swapped_are_refused_and_carelessly_placed_ones_are_not():
    swapped = THERE[[3, 1, 2, 0]]
    with pytest.raises(InputError, match=r"do not fit each other: .* \d+ mm apart"):
        Landmarks(LABELS, POINTS, swapped)
    careless = THERE + np.random.default_rng(1).normal(0, 6.0, THERE.shape)
    assert 1.0 < Landmarks(LABELS, POINTS, careless).distances(TURN_AND_SHIFT).mean() < 20.0


def test_too_few_unpaired_and_lined_up_points_are_refused():
    with pytest.raises(InputError, match="needs 3 or more"):
        Landmarks(LABELS[:2], POINTS[:2], THERE[:2])
    with pytest.raises(InputError, match="its partner"):
        Landmarks(LABELS, POINTS, THERE[:3])
    line = np.outer(np.arange(4.0), (10.0, 5.0, 2.0))
    with pytest.raises(InputError, match="on a line"):
        Landmarks(LABELS, line, THERE)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("points.txt", "", "no landmarks"),
        ("points.mrk.json", "{", "as Slicer writes it"),
        ("points.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', "Slicer"),
        (
            "points.mrk.json",
            '{"markups": [{"coordinateSystem": "IJK", "controlPoints": []}]}',
            "Slicer",
        ),
        ("points.fcsv", "# CoordinateSystem = IJK\n1,2,3\n", "as Slicer writes it"),
        ("points.fcsv", "# CoordinateSystem = LPS\n", "no points that are placed"),
        ("points.fcsv", "1,nan,0,0,0,0,0,1,1,1,0,F-1,,\n", "no points that are placed"),
    ],
)
def test_a_file_without_points_is_refused_with_a_sentence(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_landmarks(path, path)
    with pytest.raises(InputError, match="cannot be read"):
        read_landmarks(tmp_path / "missing.fcsv", path)


def test_points_that_are_not_placed_yet_are_left_out(tmp_path):
    with pytest.raises(InputError, match="no points that are placed"):
        path = write_json(tmp_path / "mr.mrk.json", POINTS, status="undefined")
        read_landmarks(path, path)

"""What a made misalignment does to scores, on made images whose true place is known."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from MedFusionLib.computing.device import choose_device
from MedFusionLib.evaluation.metrics import all_metrics
from MedFusionLib.evaluation.misalignment import (
    AS_GIVEN,
    MEASURES,
    TRUE_PLACE,
    Study,
    moved,
    run_study,
    shifts,
    spread_pairs,
)
from MedFusionLib.evaluation.pairs import Pair, read_pairs
from MedFusionLib.evaluation.results_page import misalignment_section


def blobs(centres, shape=(64, 72), width=5.0):
    """Grey values 0..240 of Gaussian blobs at (row, column) centres: known at any point."""
    rows, columns = np.indices(shape)
    values = sum(
        np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / (2 * width**2)) for r, c in centres
    )
    return np.rint(240 * np.minimum(values, 1)).astype(np.uint8)


MR = blobs([(20, 20), (40, 50), (22, 52)])
CT_CENTRES = [(30, 36), (46, 22)]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Two sets of three pairs, grey and in colour."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for number in range(3):
        centres = [(r + number, c - 2 * number) for r, c in CT_CENTRES]
        grey = blobs(centres)
        colour = np.stack([grey, grey // 2, np.zeros_like(grey)], axis=2)
        Image.fromarray(MR).save(folder / "mr.png")
        for name, image in (("CT-MRI", grey), ("PET-MRI", colour)):
            file = f"{name}-{number}.png"
            Image.fromarray(image).save(folder / file)
            rows.append([f"{name}{number}", name, f"p{number}", "dev", "mr.png", file])
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pair_id", "set", "patient", "split", "mri", "other"])
        writer.writerows(rows)
    return folder / "pairs.csv"


def study(pairs, methods=("average",), **settings):
    return run_study(
        Study(pairs, **settings), methods, choose_device("cpu"), "float32", lambda *told: None
    )


def test_a_moved_image_is_the_blob_at_its_new_place_in_every_channel():
    shift = (1.3, -2.6)
    expected = blobs([(r + shift[0], c + shift[1]) for r, c in CT_CENTRES])
    assert np.abs(moved(blobs(CT_CENTRES), shift).astype(int) - expected).max() <= 1
    colour = np.stack([blobs(CT_CENTRES), MR, np.zeros_like(MR)], axis=2)
    there = moved(colour, shift).astype(int)
    assert np.abs(there[..., 0] - expected).max() <= 1
    assert not there[..., 2].any()


@pytest.mark.parametrize("number", range(4))
def test_shifts_have_the_errors_length_and_stand_at_right_angles(number):
    one, two = shifts(2.0, 0.8, number)
    assert math.hypot(*one) * 0.8 == pytest.approx(2.0)
    assert math.hypot(*two) * 0.8 == pytest.approx(2.0)
    assert np.dot(one, two) == pytest.approx(0.0, abs=1e-12)
    assert one != shifts(2.0, 0.8, number + 1)[0]


def test_every_set_gives_as_many_pairs_evenly_spaced():
    pairs = [
        Pair(str(number), name, "p", "dev", Path(), Path())
        for name, count in (("CT-MRI", 39), ("PET-MRI", 92), ("rare", 2))
        for number in range(count)
    ]
    chosen = spread_pairs(pairs, 3)
    places = {
        name: [int(pair.pair_id) for pair in chosen if pair.set_name == name]
        for name in ("CT-MRI", "PET-MRI", "rare")
    }
    assert places["CT-MRI"] == [10, 19, 28]
    assert [len(numbers) for numbers in places.values()] == [3, 3, 2]
    assert np.diff(places["PET-MRI"]).max() - np.diff(places["PET-MRI"]).min() <= 1


def test_scores_are_those_of_the_fused_image_against_the_true_and_the_given_place(table):
    """The average of a grey pair, fused here in numpy."""
    pair = read_pairs(table, "dev")[0]
    rows = study([pair], errors_mm=(0.0, 3.0), pixel_mm=1.5)["rows"]
    other = np.array(Image.open(pair.other))
    mr, there = (moved(image, (0.5, 0.5)) for image in (MR, other))
    expected = {TRUE_PLACE: [], AS_GIVEN: []}
    for down, right in shifts(3.0, 1.5, 0):
        given = moved(other, (down + 0.5, right + 0.5))
        fused = np.rint((mr.astype(float) + given) / 2)
        for against, true in ((TRUE_PLACE, there), (AS_GIVEN, given)):
            stacks = (torch.from_numpy(np.asarray(one, float))[None] for one in (fused, mr, true))
            expected[against].append({n: float(v) for n, v in all_metrics(*stacks).items()})
    for against, values in expected.items():
        (row,) = (r for r in rows if r["against"] == against and r["error_mm"] == 3.0)
        for name in ("MI", "SCD", "VIF", "Qabf", "SSIM", "CC"):
            mean = np.mean([value[name] for value in values])
            assert row[name] == pytest.approx(mean, rel=2e-3), (against, name)


def test_an_error_costs_more_the_larger_it_is_and_the_given_place_hides_it(table):
    rows = study(spread_pairs(read_pairs(table, "dev"), 1), ("average", "maximum"))["rows"]
    assert all(set(MEASURES) <= set(row) for row in rows)
    for set_name in ("CT-MRI", "PET-MRI"):
        for method in ("average", "maximum"):
            of = {
                (row["against"], row["error_mm"]): row
                for row in rows
                if (row["set"], row["method"]) == (set_name, method)
            }
            assert of[TRUE_PLACE, 0.0]["SSIM"] == of[AS_GIVEN, 0.0]["SSIM"]
            true = [of[TRUE_PLACE, error]["SSIM"] for error in (0.0, 1.0, 2.0, 4.0)]
            assert true == sorted(true, reverse=True)
            assert of[AS_GIVEN, 4.0]["Qabf"] > of[TRUE_PLACE, 4.0]["Qabf"]
    assert {row["hue_error"] for row in rows if row["set"] == "CT-MRI"} == {None}


def test_the_command_writes_what_the_results_page_shows(table, tmp_path):
    command = [sys.executable, "-m", "MedFusionLib.cli", "misalignment", "--pairs", str(table)]
    command += ["--methods", "maximum,average", "--per-set", "2", "--errors", "0,1,4"]
    ran = subprocess.run(
        [*command, "--json", str(tmp_path / "figures.json"), "-q"], capture_output=True, text=True
    )
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["pairs"]) == 4 and len(figures["rows"]) == 2 * 2 * 3 * 2
    page = misalignment_section(figures)
    (row,) = (
        row
        for row in figures["rows"]
        if (row["set"], row["method"], row["error_mm"], row["against"])
        == ("PET-MRI", "maximum", 4.0, TRUE_PLACE)
    )
    for words in ("### PET-MRI", "2 pairs", "0, 1 and 4 mm", f"{row['Qabf']:.3g}"):
        assert words in page, words
    for extra, words in ((["--errors", "0,x"], "no misalignment"), (["--sets", "MEG"], "no set")):
        ran = subprocess.run([*command, *extra], capture_output=True, text=True)
        assert ran.returncode == 2 and words in ran.stderr, ran.stderr
        assert "Traceback" not in ran.stderr

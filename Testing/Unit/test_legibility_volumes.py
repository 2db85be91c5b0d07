"""Balls put into whole volumes, and what `fuse` shows of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.ndimage
import SimpleITK
from typer.testing import CliRunner

from MedFusionLib import Volume, fuse, write_volume
from MedFusionLib.cli import app
from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.legibility import balls, volume_judge
from MedFusionLib.registration.overlap import resample
from MedFusionLib.slices.intensity import Window

SHAPE = (14, 64, 70)
SPACING = (1.0, 1.0, 3.0)
UNIT = Window(0.0, 1.0, "given")


def head(seed: int, modality: str) -> Volume:
    """A smooth volume from 30 % to 60 % of 0 … 1000, so that no ball is cut."""
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    smooth = scipy.ndimage.gaussian_filter(noise, (1, 4, 4))
    voxels = 300 + 300 * (smooth - smooth.min()) / np.ptp(smooth)
    return Volume(np.rint(voxels).astype(np.int16), SPACING, (5.0, -3.0, 8.0), modality=modality)


def study(transform: SimpleITK.Transform | None = None) -> balls.Study:
    reference, other = head(1, "MR"), head(2, "PET")
    aligned = resample(other, reference, transform)
    window = Window(0.0, 1000.0, "given")
    return balls.Study(reference, (other,), (aligned,), (window, window), (transform,))


def test_a_ball_has_its_profile_in_millimetres_and_its_amplitude_in_the_window():
    empty = Volume(np.zeros((21, 41, 41), np.int16), SPACING, (0.0, 0.0, 0.0))
    ball = balls.Ball((10, 20, 20), 4.0, "open", False)
    window = Window(-100.0, 300.0, "given")
    changed = balls.insert(empty, empty, [ball], 0.25, window, None).voxels
    assert changed[10, 20, 20] == pytest.approx(100)
    half = 100 * np.exp(-0.5)
    # One σ away: 4 voxels of 1 mm; and 4/3 voxels of 3 mm, between voxels 11 and 12.
    assert changed[10, 24, 20] == changed[10, 20, 16] == pytest.approx(half)
    assert changed[11, 20, 20] > half > changed[12, 20, 20]
    assert changed[10, 20, 33] == 0 == changed[15, 20, 20]


def test_a_ball_is_cut_at_the_window_and_stored_values_beyond_it_stay():
    voxels = np.full((5, 9, 9), 90.0, np.float32)
    voxels[2, 4, 4] = 200
    volume = Volume(voxels, SPACING, (0.0, 0.0, 0.0))
    ball = balls.Ball((2, 4, 4), 2.0, "open", False)
    changed = balls.insert(volume, volume, [ball], 0.25, Window(0.0, 100.0, "given"), None).voxels
    assert changed[2, 4, 4] == 200 and changed[2, 4, 5] == 100


def test_a_ball_in_the_other_volumes_own_space_lands_where_it_was_placed():
    transform = SimpleITK.TranslationTransform(3, (6.0, -4.0, 3.0))
    one = study(transform)
    ball = balls.Ball((7, 30, 33), 3.0, "open", False)
    changed = balls.insert(one.others[0], one.reference, [ball], 0.25, one.windows[1], transform)
    difference = resample(changed, one.reference, transform).voxels - one.aligned_others[0].voxels
    box = ball.box(one.reference)
    # The volumes differ by whole voxels, so that resampling blurs nothing.
    assert difference[box] == pytest.approx(250 * ball.profile(one.reference), abs=0.51)
    assert np.unravel_index(difference.argmax(), difference.shape) == ball.voxel


def test_balls_keep_apart_in_millimetres():
    one = study()
    for size in balls.SIZES:
        placed = balls.place_balls(one.reference, one.units(), 0.25, size, np.random.default_rng(3))
        places = np.array([ball.voxel for ball in placed]) * SPACING[::-1]
        gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
        assert placed and gaps[~np.eye(len(placed), dtype=bool)].min(initial=99) >= size.apart


def test_lesions_in_a_colour_volume_are_refused():
    colour = Volume(np.zeros((*SHAPE, 3), np.uint8), SPACING, (0.0, 0.0, 0.0))
    one = study()
    with pytest.raises(InputError, match="colour volume"):
        list(balls.variants(balls.Study(one.reference, (colour,), (colour,), one.windows, (None,))))


def test_the_average_shows_half_of_every_ball_and_hides_none():
    board = volume_judge.judge_volumes(
        [head(1, "MR"), head(2, "CT")],
        ["average"],
        {"device": "cpu", "window_reference": "0:1000", "window_other": "0:1000"},
        lambda done, total, message: None,
    )
    assert len(board.lesions) > 20 and set(board.lesions["source"]) == {"MR", "CT"}
    assert board.lesions["transfer"].to_numpy() == pytest.approx(0.5, abs=5e-3)
    (row,) = board.pictures.to_dict("records")
    # The ridge may mark a voxel where a source hardly varies.
    assert max(row["hidden_of_reference"], row["hidden_of_other"]) < 1e-3


def test_the_average_of_three_shows_a_third_of_every_ball():
    window = "0:1000"
    board = volume_judge.judge_volumes(
        [head(1, "MR"), head(2, "CT"), head(3, "CT")],
        ["average"],
        {"device": "cpu", "window_reference": window, "window_other": [window] * 2},
        lambda done, total, message: None,
    )
    assert set(board.lesions["source"]) == {"MR", "CT 2", "CT 3"}
    assert board.lesions["transfer"].to_numpy() == pytest.approx(1 / 3, abs=5e-3)


def test_bone_of_hounsfield_units_is_told_from_a_window_of_eight_bits():
    reference = head(1, "MR")
    units = np.random.default_rng(4).integers(-100, 200, SHAPE, dtype=np.int16)
    units[:, 20:40, 20:40] = 1200
    ct = Volume(units, SPACING, reference.origin, modality="CT")
    result = fuse(reference, ct, "maximum", device="cpu", colour="grey")
    found = volume_judge.picture_measures(
        reference, result.aligned_others, result.volume, result.report
    )
    assert found["bone_kept"] == 1 and found["bone_error"] < 0.2
    eight = Volume(
        (units.clip(0) / 1200 * 255).astype(np.uint8), SPACING, reference.origin, modality="CT"
    )
    result = fuse(reference, eight, "maximum", device="cpu", colour="grey")
    found = volume_judge.picture_measures(
        reference, result.aligned_others, result.volume, result.report
    )
    assert found["bone_kept"] == 1 and found["bone_solidity"] == pytest.approx(1)


def test_the_commands_judge_two_volumes_and_a_third_that_is_fused_already(tmp_path):
    paths = [tmp_path / "mr.nrrd", tmp_path / "pet.nrrd", tmp_path / "fused.nrrd"]
    reference, other = head(1, "MR"), head(2, "PET")
    result = fuse(reference, other, "maximum", device="cpu")
    for volume, path in zip((reference, other, result.volume), paths, strict=True):
        write_volume(volume, path)
    sources = ["evaluate", "--legibility", "--reference", str(paths[0]), "--other", str(paths[1])]
    chosen = ["--methods", "maximum,live", "-q", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*sources, *chosen])
    assert done.exception is None, done.output
    (table,) = json.loads((tmp_path / "out/legibility.json").read_text())["tables"]
    assert table["set"] == "PET-MRI"
    row = next(row for row in table["rows"] if row["method"] == "maximum")
    assert row["uptake_correlation"] > 0.9 and 0 <= row["hidden_of_reference"] <= 1
    assert {cell["shown"] for cell in table["cells"]} == {"grey", "colour"}

    done = CliRunner().invoke(app, [*sources, "--fused", str(paths[2]), "--json"])
    assert done.exception is None, done.output
    alone = json.loads(done.output)["legibility"]
    assert alone["hidden_of_reference"] == pytest.approx(row["hidden_of_reference"], abs=1e-5)
    assert alone["edges_kept"] == pytest.approx(row["edges_kept"], abs=1e-5)

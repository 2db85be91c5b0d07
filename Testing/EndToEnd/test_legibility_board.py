"""`medfusion evaluate --legibility` as a process, and the page of results made from it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
from PIL import Image

from MedFusionLib.evaluation.legibility.page import results_section

SIDE = 224
SETS = ("CT-MRI", "PET-MRI")
PATIENTS = "abc"


def medfusion(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "MedFusionLib.cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def made_image(path: Path, seed: int) -> str:
    """A smooth image from black to white."""
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 8)
    grey = np.rint(255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    Image.fromarray(grey).save(path)
    return path.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A board of six made pairs, of which one has a published image: that of the maximum."""
    folder = tmp_path_factory.mktemp("legibility")
    rows = [["pair_id", "set", "patient", "split", "mri", "other"]]
    for number, (set_name, patient) in enumerate((s, p) for s in SETS for p in PATIENTS):
        images = [made_image(folder / f"{number}{kind}.png", 7 * number + kind) for kind in (1, 2)]
        rows.append([str(number), set_name, patient, "dev", *images])
    for name, table in (
        ("pairs.csv", rows),
        ("mapping.csv", [["method", "set", "pair_id", "result"], ["peer", "CT-MRI", "0", "p.png"]]),
    ):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(table)
    sources = [np.array(Image.open(folder / f"0{kind}.png")) for kind in (1, 2)]
    Image.fromarray(np.maximum(*sources)).save(folder / "p.png")
    done = medfusion(
        "--pairs", folder / "pairs.csv", "--published", folder, "--methods", "maximum",
        "--device", "cpu", "--legibility", "--sample", 2, "-q", "-o", folder / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out"


def board(folder: Path) -> dict:
    return json.loads((folder / "legibility.json").read_text())


def rows(table: dict) -> dict[str, dict]:
    return {row["method"]: row for row in table["rows"]}


def test_average_and_blend_show_half_in_grey_and_stand_beside_every_method(folder):
    of_ct, of_peer, of_pet = board(folder)["tables"]
    for table in (of_ct, of_pet):
        assert set(rows(table)) == {"blend", "average", "maximum"}
        for name in ("blend", "average"):
            assert rows(table)[name]["grey_median"] == pytest.approx(0.5, abs=1e-3)
            assert rows(table)[name]["grey_lost"] == 0
    assert rows(of_ct)["average"]["colour_p10"] is None
    assert 0 < rows(of_pet)["blend"]["colour_p10"] < 1
    assert rows(of_pet)["maximum"]["uptake_error"] is not None
    assert set(rows(of_peer)) == {"peer", "blend", "average", "maximum"}


def test_two_pairs_of_each_set_were_judged_as_asked_and_the_file_says_so(folder):
    found = board(folder)
    assert [table["pairs"] for table in found["tables"]] == [2, 1, 2]
    assert found["sample"] == "pairs judged: 2 of CT-MRI, 2 of PET-MRI"
    lesions = pd.read_csv(folder / "lesions.csv", dtype={"pair_id": str})
    assert set(lesions["patient"]) == {"a", "c"}
    assert found["lesions"] == len(lesions)


def test_a_published_image_is_judged_by_its_bone_like_the_method_that_made_it(folder):
    of_peer = rows(board(folder)["tables"][1])
    for name in ("bone_error", "bone_kept", "edges_kept"):
        assert of_peer["peer"][name] == pytest.approx(of_peer["maximum"][name], abs=1e-3)
    assert of_peer["peer"]["grey_p10"] is None


def test_cells_are_those_of_the_table_of_lesions(folder):
    lesions = pd.read_csv(folder / "lesions.csv")
    for table in board(folder)["tables"]:
        for cell in table["cells"]:
            here = lesions[lesions["set"] == table["set"]]
            for name in ("method", "shown", "source", "amplitude", "size", "ground"):
                here = here[here[name] == cell[name]]
            assert cell["count"] == len(here)
            assert cell["p10"] == pytest.approx(here["transfer"].quantile(0.1), abs=1e-6)


def test_the_rank_stands_beside_the_scores_in_json_and_page(folder):
    tables = json.loads((folder / "leaderboard.json").read_text())["tables"]
    ranked = {table["title"]: rows(table) for table in board(folder)["tables"]}
    for table in tables:
        for name, row in rows(table).items():
            assert row["legibility_rank"] == pytest.approx(
                ranked[table["title"]][name]["mean_rank"], abs=1e-6
            )
    page = (folder / "report.html").read_text()
    assert "legibility rank" in page and "What a reader sees" in page


def test_the_section_of_the_results_page_has_each_method_and_the_worst_cells(folder):
    section = results_section(board(folder))
    assert section.startswith("## What a reader sees")
    for text in ("| maximum |", "| blend |", "peer (published images)", "small", "pairs judged: 2"):
        assert text in section

"""`medfusion evaluate --downstream` as a process."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PATIENTS = {"a": "Stroke", "b": "Acute stroke", "c": "Glioma", "d": "Meningioma", "e": "Alzheimer"}
LOOK = {"Stroke": 60, "Acute stroke": 60, "Glioma": 200, "Meningioma": 200, "Alzheimer": 120}


def medfusion(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "MedFusionLib.cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Five patients in one set; the other image alone tells the class, by its brightness."""
    folder = tmp_path_factory.mktemp("downstream")
    generator = np.random.default_rng(2)
    rows = [["pair_id", "set", "patient", "diagnosis", "split", "mri", "other"]]
    for patient, diagnosis in PATIENTS.items():
        for number in range(2):
            name = f"{patient}{number}"
            for kind, level in (("m", 120), ("o", LOOK[diagnosis])):
                noise = generator.integers(-20, 20, size=(48, 48))
                Image.fromarray((level + noise).astype(np.uint8)).save(folder / f"{name}{kind}.png")
            rows.append([name, "CT-MRI", patient, diagnosis, "dev", f"{name}m.png", f"{name}o.png"])
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = medfusion(
        "--downstream", "--pairs", folder / "pairs.csv", "--methods", "maximum",
        "--device", "cpu", "--tformer-epochs", 1, "-o", folder / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nothing clinical follows" in " ".join(done.stdout.split())
    return folder


def test_what_one_source_alone_shows_is_found_there_and_in_its_fusion(folder):
    study = json.loads((folder / "out" / "downstream.json").read_text())
    (table,) = study["tables"]
    found = {(row["input"], row["head"]): row["balanced_accuracy"] for row in table["rows"]}
    assert found["other", "linear"] == found["both", "linear"] == found["average", "linear"] == 1
    assert found["reference", "linear"] < 1
    assert found["majority", "–"] == 0.5
    assert 0 <= found["both", "TFormer"] <= 1
    assert table["assignments"] == 6


def test_a_class_of_one_patient_is_not_tested_and_the_pages_say_so(folder):
    study = json.loads((folder / "out" / "downstream.json").read_text())
    (table,) = study["tables"]
    assert table["tested"] == ["tumour", "vascular"]
    assert "e" not in table["rows"][0]["per_patient"]
    assert {"diagnosis": "Alzheimer", "patients": ["e"], "class": "degenerative"} in study[
        "diagnoses"
    ]
    for name in ("downstream.md", "downstream.html"):
        text = (folder / "out" / name).read_text(encoding="utf-8")
        for said in ("degenerative: 1 patient, not tested", "Normal: no patients", "Alzheimer",
                     "The data are few, and nothing clinical follows"):  # fmt: skip
            assert said in text
        assert "<img" not in text and "![" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--pairs", "pairs.csv", "--legibility"], "leave --legibility out"),
        ([], "needs a table with diagnoses"),
        (["--pairs", "few.csv"], "no set has two classes with two patients each"),
        (["--pairs", "bare.csv"], "lacks the column diagnosis"),
    ],
)
def test_what_cannot_be_studied_is_refused_before_anything_is_written(folder, arguments, sentence):
    rows = list(csv.reader((folder / "pairs.csv").open()))
    for name, kept in (
        ("few.csv", [row for row in rows if row[2] not in "bd"]),
        ("bare.csv", [row[:3] + row[4:] for row in rows]),
    ):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(kept)
    given = [folder / one if one.endswith(".csv") else one for one in arguments]
    done = medfusion("--downstream", *given, "-o", folder / "refused")
    assert done.returncode == 2 and sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and not (folder / "refused").exists()

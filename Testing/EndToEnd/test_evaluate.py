"""`medfusion evaluate` as a process: on atlas pairs, on folders of images, on volumes."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import scipy.stats
import SimpleITK
import skimage.measure
import skimage.metrics
import sklearn.metrics
from PIL import Image

PAIRS_OF_EACH_SET = 1


def medfusion(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "MedFusionLib.cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def grey(path: Path) -> np.ndarray:
    """OpenCV's grey values, in float64."""
    image = np.array(Image.open(path)).astype(float)
    return image if image.ndim == 2 else np.rint(image @ [0.299, 0.587, 0.114])


def visual_information(source: np.ndarray, fused: np.ndarray) -> float:
    """VIFp by the textbook with scipy's Gaussian filter."""
    kept = present = 0.0
    for scale, (size, step) in enumerate(zip((17, 9, 5, 3), (8, 4, 2, 1), strict=True)):

        def smooth(image, size=size, step=step):
            spread = scipy.ndimage.gaussian_filter(image, size / 5, truncate=step / (size / 5))
            return spread[step:-step, step:-step]

        if scale:
            source, fused = smooth(source)[::2, ::2], smooth(fused)[::2, ::2]
        mean_source, mean_fused = smooth(source), smooth(fused)
        var_source = np.maximum(smooth(source**2) - mean_source**2, 0)
        var_fused = np.maximum(smooth(fused**2) - mean_fused**2, 0)
        gain = (smooth(source * fused) - mean_source * mean_fused) / (var_source + 1e-10)
        noise = var_fused - gain * (smooth(source * fused) - mean_source * mean_fused)
        flat = (var_source < 1e-10) | (var_fused < 1e-10)
        noise = np.where(flat | (gain < 0), var_fused, noise)
        gain = np.where(flat | (gain < 0), 0, gain)
        kept += np.log10(1 + gain**2 * var_source / (np.maximum(noise, 1e-10) + 2)).sum()
        present += np.log10(1 + var_source / 2).sum()
    return kept / present


def edges_kept(fused: np.ndarray, sources: list[np.ndarray]) -> float:
    """Qabf with scipy's Sobel filter."""

    def edge(image):
        across, down = (scipy.ndimage.sobel(image, axis, mode="constant") for axis in (1, 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            angle = np.where(across == 0, np.pi / 2, np.arctan(-down / across))
        return np.hypot(across, down), angle

    strength_fused, angle_fused = edge(fused)
    weighted = weights = 0.0
    for source in sources:
        strength, angle = edge(source)
        low, high = np.minimum(strength, strength_fused), np.maximum(strength, strength_fused)
        ratio = np.where(low == high, strength_fused, low / np.maximum(high, 1e-300))
        agreement = 1 - np.abs(angle - angle_fused) / (np.pi / 2)
        kept = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
        kept *= 0.9879 / (1 + np.exp(-22 * (agreement - 0.8)))
        weighted, weights = weighted + (kept * strength).sum(), weights + strength.sum()
    return weighted / weights


def expected_scores(fused: np.ndarray, mri: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Set A computed with other libraries than MedFusion's own metrics."""

    def over_sources(measure):
        return measure(mri, fused) + measure(other, fused)

    def correlation(one, two):
        return scipy.stats.pearsonr(one.ravel(), two.ravel()).statistic

    rows, columns = np.gradient(fused)
    error = over_sources(skimage.metrics.mean_squared_error) / 2
    return {
        "EN": skimage.measure.shannon_entropy(fused),
        "SD": fused.std(),
        "SF": np.sqrt((np.diff(fused, axis=0) ** 2).mean() + (np.diff(fused) ** 2).mean()),
        "AG": np.sqrt((rows**2 + columns**2) / 2).mean(),
        "MI": over_sources(
            lambda one, two: sklearn.metrics.mutual_info_score(one.ravel(), two.ravel())
        ),
        "SCD": correlation(mri, fused - other) + correlation(other, fused - mri),
        "VIF": over_sources(visual_information),
        "Qabf": edges_kept(fused, [mri, other]),
        "SSIM": over_sources(
            lambda one, two: skimage.metrics.structural_similarity(one, two, data_range=255)
        ),
        "PSNR": 10 * np.log10(fused.max() ** 2 / error),
        "CC": over_sources(correlation) / 2,
        "MSE": error,
    }


def published_rows(shared: Path) -> pd.DataFrame:
    """Some dev pairs of each set for which both ASFE-Fusion and DM-FNet published images."""
    mapping = pd.read_csv(shared / "data/peer_results/mapping.csv", dtype=str)
    rows = mapping[(mapping["split"] == "dev") & mapping["method"].isin(["ASFE-Fusion", "DM-FNet"])]
    return rows.groupby(["method", "set"]).head(PAIRS_OF_EACH_SET)


def small_manifest(shared: Path, folder: Path, wanted: pd.DataFrame) -> Path:
    """The atlas's manifest with the wanted pairs only, and absolute paths."""
    table = pd.read_csv(shared / "data/harvard/manifest.csv", dtype=str)
    keys = set(zip(wanted["set"], wanted["pair_id"], strict=True))
    chosen = table[[key in keys for key in zip(table["set"], table["pair_id"], strict=True)]].copy()
    for column in ("mri", "other"):
        chosen[column] = [str(shared / "data/harvard" / path) for path in chosen[column]]
    chosen.to_csv(folder / "pairs.csv", index=False)
    return folder / "pairs.csv"


@pytest.fixture(scope="module")
def board(shared, tmp_path_factory):
    """Folder of a leader board over a few pairs, and its table of pairs."""
    folder = tmp_path_factory.mktemp("board")
    manifest = small_manifest(shared, folder, published_rows(shared))
    done = medfusion(
        "--pairs", manifest, "--split", "dev", "--methods", "maximum,average", "--device", "cpu",
        "--published", shared / "data/peer_results", "-o", folder / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out", pd.read_csv(manifest, dtype=str).set_index(["set", "pair_id"])


def test_every_value_of_every_pair_is_that_of_other_libraries(board, shared):
    folder, manifest = board
    mapping = pd.read_csv(shared / "data/peer_results/mapping.csv", dtype=str)
    images = mapping.set_index(["method", "set", "pair_id"])["result"]
    scores = pd.read_csv(folder / "pairs.csv", dtype={"pair_id": str})
    assert {"maximum", "average", "ASFE-Fusion", "DM-FNet"} <= set(scores["method"])
    for _, row in scores.iterrows():
        pair = manifest.loc[(row["set"], row["pair_id"])]
        mri, other = grey(Path(pair["mri"])), grey(Path(pair["other"]))
        if row["method"] == "maximum":
            fused = np.maximum(mri, other)
        elif row["method"] == "average":
            fused = np.rint((mri + other) / 2)
        else:
            place = images[(row["method"], row["set"], row["pair_id"])]
            fused = grey(shared / "data/peer_results" / place)
        for name, value in expected_scores(fused, mri, other).items():
            assert row[name] == pytest.approx(value, rel=1e-3), (row["method"], name)


def reference_row(shared: Path, images: str) -> dict[str, float]:
    """A row of the table of the DM-FNet evaluator in REFERENCE.md."""
    lines = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in (shared / "spec/REFERENCE.md").read_text().splitlines()
        if line.startswith(("| images | n | EN | MI", f"| {images} "))
    ]
    values = dict(zip(lines[0], lines[1], strict=True))
    return {name.replace("VIFF", "VIF"): float(values[name]) for name in lines[0][1:]}


def test_the_reference_table_comes_out_on_the_set_that_is_here_in_full(shared, tmp_path):
    """All 24 PET pairs of ASFE-Fusion's test set are in the atlas (of the others, some are)."""
    mapping = pd.read_csv(shared / "data/peer_results/mapping.csv", dtype=str)
    wanted = mapping[(mapping["method"] == "ASFE-Fusion") & (mapping["set"] == "PET-MRI")]
    done = medfusion(
        "--pairs", small_manifest(shared, tmp_path, wanted), "--split", "all", "--device", "cpu",
        "--methods", "maximum,average", "--published", shared / "data/peer_results",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "out/leaderboard.json").read_text())["tables"]
    table = next(table for table in tables if table["title"].endswith("ASFE-Fusion"))
    rows = {row["method"]: row for row in table["rows"]}
    for method, images in (
        ("ASFE-Fusion", "ASFE published pngs PET-MRI"),
        ("maximum", "trivial max on HMIF test PET-MRI"),
        ("average", "trivial mean on HMIF test PET-MRI"),
    ):
        expected = reference_row(shared, images)
        assert table["pairs"] == expected.pop("n")
        for name, value in expected.items():
            assert rows[method][name] == pytest.approx(value, rel=1e-3), (method, name)


def test_the_tables_name_pairs_split_and_definitions_and_hold_the_baselines(board):
    folder, _ = board
    tables = json.loads((folder / "leaderboard.json").read_text())["tables"]
    assert {table["set"] for table in tables} == {"CT-MRI", "PET-MRI", "SPECT-MRI"}
    for table in tables:
        assert table["split"] == "dev" and table["definition_set"].startswith("A (")
        assert len(table["pair_ids"]) == table["pairs"] > 0
        assert {"maximum", "average"} <= {row["method"] for row in table["rows"]}


def test_means_are_those_of_the_pairs(board):
    folder, _ = board
    scores = pd.read_csv(folder / "pairs.csv", dtype={"pair_id": str})
    for table in json.loads((folder / "leaderboard.json").read_text())["tables"]:
        here = scores[(scores["set"] == table["set"]) & scores["pair_id"].isin(table["pair_ids"])]
        for row in table["rows"]:
            mean = here.loc[here["method"] == row["method"], "VIF"].mean()
            assert row["VIF"] == pytest.approx(mean)


def test_the_page_holds_its_pictures_and_asks_for_nothing_outside(board):
    page = (board[0] / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    for word in ("best: pair", "median: pair", "worst: pair", "ASFE-Fusion (published images)"):
        assert word in page


def made_images(folder: Path, names: str, seed: int) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for name in names:
        coarse = generator.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 48)).save(folder / f"{name}.png")
    return folder


def test_two_folders_of_equally_named_images_are_scored_with_a_third_of_fused_ones(tmp_path):
    reference, other = made_images(tmp_path / "mr", "ab", 1), made_images(tmp_path / "ct", "ab", 2)
    fused = made_images(tmp_path / "theirs", "b", 3)
    out = tmp_path / "out"
    done = medfusion(
        "--reference", reference, "--other", other, "--fused", fused, "--methods", "average",
        "--device", "cpu", "-q", "-o", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (out / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["pair_id"]) for row in rows[-1:]] == [("theirs", "b")]
    # The baseline stands in the table although only the average was asked for.
    assert {row["method"] for row in rows} == {"average", "maximum", "theirs"}


def write_volume(path: Path, voxels: np.ndarray, spacing: float = 1.0) -> Path:
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((spacing, spacing, 2.0))
    SimpleITK.WriteImage(image, str(path))
    return path


def test_a_fused_volume_is_scored_against_its_sources(tmp_path):
    generator = np.random.default_rng(5)
    sources = generator.integers(0, 256, (2, 4, 48, 52), dtype=np.uint8)
    paths = [
        write_volume(tmp_path / f"{name}.nrrd", voxels)
        for name, voxels in zip(("mr", "ct", "f"), [*sources, sources.max(axis=0)], strict=True)
    ]
    roles = zip(("--reference", "--other", "--fused"), paths, strict=True)
    named = [part for role in roles for part in role]
    done = medfusion(*named, "--json", "-q", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["metrics"]
    middle = expected_scores(*(np.asarray(v[2], float) for v in (sources.max(axis=0), *sources)))
    assert scores["per_slice"]["SD"][2] == pytest.approx(middle["SD"])
    assert scores["per_slice"]["MI"][2] == pytest.approx(middle["MI"])
    assert scores["volume"]["flicker"] <= 1
    assert json.loads((tmp_path / "out/scores.json").read_text())["metrics"] == scores
    assert "<svg" in (tmp_path / "out/report.html").read_text()


def test_a_fused_volume_on_another_grid_is_refused(tmp_path):
    voxels = np.random.default_rng(6).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    paths = [
        write_volume(tmp_path / f"{n}.nrrd", voxels, s)
        for n, s in zip("abf", (1, 1, 2), strict=True)
    ]
    done = medfusion("--reference", paths[0], "--other", paths[1], "--fused", paths[2])
    assert done.returncode == 2
    assert "does not lie on the grid" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either --pairs TABLE"),
        (("--pairs", "no.csv", "-o", "out"), "cannot be read"),
        (("--pairs", "no.csv", "--methods", "magic", "-o", "out"), "no fusion method 'magic'"),
        (("--reference", "no.nii", "--other", "no.nii"), "three files"),
        (("--pairs", "no.csv"), "--output FOLDER"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(arguments, words):
    done = medfusion(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr

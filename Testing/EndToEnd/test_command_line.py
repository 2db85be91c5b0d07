"""The command line, as a user types it: in this process for its errors, in a child for the rest."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK

from MedFusionLib import cli
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume, same_grid

MEDFUSION = [sys.executable, "-m", "MedFusionLib.cli"]


def head(seed=0, shape=(12, 40, 36), x=0.0, modality="MR"):
    rng = np.random.default_rng(seed)
    voxels = np.zeros(shape, np.float32)
    inside = voxels[2:-2, 8:-8, 6:-6]
    inside[...] = rng.uniform(100, 1000, inside.shape)
    return Volume(voxels, (1.0, 1.0, 3.0), (x, 0.0, 0.0), modality=modality)


@pytest.fixture
def folder(tmp_path):
    write_volume(head(), tmp_path / "mr.nrrd")
    write_volume(head(1), tmp_path / "ct.nrrd")
    write_volume(head(2), tmp_path / "pet.nii.gz")
    (tmp_path / "out").mkdir()
    return tmp_path


def medfusion(monkeypatch, capsys, *arguments):
    """Exit code and standard error of the command line, run in this process."""
    monkeypatch.setattr(sys, "argv", ["medfusion", *map(str, arguments)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    else:
        code = 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_three_volumes_become_one_and_the_report_tells_of_each(folder):
    """In colour: the PET alone is functional. By the average, so that numpy knows the luminance."""
    command = [*MEDFUSION, "fuse", "mr.nrrd", "ct.nrrd", "pet.nii.gz", "-o", "out/fused.nrrd"]
    settings = ["--method", "maximum", "--further-modality", "PET", "--further-window", "0:2000"]
    written = ["--hidden", "out/hidden.nrrd", "--report", "out/report.html", "--json", "-q"]
    ran = subprocess.run(
        [*command, *settings, *written, "--further-colour", "hot"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    (further,) = report["further"]
    assert (further["modality"], further["colour"]) == ("PET", "hot")
    assert further["window"]["high"] == 2000 and "metrics" not in report
    assert set(report["hidden"]["hidden_share"]) == {"reference", "other", "further 1"}
    fused = read_volume(folder / "out/fused.nrrd")
    assert fused.is_colour and same_grid(fused, head())
    page = (folder / "out/report.html").read_text()
    assert "further 1" in page and "Uptake of the PET" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--further-window", "0:1", "--further-window", "0:2"], "Give it once for each"),
        (["--navigation"], "two volumes only"),
        (["--uncertainty", "out/u.nrrd"], "two volumes only"),
        (["--transform", "none.tfm"], "none.tfm"),
        (["--further-alignment", "somehow"], "somehow"),
    ],
)
def test_settings_that_three_volumes_cannot_have_are_refused(
    folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(folder)
    volumes = ("mr.nrrd", "ct.nrrd", "pet.nii.gz")
    code, _, error = medfusion(
        monkeypatch, capsys, "fuse", *volumes, "-o", "out/fused.nrrd", *arguments
    )
    assert code != 0 and message in error.replace("\n", " ")
    assert not list((folder / "out").iterdir())


def test_fuse_writes_the_volume_and_prints_the_report_in_a_real_process(folder):
    command = [*MEDFUSION, "fuse", "mr.nrrd", "pet.nii.gz", "-o", "out/fused.nrrd", "--json", "-q"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["other"]["modality"] == "PET" and report["other"]["modality_source"] == "guess"
    fused = read_volume(folder / "out" / "fused.nrrd")
    assert same_grid(fused, head()) and fused.is_colour
    assert ran.stderr == ""


def test_fuse_writes_a_finer_grid_and_the_map_of_what_was_not_measured(folder):
    command = [*MEDFUSION, "fuse", "mr.nrrd", "ct.nrrd", "-o", "out/fused.nrrd", "--grid"]
    command += ["isotropic", "--method", "average", "--invented", "out/invented.nrrd", "--json"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["grid"]["spacing"] == [1.0, 1.0, 1.0]
    assert "were not measured but interpolated" in ran.stderr
    fused, invented = (read_volume(folder / "out" / f"{n}.nrrd") for n in ("fused", "invented"))
    assert fused.grid_shape == invented.grid_shape == (34, 40, 36)
    assert invented.voxels[:4, 0, 0].tolist() == [0, 67, 67, 0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--grid", "fine"], "There is no grid 'fine'"),
        (["--grid", "finest", "--refinement", "ai"], "There is no refinement 'ai'"),
        (["--refinement", "network"], "choose the grid 'isotropic' or 'finest'"),
        (["--invented", "out/map.nrrd"], "--invented is for a finer grid"),
        (["--grid", "finest", "--method", "ddfm", "--uncertainty", "out/u.nrrd"], "grid alone"),
        (["--grid", "finest", "--invented", "ct.nrrd"], "ct.nrrd"),
    ],
)
def test_grids_that_cannot_be_are_refused(folder, monkeypatch, capsys, options, sentence):
    monkeypatch.chdir(folder)
    command = ("fuse", "mr.nrrd", "ct.nrrd", "-o", "out/fused.nrrd", *options)
    code, _, error = medfusion(monkeypatch, capsys, *command)
    assert code == 2 and sentence in error
    assert not list((folder / "out").iterdir())


def write(folder, name, voxels, **keywords):
    image = SimpleITK.GetImageFromArray(voxels, **keywords)
    SimpleITK.WriteImage(image, str(folder / name))


def make_bad_inputs(folder):
    rng = np.random.default_rng(0)
    write(folder, "slice.nii", rng.random((1, 9, 9)).astype(np.float32))
    write(folder, "4d.nii", rng.random((3, 4, 9, 9)).astype(np.float32), isVector=False)
    write(folder, "labels.nii", rng.integers(0, 4, (8, 9, 9)).astype(np.uint8))
    write(folder, "constant.nii", np.full((8, 9, 9), 3.0, np.float32))
    write(folder, "complex.nii", rng.random((8, 9, 9)).astype(np.complex64))
    broken = head(3).voxels.copy()
    broken[3, 3, :4] = np.nan
    write_volume(Volume(broken, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0)), folder / "nan.nrrd")
    write_volume(head(4, x=900.0), folder / "far.nrrd")
    whole = (folder / "pet.nii.gz").read_bytes()
    (folder / "half.nii.gz").write_bytes(whole[: len(whole) // 2])


BAD_INPUTS = {
    "slice.nii": "single slice",
    "4d.nii": "4D",
    "labels.nii": "label map",
    "constant.nii": "value 3",
    "complex.nii": "complex",
    "nan.nrrd": "4 in all",
    "far.nrrd": "do not overlap",
    "half.nii.gz": "truncated",
    "nowhere.nrrd": "no file or folder",
    "out": "no DICOM series",
}


@pytest.mark.parametrize(("name", "words"), BAD_INPUTS.items())
def test_bad_input_gives_a_sentence_exit_code_2_and_no_file(
    folder, monkeypatch, capsys, name, words
):
    make_bad_inputs(folder)
    before = sorted(path.name for path in folder.iterdir())
    code, _, error = medfusion(
        monkeypatch, capsys, "fuse", folder / "mr.nrrd", folder / name, "-o", folder / "out/f.nrrd"
    )
    assert code == 2
    sentence = error.splitlines()[-1]
    assert words in error and sentence.startswith("medfusion: ") and "Traceback" not in error
    assert list((folder / "out").iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "magic"], "Choose one of: average"),
        (["--device", "cuda:77"], "This machine has: cpu"),
        (["--window-b", "9:1"], "no width"),
        (["--plane", "diagonal"], "axial, coronal, sagittal"),
        (["--colour", "pink"], "rainbow"),
        (["--modality-a", "XR"], "not a modality"),
        (["--transform", "none.tfm"], "no transform file"),
        (["--alignment", "rigid", "--initial", "none.tfm"], "no transform file"),
        (["--initial", "shift.tfm"], "choose the alignment rigid or affine"),
        (["--report", "report.pdf"], ".html or .json"),
        (["--method", "pyramid", "--option", "base=sum"], "Choose one of: average"),
        (["--option", "base"], "NAME=VALUE"),
    ],
)
def test_a_wrong_option_says_what_there_is(folder, monkeypatch, capsys, options, words):
    monkeypatch.chdir(folder)
    shift = SimpleITK.TranslationTransform(3, (1.0, 0.0, 0.0))
    SimpleITK.WriteTransform(shift, "shift.tfm")
    code, _, error = medfusion(
        monkeypatch, capsys, "fuse", "mr.nrrd", "ct.nrrd", "-o", "out/f.nrrd", *options
    )
    assert code == 2 and words in error
    assert list((folder / "out").iterdir()) == []


def test_an_output_that_cannot_be_written_is_found_out_before_anything_is_read(
    folder, monkeypatch, capsys
):
    code, _, error = medfusion(
        monkeypatch, capsys, "fuse", "missing.nrrd", "missing.nrrd", "-o", folder / "no/f.nrrd"
    )
    assert code == 2 and "does not exist" in error


def test_not_a_number_is_replaced_when_allowed(folder, monkeypatch, capsys):
    make_bad_inputs(folder)
    arguments = ("fuse", folder / "mr.nrrd", folder / "nan.nrrd", "-o", folder / "out/f.nrrd")
    code, _, error = medfusion(monkeypatch, capsys, *arguments, "--allow-nonfinite")
    assert code == 0 and "(4 in all)" in error
    assert (folder / "out" / "f.nrrd").is_file()


def test_a_transform_file_lays_distant_volumes_on_each_other(folder, monkeypatch, capsys):
    make_bad_inputs(folder)
    transform = SimpleITK.TranslationTransform(3, (900.0, 0.0, 0.0))
    SimpleITK.WriteTransform(transform, str(folder / "t.tfm"))
    arguments = ("fuse", folder / "mr.nrrd", folder / "far.nrrd", "-o", folder / "out/f.nrrd")
    options = ("--transform", folder / "t.tfm", "--aligned", folder / "out/aligned.nrrd")
    code, _, error = medfusion(monkeypatch, capsys, *arguments, *options)
    assert code == 0, error
    aligned = read_volume(folder / "out" / "aligned.nrrd")
    assert np.allclose(aligned.voxels, head(4).voxels, atol=1e-2)


def test_the_report_page_pictures_the_alignment(folder, monkeypatch, capsys):
    page = folder / "out" / "look.html"
    arguments = ("fuse", folder / "mr.nrrd", folder / "ct.nrrd", "-o", folder / "out/f.nrrd")
    code, _, error = medfusion(monkeypatch, capsys, *arguments, "--report", page)
    assert code == 0, error
    shown = re.findall(r'<img alt="([a-z-]+)" src="data:image/png;base64,', page.read_text())
    planes = ("axial", "coronal", "sagittal")
    for kinds in (("fused", "hidden"), ("checkerboard", "edges")):
        expected = [f"{plane}-{kind}" for plane in planes for kind in kinds]
        assert [name for name in shown if name.endswith(kinds)] == expected
    assert len(shown) == 12


def test_ctrl_c_leaves_no_partial_file(folder):
    write_volume(head(5, (120, 224, 224)), folder / "big_mr.nrrd")
    write_volume(head(6, (120, 224, 224)), folder / "big_ct.nrrd")
    command = [*MEDFUSION, "fuse", "big_mr.nrrd", "big_ct.nrrd", "-o", "out/f.nrrd"]
    child = subprocess.Popen(
        [*command, "--method", "guided-filter"],
        cwd=folder,
        stderr=subprocess.PIPE,
        # A shell starts its background jobs, this test run perhaps, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # Interrupt it while it works: it has told what it reads last, and has seconds of work left.
    os.set_blocking(child.stderr.fileno(), False)
    told, deadline = b"", time.monotonic() + 60
    while b"big_ct" not in told and time.monotonic() < deadline:
        told += child.stderr.read() or b""
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    os.set_blocking(child.stderr.fileno(), True)
    rest = child.communicate(timeout=60)[1]
    # Caught during an import, Python ends by the signal itself; a shell calls both 130.
    assert child.returncode in (130, -signal.SIGINT), told + rest
    assert b"nothing was written" in rest
    assert list((folder / "out").iterdir()) == []


def test_batch_goes_on_after_a_bad_case_and_resume_does_the_rest(folder, monkeypatch, capsys):
    table = folder / "cases.csv"
    table.write_text(
        "case,reference,other\ngood,mr.nrrd,ct.nrrd\nbad,mr.nrrd,cut.nrrd\n", encoding="utf-8"
    )
    (folder / "cut.nrrd").write_bytes((folder / "ct.nrrd").read_bytes()[:-99])
    arguments = ("batch", table, "-o", folder / "out", "--method", "average", "--quiet")
    code, _, error = medfusion(monkeypatch, capsys, *arguments)
    assert code == 1 and "cut.nrrd' is truncated" in error
    rows = list(csv.DictReader((folder / "out" / "summary.csv").open()))
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert "cut.nrrd' is truncated" in rows[1]["error"]
    written = (folder / "out" / "good.nrrd").stat().st_mtime_ns

    write_volume(head(7), folder / "cut.nrrd")
    code, _, _ = medfusion(monkeypatch, capsys, *arguments, "--resume")
    assert code == 0
    rows = list(csv.DictReader((folder / "out" / "summary.csv").open()))
    assert [row["status"] for row in rows] == ["skipped", "done"]
    assert (folder / "out" / "good.nrrd").stat().st_mtime_ns == written


def test_methods_lists_every_method_of_the_registry(monkeypatch, capsys):
    from MedFusionLib.methods import METHODS

    code, printed, _ = medfusion(monkeypatch, capsys, "methods", "--json")
    assert code == 0
    assert [card["name"] for card in json.loads(printed)["methods"]] == list(METHODS)


def test_importing_the_package_loads_neither_torch_nor_simpleitk():
    program = "import sys, MedFusionLib; print('torch' in sys.modules, 'SimpleITK' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "False"], ran.stderr


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("harvard_petA_MRI.nii.gz", "harvard_petA_PET.nii.gz"),
        ("harvard_case28_MR-T2.nii.gz", "harvard_case28_CT.nii.gz"),
        ("spm12_OldNorm_T1.nii", "spm12_OldNorm_PET.nii"),
    ],
)
def test_real_volumes_are_fused_on_the_references_grid(
    shared, tmp_path, monkeypatch, capsys, one, two
):
    volumes = shared / "data" / "volumes"
    code, _, error = medfusion(
        monkeypatch, capsys, "fuse", volumes / one, volumes / two, "-o", tmp_path / "f.nrrd"
    )
    assert code == 0, error
    reference, other, fused = (
        read_volume(path) for path in (volumes / one, volumes / two, tmp_path / "f.nrrd")
    )
    # The fused Volume has the reference's numbers bit for bit; an NRRD file stores spacing times
    # direction, so that reading it rounds once more.
    assert np.allclose(fused.affine_lps, reference.affine_lps, rtol=0, atol=1e-12)
    empty = (reference.voxels <= 0) & (other.voxels <= 0)
    assert not fused.voxels[empty].any() and fused.voxels.any()

"""What the command line refuses before it begins, and what it leaves when it fails."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import stat
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK

from MedFusionLib import cli
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume, same_grid

resource = pytest.importorskip("resource", reason="limits the size of files as POSIX does")

SHAPE = (5, 36, 33)


def head(seed=0):
    rng = np.random.default_rng(seed)
    voxels = np.zeros(SHAPE, np.float32)
    inside = voxels[1:-1, 8:-8, 6:-6]
    inside[...] = rng.uniform(100, 1000, inside.shape)
    return Volume(voxels, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write_volume(head(), folder / "mr.nrrd")
    write_volume(head(1), folder / "ct.nrrd")
    SimpleITK.WriteTransform(SimpleITK.TranslationTransform(3), str(folder / "shift.tfm"))
    return folder


@pytest.fixture
def folder(tmp_path, sources, monkeypatch):
    for file in sources.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def medfusion(monkeypatch, capfd):
    """Runs the command line in this process: exit code and all that appeared on stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["medfusion", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        capfd.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, capfd.readouterr().err

    return run


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


FUSE = ("fuse", "mr.nrrd", "ct.nrrd", "--method", "average")


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "mr.nrrd"),
        ("-o", "out/../ct.nrrd"),
        ("-o", "MR.NRRD"),
        ("-o", "out/hard.nrrd"),
        ("-o", "out/f.nrrd", "--aligned", "ct.nrrd"),
        ("-o", "out/f.nrrd", "--aligned", "out/link.nrrd"),
        ("-o", "out/f.nrrd", "--aligned", "out/f.nrrd"),
        ("-o", "out/f.nrrd", "--uncertainty", "out/F.nrrd"),
        ("-o", "out/link.json.nrrd", "--report", "out/report.json", "--aligned", "mr.nrrd"),
    ],
)
def test_fuse_writes_neither_over_an_input_nor_twice(folder, medfusion, options):
    os.link(folder / "mr.nrrd", folder / "out" / "hard.nrrd")
    (folder / "out" / "link.nrrd").symlink_to(folder / "ct.nrrd")
    before = contents(folder)
    code, error = medfusion(*FUSE, *options)
    assert code == 2 and ("would overwrite the input" in error or "both name" in error)
    assert "Reading" not in error and contents(folder) == before


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "ct.nrrd"),
        ("-o", "out/a.nrrd", "--transform-out", "shift.tfm", "--initial", "shift.tfm"),
        ("-o", "out/a.nrrd", "--pictures", "out/a.nrrd"),
    ],
)
def test_align_writes_neither_over_an_input_nor_twice(folder, medfusion, options):
    before = contents(folder)
    code, error = medfusion("align", "mr.nrrd", "ct.nrrd", *options)
    assert code == 2 and ("would overwrite the input" in error or "both name" in error)
    assert contents(folder) == before


def table(folder, text):
    (folder / "cases.csv").write_text("case,reference,other,transform\n" + text, encoding="utf-8")
    return "cases.csv"


def test_batch_writes_over_no_input(folder, medfusion):
    before = contents(folder)
    code, error = medfusion("batch", table(folder, "mr,mr.nrrd,ct.nrrd,\n"), "-o", ".")
    assert code == 2 and "would overwrite the input" in error
    (folder / "cases.csv").rename(folder / "summary.csv")
    before = contents(folder)
    code, error = medfusion("batch", "summary.csv", "-o", ".")
    assert code == 2 and "would overwrite the input" in error
    assert contents(folder) == before


def test_evaluate_does_not_write_over_its_table(folder, medfusion):
    pairs = folder / "out" / "pairs.csv"
    pairs.write_text("pair_id,set,patient,split,mri,other\n1,a,p,dev,m.png,o.png\n")
    code, error = medfusion("evaluate", "--pairs", pairs, "-o", "out")
    assert code == 2 and "would overwrite the input" in error


@pytest.mark.parametrize(
    "options",
    [("--aligned", "out/a.nrrd"), ("--report", "out/r.json"), ("--report", "out/r.html")],
)
def test_no_output_of_fuse_appears_without_the_others(folder, medfusion, options):
    """The fused volume, and no other file, finds room."""
    assert medfusion(*FUSE, "-o", "out/f.nrrd", *options)[0] == 0
    sizes = {path.name: path.stat().st_size for path in (folder / "out").iterdir()}
    smallest, largest = sorted(sizes.values())
    shutil.rmtree(folder / "out")
    (folder / "out").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((smallest + largest) // 2, before[1]))
    try:
        code, error = medfusion(*FUSE, "-o", "out/f.nrrd", *options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2 and "Traceback" not in error and "written" in error
    assert list((folder / "out").iterdir()) == []


def test_transform_and_another_alignment_contradict_each_other(folder, medfusion):
    for alignment in ("rigid", "affine", "none"):
        options = ("--transform", "shift.tfm", "--alignment", alignment)
        code, error = medfusion(*FUSE, "-o", "out/f.nrrd", *options)
        assert code == 2 and "--initial" in error and "Reading" not in error


def test_geometry_picks_the_position_of_a_nifti_file(folder, medfusion):
    read = read_volume("ct.nrrd")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ read.affine_lps
    image = nibabel.Nifti1Image(read.voxels.transpose(2, 1, 0), affine)
    image.set_qform(affine, 1)
    image.set_sform(np.diag([-1.0, 1.0, 1.0, 1.0]) @ affine, 1)
    nibabel.save(image, "ct.nii.gz")
    arguments = ("fuse", "mr.nrrd", "ct.nii.gz", "--method", "average", "-o", "out/f.nrrd")
    code, error = medfusion(*arguments)
    assert code == 2 and "--geometry sform or --geometry qform" in error
    code, error = medfusion(*arguments, "--geometry", "qform", "--aligned", "out/a.nrrd")
    assert code == 0, error
    assert np.array_equal(read_volume("out/a.nrrd").voxels, read.voxels)
    code, error = medfusion(*arguments, "--geometry", "best")
    assert code == 2 and "Choose one of: sform, qform" in error


def test_a_sheared_reference_is_told_before_the_work_that_its_format_cannot_hold_it(
    folder, medfusion
):
    volume = head()
    sheared = (1.0, 0.08, 0.0, 0.0, 0.9968, 0.0, 0.0, 0.0, 1.0)
    write_volume(Volume(volume.voxels, volume.spacing, volume.origin, sheared), "sheared.nrrd")
    for output in (("-o", "out/f.nii.gz"), ("-o", "out/f", "--dicom")):
        code, error = medfusion("fuse", "sheared.nrrd", "ct.nrrd", "--method", "average", *output)
        assert code == 2 and "not at right angles" in error
        assert list((folder / "out").iterdir()) == []
    code, error = medfusion(
        "fuse", "sheared.nrrd", "ct.nrrd", "--method", "average", "-o", "out/f.mha"
    )
    assert code == 0, error
    assert same_grid(read_volume("out/f.mha"), read_volume("sheared.nrrd"))


def test_colour_is_not_begun_where_the_format_holds_none(folder, medfusion):
    code, error = medfusion(*FUSE, "--modality-b", "PET", "-o", "out/f.mgz")
    assert code == 2 and "no colour" in error and "Fusing" not in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "dmfnet", "--option", "draws=abc"), "a whole number, not 'abc'"),
        (("--method", "dmfnet", "--option", "draws=1.5"), "a whole number, not 1.5"),
        (("--method", "dmfnet", "--option", "seed=[1]"), "a whole number, not [1]"),
        (("--method", "dmfnet", "--option", "seed=null"), "a whole number, not None"),
        (("--method", "dmfnet", "--option", "seed=true"), "a whole number, not True"),
        (("--method", "asfe", "--option", "weights=3"), "text, not 3"),
        (("--method", "asfe", "--option", "weights=no.safetensors"), "no weight file"),
        (("--method", "asfe", "--option", "weights=out"), "no weight file"),
        (("--method", "pyramid", "--option", "base=[]"), "text, not []"),
        (("--method", "average", "--option", "speed=3"), "does not have one of the options"),
        (("--transform", "out"), "is a folder"),
        (("--initial", "out", "--alignment", "rigid"), "is a folder"),
        (("--report", "out/d.json"), "is a folder"),
        (("--aligned", "out/d.json/"), "no known volume format"),
        (("--aligned", f"out/{'x' * 300}.nrrd"), "too long"),
        (("--report", f"out/{'x' * 300}.json"), "too long"),
    ],
)
def test_a_wrong_option_is_told_in_a_sentence(folder, medfusion, options, words):
    (folder / "out" / "d.json").mkdir()
    code, error = medfusion("fuse", "mr.nrrd", "ct.nrrd", "-o", "out/f.nrrd", *options)
    assert code == 2 and words in error and "Traceback" not in error
    assert [path.name for path in (folder / "out").iterdir()] == ["d.json"]


@pytest.mark.parametrize(
    ("path", "words"), [("x" * 300, "too long"), ("y/" * 3000, "too long"), ("out", "no DICOM")]
)
def test_a_wrong_input_path_is_told_in_a_sentence(folder, medfusion, path, words):
    code, error = medfusion("fuse", "mr.nrrd", path, "-o", "out/f.nrrd")
    assert code == 2 and words in error


@pytest.mark.parametrize("method", ["live", "pyramid", "asfe", "guided-filter", "average"])
@pytest.mark.parametrize("side", [2, 3, 9])
def test_tiny_planes_are_fused_and_reported(folder, medfusion, method, side):
    rng = np.random.default_rng(0)
    for name in ("a.nrrd", "b.nrrd"):
        voxels = rng.uniform(1, 9, (5, side, side)).astype(np.float32)
        write_volume(Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), name)
    arguments = ("a.nrrd", "b.nrrd", "-o", "out/f.nrrd", "--report", "out/r.html")
    code, error = medfusion("fuse", *arguments, "--method", method)
    assert code == 0, error
    fused = read_volume("out/f.nrrd")
    assert same_grid(fused, read_volume("a.nrrd")) and fused.voxels.any()


def test_a_tiny_volume_cannot_be_registered_and_says_so(folder, medfusion):
    voxels = np.random.default_rng(0).random((5, 3, 3)).astype(np.float32)
    write_volume(Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), "a.nrrd")
    code, error = medfusion("align", "a.nrrd", "a.nrrd", "-o", "out/f.nrrd")
    assert code == 2 and "too few voxels" in error


def test_batch_looks_at_every_file_before_the_first_case(folder, medfusion):
    lines = "good,mr.nrrd,ct.nrrd,\nbad,mr.nrrd,missing.nrrd,\nworse,mr.nrrd,ct.nrrd,mirror.tfm\n"
    mirror = SimpleITK.AffineTransform(3)
    mirror.SetMatrix((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    SimpleITK.WriteTransform(mirror, "mirror.tfm")
    code, error = medfusion("batch", table(folder, lines), "-o", "out/b", "--method", "average")
    assert code == 2
    assert "bad: There is no file or folder 'missing.nrrd'" in error
    assert "worse: The transform 'mirror.tfm' turns left into right" in error
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--alignment", "best"), "no alignment 'best'"),
        (("--device", "cuda:77"), "no device"),
        (("--plane", "diagonal"), "no plane"),
        (("--colour", "pink"), "no colour"),
        (("--window-a", "9:1"), "no width"),
        (("--window-b", "bright"), "not a window"),
        (("--modality-b", "XR"), "not a modality"),
        (("--geometry", "best"), "no geometry"),
        (("--method", "magic"), "no fusion method"),
    ],
)
def test_batch_looks_at_every_setting_before_the_first_case(folder, medfusion, options, words):
    cases = table(folder, "one,mr.nrrd,ct.nrrd,\n")
    code, error = medfusion("batch", cases, "-o", "out/b", *options)
    assert code == 2 and words in error
    assert list((folder / "out").iterdir()) == []


def test_a_batch_that_is_done_does_not_need_its_inputs(folder, medfusion):
    cases = table(folder, "one,mr.nrrd,ct.nrrd,\n")
    arguments = ("batch", cases, "-o", "out", "--method", "average", "--resume")
    assert medfusion(*arguments)[0] == 0
    (folder / "ct.nrrd").unlink()
    assert medfusion(*arguments)[0] == 0


def test_batch_shows_the_work_within_a_case(folder, medfusion):
    cases = table(folder, "one,mr.nrrd,ct.nrrd,\ntwo,mr.nrrd,ct.nrrd,\n")
    code, error = medfusion("batch", cases, "-o", "out", "--method", "average")
    assert code == 0 and "Fusing slices" in error and "Fusing cases" in error


def test_the_summary_says_why_a_case_failed_whatever_was_raised(folder, medfusion, monkeypatch):
    cases = table(folder, "one,mr.nrrd,ct.nrrd,\n")
    checked = "MedFusionLib.batch.checks.refuse_bad_settings"
    monkeypatch.setattr(checked, lambda settings: None)
    for error, words in ((MemoryError(), "Memory ran out"), (KeyError("x"), "a bug of MedFusion")):

        def fail(*arguments, error=error, **keywords):
            raise error

        monkeypatch.setattr("MedFusionLib.fusion.fuse", fail)
        code, _ = medfusion("batch", cases, "-o", "out", "--method", "average")
        (row,) = csv.DictReader((folder / "out" / "summary.csv").open())
        assert code == 1 and row["status"] == "failed" and words in row["error"]


def test_a_bug_is_called_one_and_its_traceback_kept_where_only_the_user_can_read_it(
    folder, medfusion, monkeypatch
):
    def fail(*arguments, **keywords):
        raise KeyError("internal")

    monkeypatch.setattr("MedFusionLib.fusion.fuse", fail)
    code, error = medfusion(*FUSE, "-o", "out/f.nrrd")
    assert code == 3 and "This is a bug of MedFusion (KeyError: 'internal')" in error
    assert "Traceback" not in error
    (log,) = (folder / "state" / "medfusion").iterdir()
    assert str(log) in error.replace("\n", "") and "Traceback" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    assert list((folder / "out").iterdir()) == []


def test_a_librarys_value_error_is_a_bug_and_not_the_users_fault(folder, medfusion, monkeypatch):
    monkeypatch.setattr("MedFusionLib.fusion.fuse", lambda *_, **__: np.zeros(2).reshape(3))
    assert medfusion(*FUSE, "-o", "out/f.nrrd")[0] == 3


def test_damaged_lists_of_weights_are_told_in_a_sentence(folder, medfusion, monkeypatch):
    for text in ("{broken", '{"weights": [{"file": 3}]}', "[]"):
        (folder / "manifest.json").write_text(text)
        monkeypatch.setattr("MedFusionLib.weights.MANIFEST", folder / "manifest.json")
        code, error = medfusion("fuse", "mr.nrrd", "ct.nrrd", "-o", "out/f.nrrd")
        assert code == 2 and "Reinstall MedFusion" in error


def test_training_without_data_leaves_nothing(folder, medfusion):
    pytest.importorskip("lightning")
    (folder / "data").mkdir()
    arguments = ("train", "asfe", "--data", "data", "-o", "out/run")
    code, error = medfusion(*arguments)
    assert code == 2 and "manifest.csv" in error
    (folder / "data" / "manifest.csv").write_text(
        "pair_id,set,patient,split,mri,other\n1,a,p,dev,m.png,o.png\n2,a,p,train,m.png,o.png\n"
    )
    code, error = medfusion(*arguments)
    assert code == 2 and "m.png' cannot be read" in error
    assert list((folder / "out").iterdir()) == []

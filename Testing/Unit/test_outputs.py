"""Outputs appear together or not at all, and never over an input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from MedFusionLib.errors import InputError
from MedFusionLib.outputs import private_folders, refuse_collisions, together, write_text
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume

resource = pytest.importorskip("resource", reason="limits the size of files as POSIX does")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def noise(shape=(30, 30, 30)):
    voxels = np.random.default_rng(0).integers(0, 30000, shape, dtype=np.int16)
    return Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@contextmanager
def little_room(size):
    """Files of this process cannot grow beyond ``size`` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_all_files_appear_at_the_end(tmp_path):
    with together() as outputs:
        outputs.file(tmp_path / "a.txt").write_text("a")
        (outputs.folder(tmp_path / "series") / "one.dcm").write_text("b")
        (outputs.files_into(tmp_path / "pictures") / "one.png").write_text("c")
        assert [name for name in names(tmp_path) if not name.startswith(".medfusion-")] == []
    assert names(tmp_path) == ["a.txt", "pictures", "series"]
    assert (tmp_path / "series" / "one.dcm").read_text() == "b"
    assert (tmp_path / "pictures" / "one.png").read_text() == "c"


def test_after_an_error_everything_is_as_it_was(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(ZeroDivisionError), together() as outputs:
        outputs.file(tmp_path / "a.txt").write_text("after")
        outputs.folder(tmp_path / "series")
        raise ZeroDivisionError
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "before"


def test_a_file_that_cannot_be_moved_takes_the_others_back(tmp_path):
    (tmp_path / "old.txt").write_text("before")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="Nothing was written"), together() as outputs:
        outputs.file(tmp_path / "last.txt").write_text("moved last, so it fails")
        outputs.file(tmp_path / "old.txt").write_text("after")
        outputs.file(tmp_path / "new.txt").write_text("new")
        (outputs.folder(tmp_path / "empty") / "one").write_text("one")
        (outputs.files_into(tmp_path / "pictures") / "one.png").write_text("picture")
        (tmp_path / "last.txt").mkdir()  # somebody else was quicker
        (tmp_path / "last.txt" / "x").touch()
    assert names(tmp_path) == ["empty", "last.txt", "old.txt"]
    assert (tmp_path / "old.txt").read_text() == "before"
    assert names(tmp_path / "empty") == []


def test_pictures_leave_what_else_is_in_their_folder(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with together() as outputs:
        (outputs.files_into(tmp_path) / "one.png").write_text("picture")
    assert names(tmp_path) == ["mine.txt", "one.png"]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz"])
def test_a_volume_for_which_there_is_no_room_is_refused_and_leaves_nothing(tmp_path, suffix, capfd):
    for room in (100, 20_000):
        with little_room(room), pytest.raises(InputError, match="written"):
            write_volume(noise(), tmp_path / f"x{suffix}")
        assert names(tmp_path) == []
    assert capfd.readouterr() == ("", "")
    write_volume(noise(), tmp_path / f"x{suffix}")
    assert np.array_equal(read_volume(tmp_path / f"x{suffix}").voxels, noise().voxels)


def test_a_text_for_which_there_is_no_room_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "a.json", "old")
    with little_room(100), pytest.raises(InputError, match=r"Nothing was written: File too large"):
        write_text(tmp_path / "a.json", "new" * 100)
    assert (tmp_path / "a.json").read_text() == "old" and names(tmp_path) == ["a.json"]


def test_one_volume_too_large_keeps_the_other_back(tmp_path):
    with little_room(20_000), pytest.raises(InputError), together() as outputs:
        write_volume(noise((4, 4, 4)), outputs.file(tmp_path / "small.nrrd"))
        write_volume(noise(), outputs.file(tmp_path / "large.nrrd"))
    assert names(tmp_path) == []


WRITER = """
import sys, time
from pathlib import Path
from MedFusionLib.outputs import together
with together() as outputs:
    outputs.file(Path(sys.argv[1])).write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@contextmanager
def writing(path):
    """A process that is in the midst of writing."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_killed_run_leaves_no_result_and_the_next_run_tidies_up_after_it(tmp_path):
    with writing(tmp_path / "x.nrrd") as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert all(name.startswith(".medfusion-") for name in names(tmp_path))
    write_text(tmp_path / "y.json", "{}")
    assert names(tmp_path) == ["y.json"]


def test_a_living_run_keeps_its_folder(tmp_path):
    with writing(tmp_path / "x.nrrd"):
        before = names(tmp_path)
        write_text(tmp_path / "y.json", "{}")
        with together() as outputs:  # and this process its own
            outputs.file(tmp_path / "z.json").write_text("{}")
            private_folders.remove_left_over(tmp_path)
        assert names(tmp_path) == sorted([*before, "y.json", "z.json"])


def test_a_folder_without_a_lock_goes_when_it_is_old(tmp_path):
    for name, age in (("young", 60), ("old", 2 * private_folders.UNLOCKED_AGE)):
        folder = tmp_path / f".medfusion-{name}"
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    write_text(tmp_path / "y.json", "{}")
    assert names(tmp_path) == [".medfusion-young", "y.json"]


def test_other_hidden_folders_and_links_stay(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "owner.lock").touch()
    place = tmp_path / "place"
    place.mkdir()
    (place / ".medfusion-link").symlink_to(elsewhere)
    (place / ".other").mkdir()
    write_text(place / "y.json", "{}")
    assert names(place) == [".medfusion-link", ".other", "y.json"] and elsewhere.is_dir()


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="does not exist"), together() as outputs:
        outputs.file(tmp_path / "file" / "x.nrrd")
    with pytest.raises(InputError, match="is a folder"), together() as outputs:
        outputs.file(tmp_path)


def links(tmp_path):
    (tmp_path / "sub").mkdir()
    source = tmp_path / "mr.nrrd"
    source.write_text("voxels")
    (tmp_path / "link.nrrd").symlink_to(source)
    os.link(source, tmp_path / "hard.nrrd")
    return source


@pytest.mark.parametrize("name", ["mr.nrrd", "link.nrrd", "hard.nrrd", "sub/../mr.nrrd", "MR.nrrd"])
def test_an_output_that_is_an_input_by_any_name_is_refused(tmp_path, name):
    source = links(tmp_path)
    with pytest.raises(InputError, match=r"--aligned .* would overwrite the input"):
        refuse_collisions({"--aligned": tmp_path / name}, [None, source])


def test_an_output_over_a_file_of_a_folder_that_is_read_is_refused(tmp_path):
    links(tmp_path)
    with pytest.raises(InputError, match="would overwrite the input"):
        refuse_collisions({"--output": tmp_path / "mr.nrrd"}, [tmp_path])
    refuse_collisions({"--output": tmp_path / "new.nrrd"}, [tmp_path])


@pytest.mark.parametrize("name", ["f.nrrd", "F.nrrd", "sub/../f.nrrd"])
def test_two_outputs_on_one_path_are_refused(tmp_path, name):
    (tmp_path / "sub").mkdir()
    wanted = {"--output": tmp_path / "f.nrrd", "--report": None, "--aligned": tmp_path / name}
    with pytest.raises(InputError, match="--aligned and --output both name"):
        refuse_collisions(wanted, [])

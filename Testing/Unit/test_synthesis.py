"""A missing sequence: which volumes it is made from, what comes out, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from typer.testing import CliRunner

from MedFusionLib.cli import app
from MedFusionLib.commands.import_weights import app as import_app
from MedFusionLib.errors import GeometryError, IdentityError, InputError, MedFusionError
from MedFusionLib.methods.checkpoints import author_key
from MedFusionLib.methods.hinet import PRESETS, Architecture, HiNet
from MedFusionLib.methods.hinet.author_weights import RULES
from MedFusionLib.methods.hinet.weight_file import load_network, save_network
from MedFusionLib.synthesis import synthesise
from MedFusionLib.synthesis.sequences import sequences_of, told_sequence
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.synthetic import marked, synthetic_note
from MedFusionLib.volumes.volume import IDENTITY_DIRECTIONS, Volume
from MedFusionLib.weights import weights_entries

RUN = CliRunner()


def named(name: str, description: str = "") -> Volume:
    return replace(head(), metadata={"source": name, "series_description": description})


def head(seed: int = 0, shape: tuple[int, int, int] = (3, 26, 21)) -> Volume:
    voxels = np.zeros(shape, np.float32)
    inside = (slice(None), slice(4, -4), slice(4, -4))
    voxels[inside] = np.random.default_rng(seed).uniform(100, 1000, voxels[inside].shape)
    return Volume(voxels, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), IDENTITY_DIRECTIONS, "MR")


@pytest.mark.parametrize(
    ("name", "description", "sequence"),
    [
        ("chris_t1.nii.gz", "", "T1"),
        ("mprage.nrrd", "", "T1"),
        ("sub-01_PDw.nii", "", "PD"),
        ("x.nii", "AX T2 FLAIR", "FLAIR"),
        ("IM0001", "t1_mprage_sag_gad", "T1c"),
        ("t1.nii", "AX T2 TSE", "T2"),
        ("mr.nii", "", ""),
        ("t2_on_t1.nii", "", ""),
        ("t1/mr.nii", "", ""),
        ("pd_t2_dual.nii", "", ""),
    ],
)
def test_names_tell_the_sequence_or_nothing(name: str, description: str, sequence: str) -> None:
    assert told_sequence(named(name, description)) == sequence


def test_what_the_user_says_goes_before_names() -> None:
    volumes = named("t1.nii"), named("pd.nii")
    assert sequences_of(volumes) == ("T1", "PD")
    assert sequences_of(volumes, ("pd", "t1")) == ("PD", "T1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of made-up weights, T1 and PD to T2."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "made_up.safetensors"
    network = HiNet(Architecture(4, ("T1", "PD"), "T2", expects_error=True))
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    save_network(network, path)
    return path


def test_the_result_lies_on_the_first_grid_and_says_what_it_is(weights: Path) -> None:
    first, second = head(), head(1)
    result = synthesise(
        first, second, sequences=("T1", "PD"), alignment="none", weights=weights, device="cpu"
    )
    for volume in (result.volume, result.expected_error):
        assert volume.grid_shape == first.grid_shape
        assert volume.voxels.dtype == np.int16
        assert volume.voxels.min() >= 0 and volume.voxels.max() <= 4095
        assert (volume.voxels[first.voxels + second.voxels == 0] == 0).all()
    assert synthetic_note(result.volume) == "T2 from T1 and PD by MedFusion hinet"
    assert synthetic_note(result.expected_error).startswith("Expected error of T2 from T1")
    json.dumps(result.report)


def test_the_network_gets_each_sequence_in_its_place_whatever_their_order(weights: Path) -> None:
    options = {"alignment": "none", "weights": weights, "device": "cpu"}
    one = synthesise(head(), head(1), sequences=("T1", "PD"), **options)
    two = synthesise(head(1), head(), sequences=("PD", "T1"), **options)
    swapped = synthesise(head(1), head(), sequences=("T1", "PD"), **options)
    assert np.array_equal(one.volume.voxels, two.volume.voxels)
    assert not np.array_equal(one.volume.voxels, swapped.volume.voxels)


def test_a_slice_does_not_depend_on_its_batch_or_on_the_arrays_order(weights: Path) -> None:
    options = {"sequences": ("T1", "PD"), "alignment": "none", "weights": weights, "device": "cpu"}
    whole = synthesise(head(), head(1), batch_size=3, **options).volume.voxels
    single = synthesise(head(), head(1), batch_size=1, **options).volume.voxels
    assert np.abs(whole.astype(int) - single).max() <= 1
    turned = [
        replace(
            volume,
            voxels=np.ascontiguousarray(volume.voxels[:, ::-1]),
            origin=(0.0, 25.0, 0.0),
            directions=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
        )
        for volume in (head(), head(1))
    ]
    again = synthesise(*turned, batch_size=3, **options).volume.voxels[:, ::-1]
    assert np.array_equal(again, whole)


def test_nothing_is_made_up_where_the_second_volume_does_not_reach(weights: Path) -> None:
    first, second = head(), head(1)
    half = replace(second, voxels=second.voxels[:, :13])
    result = synthesise(
        first, half, sequences=("T1", "PD"), alignment="resample", weights=weights, device="cpu"
    )
    assert (result.volume.voxels[:, 14:] == 0).all()
    assert (result.expected_error.voxels[:, 14:] == 0).all()
    assert any("covers 50 %" in warning for warning in result.report["warnings"])


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (lambda one: one, {"sequences": ("T1", None)}, InputError, "not clear which MR sequence"),
        (lambda one: one, {"sequences": ("T1", "T1")}, InputError, "Both volumes are T1"),
        (lambda one: one, {"sequences": ("T1", "T2")}, InputError, "make T2 from T1 and PD"),
        (lambda one: one, {"target": "FLAIR"}, InputError, "FLAIR is wanted"),
        (lambda one: one, {"target": "DWI"}, InputError, "not a sequence"),
        (lambda one: one, {"alignment": "elastic"}, InputError, "no alignment"),
        (lambda one: replace(one, modality="CT"), {}, InputError, "is CT"),
        (lambda one: marked(one, "x"), {"force": True}, IdentityError, "synthetic itself"),
        (lambda one: replace(one, spacing=(1.0, 2.0, 2.0)), {}, GeometryError, "different grids"),
        (
            lambda one: replace(one, voxels=np.stack([one.voxels] * 3, -1).astype(np.uint8)),
            {},
            InputError,
            "colour",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(
    weights: Path,
    change: Callable[[Volume], Volume],
    options: dict[str, object],
    error: type[MedFusionError],
    words: str,
) -> None:
    given = {"sequences": ("T1", "PD"), "alignment": "none", "weights": weights, "device": "cpu"}
    with pytest.raises(error, match=words):
        synthesise(head(), change(head(1)), **{**given, **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_volume(head(), tmp_path / "t1.nrrd")
    write_volume(head(1), tmp_path / "pd.nii.gz")
    return tmp_path


def run(folder: Path, output: str, weights: Path, *more: str):
    inputs = [str(folder / name) for name in ("t1.nrrd", "pd.nii.gz")]
    settings = ["--weights", str(weights), "--alignment", "none", "--device", "cpu", *more]
    return RUN.invoke(app, ["synthesise", *inputs, "-o", str(folder / output), *settings])


def test_the_command_writes_both_volumes_and_the_mark(folder: Path, weights: Path) -> None:
    ran = run(folder, "synthetic_t2.nii.gz", weights)
    assert ran.exit_code == 0, ran.output
    for name in ("synthetic_t2.nii.gz", "synthetic_t2_expected_error.nii.gz"):
        assert synthetic_note(read_volume((folder / name).rename(folder / f"x_{name[-9:]}")))


def test_a_name_that_hides_what_it_is_is_refused_before_anything_is_read(
    folder: Path, weights: Path
) -> None:
    ran = run(folder, "t2.nii.gz", weights)
    assert isinstance(ran.exception, InputError)
    assert "synthetic_t2.nii.gz" in str(ran.exception)


def test_a_truth_scores_the_result_beside_copies_of_the_inputs(folder: Path, weights: Path) -> None:
    write_volume(head(2), folder / "t2.nrrd")
    ran = run(folder, "synthetic.nrrd", weights, "--truth", str(folder / "t2.nrrd"), "--json", "-q")
    assert ran.exit_code == 0, ran.output
    scores = json.loads(ran.stdout)["scores"]
    assert len(scores["images"]) == 4
    assert all(-1 <= row["ssim"] <= 1 for row in scores["images"].values())
    assert scores["error_map"]["best_possible"] >= scores["error_map"]["worst"]


def test_a_sequence_that_contradicts_a_name_is_told_of() -> None:
    warnings: list[str] = []
    sequences_of((named("t1.nii"), named("pd.nii")), ("PD", "T1"), warnings)
    assert len(warnings) == 2 and "its name says T1" in warnings[0]


def test_dicom_says_that_it_is_derived_and_synthetic(folder: Path, weights: Path) -> None:
    ran = run(folder, "synthetic_series", weights, "--dicom")
    assert ran.exit_code == 0, ran.output
    files = sorted((folder / "synthetic_series").iterdir())
    header = pydicom.dcmread(files[0])
    assert header.SeriesDescription == "SYNTHETIC T2 from T1 and PD by MedFusion hinet"
    assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert "in whole or in part not acquired" in header.DerivationDescription
    assert synthetic_note(read_volume(folder / "synthetic_series"))


def test_a_checkpoint_of_the_authors_is_imported_with_its_sequences(tmp_path: Path) -> None:
    network = HiNet(Architecture(3))
    state = {author_key(key, RULES): value for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "G.pth")
    target = tmp_path / "imported.safetensors"
    command = ["hinet", str(tmp_path / "G.pth"), "-o", str(target)]
    ran = RUN.invoke(import_app, [*command, "--inputs", "T2,FLAIR", "--target", "T1"])
    assert ran.exit_code == 0, ran.output
    imported, _ = load_network(target)
    assert imported.architecture == Architecture(3, ("T2", "FLAIR"), "T1")
    images = torch.rand(2, 1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(imported(*images).target, network.eval()(*images).target)
    for wrong in ("T2", "T2,T2", "T2,DWI"):
        bad = RUN.invoke(import_app, [*command, "--inputs", wrong, "--target", "T1"])
        assert isinstance(bad.exception, ValueError | MedFusionError)


def test_the_shipped_weights_fit_the_compact_preset() -> None:
    network, _ = load_network()
    assert network.architecture == PRESETS["compact"]


@pytest.mark.parametrize(
    ("sequences", "target", "made"),
    [
        (("T1", "PD"), None, "T2 from T1 and PD"),
        (("PD", "T1"), "T2", "T2 from PD and T1"),
        (("T2", "PD"), None, "T1 from T2 and PD"),
        (("PD", "T2"), "T1", "T1 from PD and T2"),
    ],
)
def test_the_shipped_weights_are_chosen_by_what_is_given_and_wanted(
    sequences: tuple[str, str], target: str | None, made: str
) -> None:
    options = {"alignment": "none", "device": "cpu"}
    result = synthesise(head(), head(1), sequences=sequences, target=target, **options)
    assert result.report["synthetic"] == f"{made} by MedFusion hinet"
    (entry,) = [e for e in weights_entries() if e.sha256 == result.report["weights_sha256"]]
    assert entry.config["target"] == made[:2] and set(entry.config["inputs"]) == set(sequences)


@pytest.mark.parametrize(
    ("sequences", "target"), [(("T1", "T2"), None), (("T1", "PD"), "T1"), (("T1", "FLAIR"), "T2")]
)
def test_what_no_shipped_weights_make_is_refused_and_what_they_make_is_told(
    sequences: tuple[str, str], target: str | None
) -> None:
    with pytest.raises(InputError, match=r"make T2 from T1 and PD, or T1 from T2 and PD; .*T1 and"):
        synthesise(head(), head(1), sequences=sequences, target=target, device="cpu")

"""What is known of a patient beside the images: how it is read, what it adds, what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from MedFusionLib.cli import app
from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.downstream import folds
from MedFusionLib.evaluation.downstream.metadata import metadata_numbers
from MedFusionLib.evaluation.downstream.tformer.architecture import compact
from MedFusionLib.evaluation.downstream.tformer.metadata import MetadataCrossing
from MedFusionLib.evaluation.downstream.tformer.network import TFormer
from MedFusionLib.evaluation.downstream.tformer.training import tformer_head

ROWS = [
    {"pair_id": "1", "set": "CT", "diagnosis": "Stroke", "age": "61.5", "sex": "f", "seen": "no"},
    {"pair_id": "2", "set": "CT", "diagnosis": "Glioma", "age": "40", "sex": "m", "seen": "no"},
    {"pair_id": "3", "set": "PET", "diagnosis": "Glioma", "age": "7", "sex": "f", "seen": "yes"},
]


def test_numbers_stay_and_each_word_becomes_a_number_of_its_own() -> None:
    found = metadata_numbers(ROWS, ("sex", "age"))
    np.testing.assert_array_equal(found, [[1, 0, 61.5], [0, 1, 40], [1, 0, 7]])


@pytest.mark.parametrize(
    ("rows", "column", "words"),
    [
        (ROWS, "weight", "has no column 'weight'. It has: pair_id, set"),
        (ROWS, "diagnosis", "is no metadata"),
        (ROWS, "Set", "is no metadata"),
        (ROWS, "seen", "in which set a pair is"),
        ([{**ROWS[0], "asked": "after stroke"}], "asked", "names diseases"),
        ([*ROWS, {**ROWS[0], "age": " "}], "age", "empty for 1 pairs"),
        ([{**ROWS[0], "age": "nan"}], "age", "not finite"),
        ([{**ROWS[0], "age": f"{n} years"} for n in range(11)], "age", "neither numbers alone"),
    ],
)
def test_columns_that_lack_or_leak_are_refused(rows, column, words) -> None:
    with pytest.raises(InputError, match=words):
        metadata_numbers(rows, (column,))


def crossing() -> MetadataCrossing:
    torch.manual_seed(3)
    return MetadataCrossing(3, 4, 2).double()


def test_the_metadata_stays_where_nothing_is_narrowed_back_to_it() -> None:
    branch = crossing()
    torch.nn.init.zeros_(branch.narrowing.weight)
    torch.nn.init.zeros_(branch.narrowing.bias)
    metadata, images = torch.randn(2, 3).double(), torch.randn(2, 4).double()
    assert torch.equal(branch(metadata, images), metadata)


def test_without_values_the_attention_is_a_projection_of_what_asks() -> None:
    attention = crossing().attention
    torch.nn.init.zeros_(attention.keys_values.weight)
    own = torch.randn(2, 4).double()
    found = attention(own, torch.randn(2, 4).double())
    torch.testing.assert_close(found, attention.projection(own))


def test_gradients_of_the_branch_are_those_of_finite_differences() -> None:
    inputs = [torch.randn(2, size, dtype=torch.double, requires_grad=True) for size in (3, 4)]
    assert torch.autograd.gradcheck(crossing(), inputs)


@torch.no_grad()
def test_each_patient_is_answered_alike_in_any_batch_and_by_its_own_metadata() -> None:
    torch.manual_seed(0)
    network = TFormer(compact(3, 2)).eval()
    pairs, metadata = torch.rand(2, 4, 1, 64, 64), torch.randn(4, 2)
    (together,) = network(*pairs, metadata)
    (alone,) = network(*pairs[:, 2:3], metadata[2:3])
    torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=1e-4)
    (others,) = network(*pairs, metadata.flip(0))
    assert not torch.allclose(together, others, atol=1e-4)


def test_tformer_learns_what_the_metadata_alone_tell_and_no_column_that_never_varies() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = np.random.default_rng(1)
    stacks = generator.integers(0, 255, size=(2, 49, 16, 16)).astype(np.uint8)
    labels = np.arange(49) % 2
    metadata = np.stack([60.0 + 20 * labels + generator.normal(size=49), np.full(49, 3.0)], axis=1)
    # 33 to learn from: one is left over after two batches of 16.
    train, test = np.arange(33), np.arange(33, 49)
    metadata[test, 1] = 1e6
    predict = tformer_head(stacks[0], stacks[1], 2, 8, metadata)
    found = predict(train, labels[train], np.ones(33), test)
    torch.set_num_threads(before)
    np.testing.assert_array_equal(found, labels[test])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four patients of two classes, one pair each; they are told apart by their age alone."""
    generator = np.random.default_rng(2)
    rows = [("pair_id", "set", "patient", "diagnosis", "split", "mri", "other", "age")]
    for number in range(4):
        files = [f"{name}{number}.png" for name in ("mri", "other")]
        for file in files:
            Image.fromarray(generator.integers(0, 255, (16, 16), np.uint8)).save(tmp_path / file)
        disease = ("Stroke", "Glioma")[number % 2]
        age = str(30 + 40 * (number % 2) + number)
        rows.append((str(number), "CT-MRI", f"p{number}", disease, "dev", *files, age))
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path / "pairs.csv"


def run(table: Path, *more: str):
    command = ["evaluate", "--downstream", "--pairs", str(table), "--methods", "maximum", "-q"]
    return CliRunner().invoke(app, [*command, "-o", str(table.parent / "study"), *more])


def test_a_study_tells_what_metadata_tell_alone_and_with_both_sources(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt = folds.by_chance
    # Two deals by chance in place of 99 take two seconds in place of twenty.
    monkeypatch.setattr(
        folds, "by_chance", lambda slices, predict, count: dealt(slices, predict, min(count, 2))
    )
    ran = run(table, "--tformer-epochs", "1", "--metadata", "age", "--device", "cpu")
    assert ran.exit_code == 0, ran.output
    study = json.loads((table.parent / "study" / "downstream.json").read_text())
    rows = {(row["input"], row["head"]): row for row in study["tables"][0]["rows"]}
    assert rows["metadata alone", "linear"]["balanced_accuracy"] == 1
    assert ("both, metadata", "TFormer") in rows
    for name in ("average", "maximum"):
        # The best of several is at least as good as each, in every deal.
        assert rows[name, "linear"]["p_best"] >= rows[name, "linear"]["p"]
    assert rows["reference", "linear"]["p_best"] is None
    text = (table.parent / "study" / "downstream.md").read_text()
    assert "Metadata: age." in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tformer-epochs", "1", "--metadata", "sex"), "has no column 'sex'"),
        (("--tformer-epochs", "1", "--metadata", "diagnosis"), "is no metadata"),
        (("--metadata", "age"), "--tformer-epochs 20"),
    ],
)
def test_a_study_that_cannot_use_them_says_so_and_writes_nothing(
    table: Path, options: tuple[str, ...], words: str
) -> None:
    ran = run(table, *options)
    assert isinstance(ran.exception, InputError) and words in str(ran.exception)
    assert not (table.parent / "study").exists()

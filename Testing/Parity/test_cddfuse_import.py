"""Checkpoints of the CDDFuse authors through the command line, and what comes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cddfuse_networks import made_up_network, made_up_states
from parity_set import read_case
from torch import Tensor
from typer.testing import CliRunner

from MedFusionLib.commands.import_weights import app
from MedFusionLib.errors import InputError, WeightsError
from MedFusionLib.methods.cddfuse import create, from_author_states

States = dict[str, dict[str, Tensor]]


@pytest.fixture
def case(shared: Path) -> tuple[dict[str, Tensor], States]:
    folder = shared / "parity" / "cddfuse"
    tensors, metadata = read_case(folder / "net_small_prng.safetensors")
    return tensors, made_up_states(folder, metadata)


def save(states: States, path: Path) -> Path:
    """As the authors' training in parallel leaves it: every name begins with ``module.``."""
    torch.save(
        {
            part: {f"module.{key}": tensor for key, tensor in state.items()}
            for part, state in states.items()
        },
        path,
    )
    return path


def import_weights(checkpoint: Path, target: Path, *options: str) -> BaseException | None:
    arguments = ["cddfuse", str(checkpoint), "-o", str(target), *options]
    return CliRunner().invoke(app, arguments).exception


@pytest.mark.parametrize(
    ("options", "name"), [((), "none"), (("--skip", "sum"), "plus_sum")], ids=["medical", "sum"]
)
def test_imported_weights_fuse_like_the_authors_network(
    case: tuple[dict[str, Tensor], States], tmp_path: Path, options: tuple[str, ...], name: str
) -> None:
    tensors, states = case
    target = tmp_path / "cddfuse.safetensors"
    assert import_weights(save(states, tmp_path / "author.pth"), target, *options) is None
    method = create(torch.device("cpu"), weights=target)
    reference, other = tensors["in.vis"], tensors["in.ir"]
    fused = method.fuse(reference, other)
    # The authors' sigmoid is never black; the method is, where both sources are.
    expected = tensors[f"out.fused_{name}"] * (torch.maximum(reference, other) > 0)
    assert (fused - expected).abs().max() <= 1e-4
    assert method.stride == 1


def test_weights_of_other_depths_and_heads_are_recognised(shared: Path) -> None:
    folder = shared / "parity" / "cddfuse"
    config = {"num_blocks": [3, 2]}
    states = made_up_states(folder, {"config": config, "salt": "0xc0de", "gain": 0.8})
    scale = states["BaseFuseLayer"]["attn.scale"]
    states["BaseFuseLayer"]["attn.scale"] = scale[:4]
    architecture = from_author_states(states).architecture
    assert (architecture.encoder_blocks, architecture.decoder_blocks) == (3, 2)
    assert (architecture.fusion_heads, architecture.base_heads) == (4, 8)


def test_a_checkpoint_with_a_missing_and_an_unexpected_key_is_refused_by_name(
    case: tuple[dict[str, Tensor], States], tmp_path: Path
) -> None:
    _, states = case
    del states["DIDF_Decoder"]["reduce_channel.weight"]
    states["BaseFuseLayer"]["stranger"] = torch.zeros(2)
    checkpoint = save(states, tmp_path / "author.pth")
    error = import_weights(checkpoint, tmp_path / "cddfuse.safetensors")
    assert isinstance(error, WeightsError)
    assert "lacks DIDF_Decoder.reduce_channel.weight" in str(error)
    assert "has the unknown BaseFuseLayer.stranger" in str(error)
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_checkpoint_of_other_parts_is_refused_with_their_names(
    case: tuple[dict[str, Tensor], States], tmp_path: Path
) -> None:
    _, states = case
    states["Somebody"] = states.pop("DetailFuseLayer")
    checkpoint = save(states, tmp_path / "author.pth")
    error = import_weights(checkpoint, tmp_path / "cddfuse.safetensors")
    assert isinstance(error, WeightsError)
    assert "DetailFuseLayer" in str(error) and "Somebody" in str(error)


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 5}, {"DIDF_Encoder": {"lr": 0.1}}])
def test_a_file_that_is_no_dict_of_state_dicts_is_refused(tmp_path: Path, content: object) -> None:
    checkpoint = tmp_path / "author.pth"
    torch.save(content, checkpoint)
    error = import_weights(checkpoint, tmp_path / "cddfuse.safetensors")
    assert isinstance(error, WeightsError)
    assert "DIDF_Encoder, DIDF_Decoder, BaseFuseLayer, DetailFuseLayer" in str(error)


class Trap:
    """Would write a file if a checkpoint were allowed to run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    checkpoint = tmp_path / "trap.pth"
    torch.save({"DIDF_Encoder": Trap(tmp_path / "sprung")}, checkpoint)
    assert isinstance(import_weights(checkpoint, tmp_path / "out.safetensors"), WeightsError)
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_an_unknown_skip_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    error = import_weights(tmp_path / "a.pth", tmp_path / "b.safetensors", "--skip", "both")
    assert isinstance(error, InputError) and "none, reference, sum" in str(error)


def test_the_network_itself_takes_the_states_without_a_file(shared: Path) -> None:
    folder = shared / "parity" / "cddfuse"
    _, metadata = read_case(folder / "net_small_prng.safetensors")
    assert made_up_network(folder, metadata, "none").architecture.skip == "none"

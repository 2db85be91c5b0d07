"""TFormer against tensors that the authors' own modules computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_set import assert_close, part_of, read_case, weights_by_recipe
from torch import Tensor, nn

from MedFusionLib.evaluation.downstream.tformer.architecture import PAPER
from MedFusionLib.evaluation.downstream.tformer.crossing import DualCrossing
from MedFusionLib.evaluation.downstream.tformer.metadata import (
    MetadataCrossing,
    MetadataDescription,
)
from MedFusionLib.evaluation.downstream.tformer.network import TFormer
from MedFusionLib.evaluation.downstream.tformer.windows import PatchMerging, WindowAttention
from MedFusionLib.methods.checkpoints import Rules, filled_renamed

QUESTIONS = ("diag", "pn", "bwn", "vs", "pig", "str", "dag", "rs")
OUTPUTS = ("diag", "pn", "bwv", "vs", "pig", "str", "dag", "rs")
ATTENTION: Rules = (
    (r"(^|\.)queries\.", r"\1to_q."),
    (r"(^|\.)keys_values\.", r"\1to_kv."),
    (r"(^|\.)projection\.", r"\1proj."),
    (r"(^|\.)place_bias$", r"\1relative_position_bias_table"),
)
BLOCK: Rules = (
    (r"\.attention_norm\.", ".norm1."),
    (r"\.attention\.", ".attn."),
    (r"\.feed_forward_norm\.", ".norm2."),
    (r"\.feed_forward\.expansion\.", ".mlp.fc1."),
    (r"\.feed_forward\.contraction\.", ".mlp.fc2."),
    (r"\.to_first\.", ".0."),
    (r"\.to_second\.", ".1."),
    *ATTENTION,
)
METADATA: Rules = ((r"^(\d)\.", r"rnn.model.\1."),)
METADATA_PARTS: Rules = (
    (r"\.widening\.", ".project_in."),
    (r"\.narrowing\.", ".project_out."),
    (r"\.own_norm\.", ".x_norm1."),
    (r"\.images_norm\.", ".c_norm1."),
    (r"\.fn\.feed_forward_norm\.", ".fn.x_norm2."),
)
METADATA_CROSSING: Rules = (
    (r"^(widening|narrowing)\.", r"layers.0.\1."),
    (r"^(?!layers\.)", "layers.0.fn."),
    *METADATA_PARTS,
    *BLOCK,
)
NETWORK: Rules = (
    (r"^backbone\.embedding\.projection\.", "cli_vit.patch_embed.proj."),
    (r"^backbone\.norm\.", "cli_vit.patch_embed.norm."),
    (r"^backbone\.last_norm\.", "cli_vit.norm."),
    (r"^backbone\.stages\.", "cli_vit.layers."),
    (r"\.merging\.", ".downsample."),
    (r"^crossings\.", "fusion_block"),
    (r"^first_mergings\.0\.", "downsample_cli_0."),
    (r"^first_mergings\.1\.", "downsample_cli."),
    (r"^second_mergings\.0\.", "downsample_der_0."),
    (r"^second_mergings\.1\.", "downsample_der."),
    (r"^descriptions\.0\.", "fusion_head_cli.0."),
    (r"^descriptions\.1\.", "fusion_head_der.0."),
    (r"^answers\.(\d)\.", lambda match: f"fc_{QUESTIONS[int(match[1])]}."),
    (r"^metadata\.(\d)\.", r"meta_subnet.rnn.model.\1."),
    (r"^metadata_crossing\.(widening|narrowing)\.", r"fusion_meta.layers.0.\1."),
    (r"^metadata_crossing\.", "fusion_meta.layers.0.fn."),
    *METADATA_PARTS,
    *BLOCK,
)
NOT_OURS = ("cli_vit.head.",)
"""A head that is never asked."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "tformer"


@pytest.mark.parametrize(
    ("case", "module", "rules"),
    [
        ("PatchMerging", PatchMerging(5, 10, 6), ()),
        ("WindowCrossAttention", WindowAttention(12, 3, 4), ATTENTION),
        ("SwinCrossTransformer_depth1_7x7", DualCrossing(12, 7, 3, 7, 1), BLOCK),
        ("SwinCrossTransformer_depth2_14x14", DualCrossing(12, 14, 3, 7, 2), BLOCK),
        ("MetaSubNet", MetadataDescription(20, 10, 6), METADATA),
        ("CrossTransformer_meta", MetadataCrossing(8, 16, 4), METADATA_CROSSING),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@torch.no_grad()
def test_each_part_gives_what_the_authors_gives(
    folder: Path, case: str, module: nn.Module, rules: Rules
) -> None:
    tensors, _ = read_case(folder / "modules.safetensors")
    module = filled_renamed(module, part_of(tensors, f"{case}.param."), rules)
    inputs = [value for key, value in sorted(tensors.items()) if key.startswith(f"{case}.in")]
    if case == "WindowCrossAttention":
        inputs = [inputs[0], torch.cat(inputs, dim=1)]
    found = module(*inputs)
    if isinstance(found, Tensor):
        assert_close(found, tensors[f"{case}.out"], 1e-5)
    else:
        for place, stream in enumerate(found):
            assert_close(stream, tensors[f"{case}.out{place}"], 1e-5)


def made_up_network(folder: Path, salt: int) -> TFormer:
    """The paper's network with weights by the recipe; queries, keys and values of Swin apart."""
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())["TFormer"]
    shapes["fc_diag.weight"][0] = shapes["fc_diag.bias"][0] = PAPER.classes[0]
    made = {"relative_position_index", "attn_mask", "num_batches_tracked"}
    state = weights_by_recipe(
        {key: shape for key, shape in shapes.items() if key.split(".")[-1] not in made}, salt
    )
    for key in [key for key in state if ".attn.qkv." in key]:
        joined = state.pop(key)
        width = len(joined) // 3
        state[key.replace("qkv", "to_q")] = joined[:width]
        state[key.replace("qkv", "to_kv")] = joined[width:]
    ours = {key: value for key, value in state.items() if not key.startswith(NOT_OURS)}
    return filled_renamed(TFormer(PAPER), ours, NETWORK)


@torch.no_grad()
def test_the_whole_network_sees_and_answers_as_the_authors_does(folder: Path) -> None:
    tensors, metadata = read_case(folder / "net_prng.safetensors")
    network = made_up_network(folder, int(metadata["salt"], 16))
    clinical, dermoscopic = (
        torch.from_numpy(
            np.random.RandomState(seed).standard_normal((1, 3, 224, 224)).astype(np.float32)
        )
        for seed in (1101, 1102)
    )
    crossed: list[tuple[Tensor, Tensor]] = []
    for crossing in network.crossings:
        crossing.register_forward_hook(lambda module, given, streams: crossed.append(streams))
    described = network.describe(clinical, dermoscopic)
    for stage, streams in enumerate(crossed):
        for place, stream in enumerate(streams):
            name = f"mid.fusion_block{stage}.out{place}"
            assert_close(stream[:, :16, :16], tensors[f"{name}.first16tok_16ch"])
            assert_close(stream.abs().mean()[None], tensors[f"{name}.absmean"])
    assert len(crossed) == 4
    for one, name in zip(described, ("cli", "der"), strict=True):
        assert_close(one, tensors[f"mid.fusion_head_{name}"])
    metadata = tensors["in.meta"]
    assert_close(network.metadata(metadata), tensors["mid.meta_subnet"])
    assert_close(network.join(metadata, *described), tensors["mid.fusion_meta"])
    answers = network(clinical, dermoscopic, metadata)
    for answer, name in zip(answers, OUTPUTS, strict=True):
        assert_close(answer, tensors[f"out.{name}"])

"""Checkpoints of the DFVO authors, read into our network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import Rules, filled_renamed, read_checkpoint, shape_in
from MedFusionLib.methods.dfvo.architecture import Architecture
from MedFusionLib.methods.dfvo.network import DFVO
from MedFusionLib.methods.dfvo.weight_file import empty_network, save_network

_shape = partial(shape_in, network="DFVO")

# What only the training needs, and a convolution that the published model never calls. Counters
# are no parameters.
_UNUSED = re.compile(
    r"IL\..*|EnDecode\d\..*|EnSigmoid\..*|IrDecode\d\..*|IrSigmoid\..*|IrDeConv\..*"
    r"|.*\.num_batches_tracked"
)

BLOCKS: Rules = (
    (r"\.convolution\.", ".Conv."),
    (r"\.norm\.", ".Bn."),
)
SOBEL: Rules = (
    (r"\.horizontal\.", ".convx."),
    (r"\.vertical\.", ".convy."),
    (r"((?:query|key)\.)projection\.", r"\1Conv."),
)
ATTENTION: Rules = (
    *SOBEL,
    (r"\.query\.", ".CrossSQ_conv."),
    (r"\.reference_key\.", ".ViSK_conv."),
    (r"\.other_key\.", ".IrSK_conv."),
    (r"\.reference_value\.", ".ViV_conv."),
    (r"\.other_value\.", ".IrV_conv."),
)
DETAIL: Rules = (
    (r"\.couplings\.(\d+)\.", r".net.\1."),
    (r"\.mixing\.(weight|bias)$", r".shffleconv.\1"),
    (r"\.second_shift\.", ".theta_phi.bottleneckBlock."),
    (r"\.first_scale\.", ".theta_rho.bottleneckBlock."),
    (r"\.first_shift\.", ".theta_eta.bottleneckBlock."),
    # Theirs counts the border's padding as a layer.
    (r"bottleneckBlock\.4\.", "bottleneckBlock.5."),
    (r"bottleneckBlock\.2\.", "bottleneckBlock.3."),
)
RULES: Rules = (
    *BLOCKS,
    *ATTENTION,
    *DETAIL,
    (r"^(reference|other)_encoder\.(\d+)\.", lambda m: f"{m[1]}_Encode{int(m[2]) + 1}."),
    (r"^decoder\.blocks\.(\d+)\.", lambda m: f"FuDecode{int(m[1]) + 1}."),
    (r"^decoder\.projection\.", "FuSigmoid.Conv."),
    (r"^base\.attention\.", "CSA."),
    (r"^base\.(reference|other)_reduction\.", r"\1_Conv."),
    (r"^base\.(reference|other)_expansion\.", r"\1_UpConv."),
    (r"^(reference|other)_detail\.", r"\1_Detail."),
    (r"^detail_convolution\.", "ViDeConv."),
    (r"^reference_", "Vi"),
    (r"^other_", "Ir"),
)
"""From our names to theirs."""


def from_author_state(state: Mapping[str, Tensor]) -> DFVO:
    """Network in evaluation mode from a state dict under the authors' names.

    That of the whole training network or that of their smaller one for inference; what never
    reaches the fused image is dropped. Names may begin with ``module.``; widths are read from the
    tensors. Raises ``WeightsError`` naming keys that are missing, unexpected or of another shape.
    """
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    used = {key: tensor for key, tensor in bare.items() if not _UNUSED.fullmatch(key)}
    return filled_renamed(empty_network(_architecture(used)), used, RULES)


def import_checkpoint(checkpoint: Path, target: Path) -> None:
    """Turn a checkpoint of the authors (``torch.save`` of a state dict) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no state dict or does not fit.
    """
    save_network(from_author_state(read_checkpoint(checkpoint)), target)


def _architecture(state: Mapping[str, Tensor]) -> Architecture:
    """What only the tensors tell."""
    nodes = {match[1] for key in state if (match := re.match(r"ViDetail\.net\.(\d+)\.", key))}
    widths = tuple(_shape(state, f"ViEncode{number}.Conv.weight")[0] for number in range(1, 5))
    try:
        return Architecture(
            widths=widths,
            base_channels=_shape(state, "ViConv.weight")[0],
            couplings=len(nodes),
        )
    except ValueError as error:
        raise WeightsError(f"The widths in this checkpoint are none of DFVO's: {error}") from error

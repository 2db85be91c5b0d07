"""Checkpoints of the Hi-Net authors' generator, read into our network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from MedFusionLib.methods.checkpoints import Rules, filled_renamed, read_checkpoint, shape_in
from MedFusionLib.methods.hinet.architecture import Architecture
from MedFusionLib.methods.hinet.network import HiNet
from MedFusionLib.methods.hinet.weight_file import save_network

_shape = partial(shape_in, network="Hi-Net")


def _counted(form: str, *firsts: int) -> Callable[[re.Match[str]], str]:
    """A pattern's replacement whose numbers begin with ``firsts`` where ours begin with 0."""
    return lambda match: form.format(
        *(int(number) + first for number, first in zip(match.groups(), firsts, strict=True))
    )


RULES: Rules = (
    (r"^encoders\.(\d)\.levels\.(\d)\.", _counted("down_{1}_{0}.", 0, 1)),
    (r"^path\.fusions\.(\d)\.", _counted("down_fu_{0}.", 1)),
    (r"^path\.closing\.", "down_fu_4."),
    (r"^decoder\.opening\.", "deconv_1_0."),
    (r"^decoder\.fusions\.(\d)\.", _counted("deconv_{0}_0.", 2)),
    (r"^decoder\.closing\.", "deconv_5_0."),
    (r"^projection\.", "out.0."),
    (r"^rebuilders\.(\d)\.blocks\.(\d)\.", _counted("deconv_{1}_{0}.", 1, 1)),
    (r"^rebuilders\.(\d)\.projection\.", _counted("out{0}.0.", 1)),
    (r"\.mixing\.", ".layer1."),
    (r"\.joining\.", ".layer2."),
)
"""From our names to theirs."""


def from_author_state(state: Mapping[str, Tensor], inputs: tuple[str, str], target: str) -> HiNet:
    """Network in evaluation mode from a state dict under the authors' names.

    The width is read from the tensors; what the sequences are (``architecture.SEQUENCES``) is not
    in them. Names may begin with ``module.``. Raises ``WeightsError`` naming keys that are missing,
    superfluous or of another shape; ``ValueError`` for sequences that do not fit.
    """
    bare = {
        key.removeprefix("module."): tensor
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked")
    }
    width = _shape(bare, "down_1_0.0.weight")[0]
    return filled_renamed(HiNet(Architecture(width, inputs, target)), bare, RULES)


def import_checkpoint(
    checkpoint: Path, target_file: Path, inputs: tuple[str, str], target: str
) -> None:
    """Turn a checkpoint of the authors (``torch.save`` of a state dict) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no state dict or does not fit.
    """
    network = from_author_state(read_checkpoint(checkpoint), inputs, target)
    save_network(network, target_file)

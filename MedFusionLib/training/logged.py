"""What every module that trains a fusion network writes into its log."""

from __future__ import annotations

from collections.abc import Mapping

import lightning
import torch
from torch import Tensor

from MedFusionLib.training.validation_score import fidelity


def logged_total(module: lightning.LightningModule, terms: Mapping[str, Tensor]) -> Tensor:
    """Log the terms of a loss and their sum, which is returned."""
    total = torch.stack(list(terms.values())).sum()
    module.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})
    module.log("train/total", total.detach(), prog_bar=True)
    return total


def log_fidelity(
    module: lightning.LightningModule, fused: Tensor, reference: Tensor, other: Tensor
) -> None:
    """Log how much of both sources ``dev`` slices keep; ``dev/score`` chooses the checkpoint."""
    scores = fidelity(fused.float(), reference, other)
    means = {f"dev/{name}": score.mean() for name, score in scores.items()}
    total = torch.stack(list(scores.values())).sum(0).mean()
    module.log_dict(means, batch_size=len(reference), sync_dist=True)
    module.log("dev/score", total, prog_bar=True, batch_size=len(reference), sync_dist=True)

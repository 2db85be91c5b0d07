"""What every module that trains a fusion network writes into its log."""

from __future__ import annotations

from collections.abc import Mapping

import lightning
import torch
from torch import Tensor

from MedFusionLib.training.legibility import Fuser
from MedFusionLib.training.lesions import LesionMaker, Lesions, fixed_lesions, transfers
from MedFusionLib.training.validation_score import fidelity

LEGIBILITY_IN_SCORE = 4.0
"""Weight of the lesions' mean transfer in ``dev/score``, whose other parts are about 1 each."""


def logged_total(module: lightning.LightningModule, terms: Mapping[str, Tensor]) -> Tensor:
    """Log the terms of a loss and their sum, which is returned."""
    total = torch.stack(list(terms.values())).sum()
    module.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})
    module.log("train/total", total.detach(), prog_bar=True)
    return total


def log_dev_score(
    module: lightning.LightningModule,
    fuser: Fuser,
    reference: Tensor,
    other: Tensor,
    batch_index: int,
    handicap: float = 0.0,
    maker: LesionMaker | None = None,
) -> Tensor:
    """Log how much of both sources ``dev`` slices keep, and how much of inserted lesions they show.

    The lesions of a batch, which ``maker`` draws, are the same in every epoch. ``dev/score``
    chooses the checkpoint; it is lowered by ``handicap`` in a stage whose epochs must not be
    chosen over a later stage's. Returns it.
    """
    fused = _shown(fuser, reference, other)
    lesions = fixed_lesions(reference, other, seed=batch_index, maker=maker)
    change = _shown(fuser, lesions.reference, lesions.other) - fused
    scores = fidelity(fused, reference, other)
    scores["lesions"] = mean_transfer(lesions, change, reference, other)
    parts = scores | {"lesions": LEGIBILITY_IN_SCORE * scores["lesions"]}
    means = {f"dev/{name}": score.mean() for name, score in scores.items()}
    means["dev/score"] = torch.stack(list(parts.values())).sum(0).mean() - handicap
    module.log_dict(means, batch_size=len(reference), sync_dist=True)
    return means["dev/score"]


def _shown(fuser: Fuser, reference: Tensor, other: Tensor) -> Tensor:
    return fuser.cut(fuser.uncut(reference, other).float(), reference, other)


def mean_transfer(lesions: Lesions, change: Tensor, *sources: Tensor) -> Tensor:
    """Mean transfer of each slice's counted lesions, (N,); more than in full counts as in full."""
    shown = transfers(lesions, change, *sources).clamp(max=1) * lesions.counted
    return shown.sum(1) / lesions.counted.sum(1).clamp(min=1)

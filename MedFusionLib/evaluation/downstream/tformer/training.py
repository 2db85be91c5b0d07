"""Training the compact TFormer within a fold, as a head over two sources."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from MedFusionLib.evaluation.downstream.folds import SEED, Predict
from MedFusionLib.evaluation.downstream.tformer.architecture import compact
from MedFusionLib.evaluation.downstream.tformer.network import TFormer

BATCH = 16
LEARNING_RATE = 1e-3
DECAY = 1e-4


def tformer_head(
    references: np.ndarray,
    others: np.ndarray,
    classes: int,
    epochs: int,
    metadata: np.ndarray | None = None,
) -> Predict:
    """Train anew in each fold, from the same seed, for a fixed number of epochs.

    ``references``, ``others``: (slices, H, W), 0 to 255. ``metadata``: (slices, M), which is scaled
    by those that are learned from. No fold stops early: there is nobody to
    judge when by, but the patients that were left out.
    """
    sizes = compact(classes, 0 if metadata is None else metadata.shape[1])
    images = [_resized(stack, sizes.side) for stack in (references, others)]

    def predict(
        train: np.ndarray, labels: np.ndarray, weights: np.ndarray, test: np.ndarray
    ) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network = TFormer(sizes)
            inputs = images if metadata is None else [*images, _scaled(metadata, train, weights)]
            here = [stack[torch.from_numpy(train)] for stack in inputs]
            _fit(network, here, torch.from_numpy(labels), torch.from_numpy(weights).float(), epochs)
        network.eval()
        with torch.inference_mode():
            (logits,) = network(*(stack[torch.from_numpy(test)] for stack in inputs))
        return logits.argmax(dim=1).numpy()

    return predict


def _fit(
    network: TFormer, inputs: list[Tensor], labels: Tensor, weights: Tensor, epochs: int
) -> None:
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(BATCH):
            if network.sizes.metadata and len(batch) == 1:
                continue  # whose metadata have no spread to be normalised by
            images, metadata = [stack[batch] for stack in inputs[:2]], inputs[2:]
            (logits,) = network(*_varied(images), *(numbers[batch] for numbers in metadata))
            losses = functional.cross_entropy(logits, labels[batch], reduction="none")
            optimiser.zero_grad()
            (losses * weights[batch]).mean().backward()
            optimiser.step()
        schedule.step()


def _varied(images: list[Tensor]) -> list[Tensor]:
    """Both images of a pair mirrored alike by chance, and each a little brighter or darker."""
    mirrored = torch.rand(len(images[0]), 1, 1, 1) < 0.5
    return [
        torch.where(mirrored, stack.flip(-1), stack) * (0.9 + 0.2 * torch.rand(len(stack), 1, 1, 1))
        for stack in images
    ]


def _scaled(metadata: np.ndarray, train: np.ndarray, weights: np.ndarray) -> Tensor:
    """Mean 0 and deviation 1 among those that are learned from; what never varies there is 0."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(metadata[train], sample_weight=weights)
    varied = np.ptp(metadata[train], axis=0) > 0
    return torch.from_numpy(scaler.transform(metadata) * varied).float()


def _resized(stack: np.ndarray, side: int) -> Tensor:
    grey = torch.from_numpy(stack.astype(np.float32) / 255)[:, None]
    return functional.interpolate(grey, (side, side), mode="area")

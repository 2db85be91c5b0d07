"""Fuses with and without a limit of its address space; prints what happened as JSON.

Run by test_stack_fusion in a process of its own, because the limit is the process's.
"""

import json
import resource
from pathlib import Path

import numpy as np
import torch

from MedFusionLib.fusion import fuse
from MedFusionLib.methods import create_method
from MedFusionLib.volumes.volume import Volume

SLICES, SIDE = 16, 512
BEYOND = 110 * 2**20
"""Bytes that the process may grow by. The sources of 16 slices take 32 MiB; the pyramid's
working memory for 16 slices takes more than this, and for 4 slices less."""


def volume(seed: int, modality: str) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 1000, (SLICES, SIDE, SIDE), np.int16)
    return Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), modality=modality)


def fused(batch_size: int) -> tuple[np.ndarray, list[int]]:
    """The result, and the sizes of the batches that were done."""
    done = [0]
    result = fuse(
        volume(0, "MR"),
        volume(1, "CT"),
        "pyramid",
        device="cpu",
        batch_size=batch_size,
        progress=lambda count, total, message: done.append(count),
    )
    return result.volume.voxels, np.diff(done).tolist()


def limit_memory() -> None:
    """Let the address space grow by no more than ``BEYOND``."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + BEYOND
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def refusal() -> str:
    """What torch says to the whole stack as one batch."""
    stack = torch.rand(SLICES, 1, SIDE, SIDE)
    try:
        create_method("pyramid").fuse(stack, stack)
    except RuntimeError as error:
        return str(error)
    return ""


def main() -> None:
    unlimited, unlimited_batches = fused(SLICES)
    limit_memory()
    refused = refusal()
    limited, limited_batches = fused(SLICES)
    found = {
        "slices": SLICES,
        "refused": refused,
        "unlimited_batches": unlimited_batches,
        "limited_batches": limited_batches,
        "equal": bool(np.array_equal(limited, unlimited)),
    }
    print(json.dumps(found))


main()

"""Every width of AdaFuse as one value, and the presets."""

from __future__ import annotations

from dataclasses import dataclass

from MedFusionLib.methods.asfe.architecture import LEVELS, ConvolutionalWidths


@dataclass(frozen=True)
class Architecture(ConvolutionalWidths):
    """Widths of the network, all in channels or counts; the defaults are the paper's."""

    widths: tuple[int, ...] = (64, 112, 160, 208, 256)
    """Stem and the four levels, from full to eighth resolution."""
    patch: int = 16
    """Side of the patches, in pixels of each level."""
    dim: int = 256
    """Length of a patch token."""
    heads: int = 8
    depths: tuple[int, ...] = (4, 4, 4, 4)
    """Transformer blocks of each level before its images exchange attention."""
    shared_encoder: bool = False
    """Whether both images pass through one encoder, as the published network for CT has it."""
    spectrum: str = "published"
    """How the frequency branch comes back to pixels, a key of ``frequency.SPECTRA``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "depths", tuple(self.depths))
        if len(self.depths) != LEVELS:
            raise ValueError(f"depths must be those of {LEVELS} levels, not {self.depths}.")


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        widths=(16, 20, 28, 40, 48),
        patch=4,
        dim=32,
        heads=4,
        depths=(1, 1, 1, 1),
        shared_encoder=True,
        decoder_hidden=(24, 24, 24, 28),
        decoder_outputs=(24, 24, 28, 40),
        spectrum="phased",
        fold=2,
        output="weighted bands",
    ),
}

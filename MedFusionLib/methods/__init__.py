"""The registry of fusion methods.

A new method is one module (or package) with ``create(device, **options)`` and one line in
``METHODS``. This module imports no torch, so that a table of methods costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from MedFusionLib.computing.slice_fusion import FusionMethod
from MedFusionLib.errors import InputError, UnknownMethodError

if TYPE_CHECKING:
    import torch

ALL_MODALITIES = ("MR", "CT", "PET", "SPECT")


@dataclass(frozen=True)
class MethodCard:
    """What a user should know of a method before it runs."""

    name: str
    kind: str
    """``classical`` or ``learned``."""
    summary: str
    modalities: tuple[str, ...]
    """What the other volume may be; for a learned method, what it was trained on."""
    parameters: int
    licence: str
    paper: str
    module: str
    """Import path of the module that holds ``create``."""
    reduced_precisions: tuple[str, ...] = ()
    """Precisions below float32 in which a slice of the shipped weights stays within 0.005 of its
    float32 result (``asfe``: 0.002), the preferred one first."""
    first_list: bool = False
    """Whether a short list of methods shows it; a panel keeps the others under "More methods"."""
    sees_volumes: bool = False
    """Whether it fuses whole volumes in three dimensions (`VolumeFusionMethod`)."""
    most_volumes: int | None = None
    """How many volumes it fuses at most, the reference among them; None for any number."""


_CARDS = (
    MethodCard(
        name="average",
        kind="classical",
        summary="Mean of the two sources: safe, low contrast.",
        modalities=ALL_MODALITIES,
        parameters=0,
        licence="Apache-2.0",
        paper="-",
        module="MedFusionLib.methods.average",
        first_list=True,
    ),
    MethodCard(
        name="maximum",
        kind="classical",
        summary="Brighter of the two sources at each pixel: keeps bone and hot spots.",
        modalities=ALL_MODALITIES,
        parameters=0,
        licence="Apache-2.0",
        paper="-",
        module="MedFusionLib.methods.maximum",
    ),
    MethodCard(
        name="pyramid",
        kind="classical",
        summary="Laplacian pyramid: the stronger detail of each scale over a chosen base.",
        modalities=ALL_MODALITIES,
        parameters=0,
        licence="Apache-2.0",
        paper="Burt and Adelson, IEEE Trans. Commun. 31:532, 1983",
        module="MedFusionLib.methods.pyramid",
    ),
    MethodCard(
        name="guided-filter",
        kind="classical",
        summary="Two-scale fusion with weights smoothed along edges by a guided filter.",
        modalities=ALL_MODALITIES,
        parameters=0,
        licence="Apache-2.0",
        paper="Li, Kang and Hu, IEEE Trans. Image Process. 22:2864, 2013",
        module="MedFusionLib.methods.guided_filter",
    ),
    MethodCard(
        name="additive",
        kind="classical",
        summary="Sum of both sources' detail over what is smooth in either: keeps most lesions.",
        modalities=ALL_MODALITIES,
        parameters=0,
        licence="Apache-2.0",
        paper="-",
        module="MedFusionLib.methods.additive",
        first_list=True,
    ),
    MethodCard(
        name="asfe",
        kind="learned",
        summary="Network that weighs both sources' bands of detail, trained to show lesions.",
        modalities=ALL_MODALITIES,
        parameters=1_095_255,
        licence="Apache-2.0",
        paper="Gu et al., Biomed. Signal Process. Control 96:106478, 2024",
        module="MedFusionLib.methods.asfe",
        reduced_precisions=("float16",),
        first_list=True,
    ),
    MethodCard(
        name="dmfnet",
        kind="learned",
        summary="DM-FNet: attention over the features of a denoising diffusion network.",
        modalities=ALL_MODALITIES,
        parameters=883_811,
        licence="Apache-2.0",
        paper="He et al., IEEE Trans. Multimedia, 2025, arXiv 2506.15218",
        module="MedFusionLib.methods.dmfnet",
        reduced_precisions=("float16",),
        first_list=True,
    ),
    MethodCard(
        name="live",
        kind="learned",
        summary="Small network trained as asfe is: for live preview and without a GPU.",
        modalities=ALL_MODALITIES,
        parameters=94_939,
        licence="Apache-2.0",
        paper="-",
        module="MedFusionLib.methods.live",
        reduced_precisions=("float16",),
        first_list=True,
    ),
    MethodCard(
        name="cddfuse",
        kind="learned",
        summary="CDDFuse: base and detail features; trained as published, then to show lesions.",
        modalities=ALL_MODALITIES,
        parameters=57_720,
        licence="Apache-2.0",
        paper="Zhao et al., CVPR 2023, arXiv 2211.14461",
        module="MedFusionLib.methods.cddfuse",
        reduced_precisions=("float16",),
    ),
    MethodCard(
        name="emma",
        kind="learned",
        summary="EMMA: trained through imitated scanners, then to show lesions and solid bone.",
        modalities=ALL_MODALITIES,
        parameters=641_775,
        licence="Apache-2.0",
        paper="Zhao et al., CVPR 2024, arXiv 2305.11443",
        module="MedFusionLib.methods.emma",
        reduced_precisions=("float16",),
    ),
    MethodCard(
        name="adafuse",
        kind="learned",
        summary="AdaFuse: cross attention in space and in frequency, the precursor of asfe.",
        modalities=ALL_MODALITIES,
        parameters=1_147_943,
        licence="Apache-2.0",
        paper="Gu et al., arXiv 2310.05462, 2023",
        module="MedFusionLib.methods.adafuse",
    ),
    MethodCard(
        name="dfvo",
        kind="learned",
        summary="DFVO: brightens a shaded MR before it fuses; changes what the MR shows.",
        modalities=ALL_MODALITIES,
        parameters=416_770,
        licence="Apache-2.0",
        paper="arXiv 2505.04526, 2025",
        module="MedFusionLib.methods.dfvo",
    ),
    MethodCard(
        name="coconet",
        kind="learned",
        summary="CoCoNet: a U-Net that looks through a frozen encoder; trained to show lesions.",
        modalities=ALL_MODALITIES,
        parameters=548_286,
        licence="Apache-2.0",
        paper="Liu et al., Int. J. Comput. Vis., 2024, arXiv 2211.10960",
        module="MedFusionLib.methods.coconet",
        reduced_precisions=("float16",),
    ),
    MethodCard(
        name="ddfm",
        kind="learned",
        summary="DDFM: drawn from noise, led by both sources; here little more than their mean.",
        modalities=ALL_MODALITIES,
        parameters=734_897,
        licence="Apache-2.0",
        paper="Zhao et al., ICCV 2023, arXiv 2303.06840",
        module="MedFusionLib.methods.ddfm",
    ),
    MethodCard(
        name="wavelet",
        kind="learned",
        summary="Autoencoder pooled by wavelets, built after an abstract; sources in any order.",
        modalities=ALL_MODALITIES,
        parameters=78_053,
        licence="Apache-2.0",
        paper="arXiv 2310.11910, 2023",
        module="MedFusionLib.methods.wavelet",
    ),
    MethodCard(
        name="dc2",
        kind="learned",
        summary="DC2Fusion: sees volumes in 3D; trained on three heads, leaves bone rather grey.",
        modalities=ALL_MODALITIES,
        parameters=449_355,
        licence="Apache-2.0",
        paper="Liu et al., ICONIP 2023, arXiv 2310.06291",
        module="MedFusionLib.methods.dc2",
        sees_volumes=True,
    ),
    MethodCard(
        name="tfs-diff",
        kind="learned",
        summary="TFS-Diff: diffusion of two or three sources; briefly taught by asfe, below it.",
        modalities=ALL_MODALITIES,
        parameters=1_345_542,
        licence="Apache-2.0",
        paper="Xu et al., MICCAI 2024, arXiv 2404.17357",
        module="MedFusionLib.methods.tfs_diff",
        most_volumes=3,
    ),
)

DEFAULT_METHOD = "asfe"
"""What runs when the user names no method: over CT, PET and SPECT together the first by what a
reader sees, then by the scores of fused images (docs/RESULTS.md)."""

PREVIEW_METHOD = "live"
"""What a live preview shows in place of a method that is too slow to follow the user."""

METHODS: dict[str, MethodCard] = {card.name: card for card in _CARDS}


def method_names() -> tuple[str, ...]:
    """Names that ``fuse(method=…)`` and ``--method`` accept."""
    return tuple(METHODS)


def slice_method_names() -> tuple[str, ...]:
    """Methods that fuse slice by slice, and can be judged on single slices."""
    return tuple(name for name, card in METHODS.items() if not card.sees_volumes)


def method_card(name: str) -> MethodCard:
    """The card of one method; ``UnknownMethodError`` lists the known names."""
    if name not in METHODS:
        known = ", ".join(method_names())
        raise UnknownMethodError(f"There is no fusion method '{name}'. Choose one of: {known}.")
    return METHODS[name]


def refuse_too_many(card: MethodCard, volumes: int) -> None:
    """Raise ``InputError`` if a method fuses fewer volumes than there are."""
    if card.most_volumes is not None and volumes > card.most_volumes:
        raise InputError(
            f"'{card.name}' fuses at most {card.most_volumes} volumes, not {volumes}. Leave "
            f"volumes out, or choose another method: '{DEFAULT_METHOD}' fuses any number."
        )


def create_method(name: str, device: str | torch.device = "cpu", **options: Any) -> FusionMethod:
    """Build a method on a device. ``options`` are the method's own (see its ``create``)."""
    import torch

    card = method_card(name)
    create = importlib.import_module(card.module).create
    for option, value in options.items():
        _refuse_bad_option(name, create, option, value)
    return create(torch.device(device), **options)


def _refuse_bad_option(method: str, create: Callable[..., Any], option: str, value: Any) -> None:
    """Raise ``ValueError`` for an option that a method lacks, and for a value of another type."""
    types = get_type_hints(create)
    known = [name for name in types if name not in ("device", "return")]
    if option not in known:
        raise ValueError(
            f"The method '{method}' does not have one of the options ['{option}']. It has "
            f"{', '.join(known) or 'none'}."
        )
    allowed = get_args(types[option]) or (types[option],)
    # True is an int to Python, and to nobody else.
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        kind = "a whole number" if int in allowed else "text"
        raise ValueError(f"The option '{option}' of '{method}' is {kind}, not {value!r}.")

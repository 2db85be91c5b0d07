"""The straightforward forms, and what is measured of whole processes and volumes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.speed.baselines import asfe_forms, dmfnet_forms
from MedFusionLib.evaluation.speed.volumes import parse_shape
from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.dmfnet.config import DMFNetConfig

FORMS = {
    "asfe": lambda: asfe_forms(
        Architecture(widths=(4, 4, 6, 6, 8), patch=4, dim=8, heads=2, slots=4), 1
    ),
    "dmfnet": lambda: dmfnet_forms(DMFNetConfig(inner_channel=8, norm_groups=4), 1),
}


@pytest.mark.parametrize("method", FORMS)
def test_the_straightforward_form_gives_our_numbers(method):
    reference, other = torch.rand(2, 2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        straightforward, ours = (make()(reference, other) for make in FORMS[method]().values())
    assert straightforward.std() > 1e-3
    assert torch.allclose(straightforward, ours, rtol=0, atol=1e-4)


def test_the_straightforward_asfe_takes_the_memory_of_its_matrices():
    """Its three tokens-by-slots matrices alone are larger than all that ours holds."""
    found = {}
    program = """
import sys, torch
from MedFusionLib.evaluation.speed.baselines import asfe_forms
from MedFusionLib.evaluation.speed.peak_memory import peak_beyond, start_memory
from MedFusionLib.methods.asfe.architecture import Architecture
architecture = Architecture(widths=(4, 4, 4, 4, 4), patch=4, dim=8, heads=2, slots=128)
fuse = asfe_forms(architecture, 0)[sys.argv[1]]()
with torch.inference_mode():
    start = start_memory(torch.device("cpu"))
    fuse(*torch.rand(2, 1, 1, 128, 128))
print(peak_beyond(start, torch.device("cpu")))
"""
    for form in ("straightforward", "ours"):
        ran = subprocess.run([sys.executable, "-c", program, form], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        found[form] = int(ran.stdout)
    matrices = 3 * (128 * 128) * (4 * 128) * 4
    assert found["straightforward"] > matrices > found["ours"]


def test_a_volume_is_measured_whole_or_scaled_from_the_slices_done():
    program = (
        "import json; from MedFusionLib.evaluation.speed.volumes import measure_volume; "
        "print(json.dumps([measure_volume('average', (256, 192, 40), 'cpu'), "
        "measure_volume('guided-filter', (256, 192, 40), 'cpu', 0.0001)]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    whole, stopped = json.loads(ran.stdout)
    assert whole["slices_done"] == 40
    assert whole["seconds_per_volume"] == whole["seconds"]
    # The volumes themselves: two sources and the result, of 2 bytes a voxel.
    assert whole["peak_bytes"] >= 3 * 2 * 256 * 192 * 40
    assert 0 < stopped["slices_done"] < 40
    assert stopped["seconds_per_volume"] > stopped["seconds"]


@pytest.mark.parametrize("text", ["512x512", "512x0x3", "a"])
def test_what_is_no_volume_is_refused(text):
    with pytest.raises(InputError, match="512x512x300"):
        parse_shape(text)

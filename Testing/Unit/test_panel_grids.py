"""The panel's rules for finer grids and three planes, against what the library then does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedFusionLib.fusion import fuse
from MedFusionLib.registration.overlap import SAME_GRID
from MedFusionLib.slicer_app.choices import Grid, Plane, Planes, Refinement
from MedFusionLib.slicer_app.panel.facts import FurtherInput, Inputs, JobState, Options
from MedFusionLib.slicer_app.panel.grid_rules import usedPlanes, usedRefinement
from MedFusionLib.slicer_app.panel.state import panelState
from MedFusionLib.slicer_app.scene.volume_facts import GridFacts, VolumeFacts
from MedFusionLib.volumes.volume import Volume

THICK = GridFacts((1.0, 1.0, 2.0), (6, 34, 36))
SAGITTAL = GridFacts((1.0, 1.0, 2.0), (6, 34, 36), axes=(2, 0, 1))
MR = VolumeFacts("T2", "MR", grid=THICK)
CT = VolumeFacts("CT", "CT", grid=THICK)
READY = Inputs(MR, CT, overlapKind=SAME_GRID, overlapFraction=1.0)


def state(inputs=READY, **options):
    return panelState(inputs, Options(method="average", **options), JobState())


def volume(modality: str) -> Volume:
    k, j, i = np.indices(THICK.shape)
    voxels = (100 + 20 * np.sin(i + j + k)).astype(np.float32)
    return Volume(voxels, THICK.spacing, (0.0, 0.0, 0.0), modality=modality)


def test_as_measured_along_one_plane_nothing_is_told():
    assert state().gridText == ""


@pytest.mark.parametrize("planes", list(Planes))
@pytest.mark.parametrize("grid", [Grid.REFERENCE, Grid.ISOTROPIC])
def test_what_is_told_beforehand_comes_out(grid, planes):
    told = state(grid=grid, planes=planes).gridText
    result = fuse(
        volume("MR"), volume("CT"), "average", grid=grid.value, planes=planes.value, device="cpu"
    )
    if (grid, planes) == (Grid.REFERENCE, Planes.ONE):
        return
    assert f"{result.report['slices']} slices instead of 6" in told
    size = "×".join(str(count) for count in reversed(result.volume.grid_shape))
    assert (f"{size} voxels of 1 × 1 × 1 mm" in told) == (grid is Grid.ISOTROPIC)


def test_slices_are_counted_along_the_patients_planes_however_the_volume_is_stored():
    inputs = replace(READY, reference=replace(MR, grid=SAGITTAL))
    told = state(inputs, grid=Grid.ISOTROPIC, plane=Plane.SAGITTAL).gridText
    assert "11 slices instead of 6" in told
    told = state(inputs, grid=Grid.ISOTROPIC, plane=Plane.AXIAL).gridText
    assert told.endswith("34 slices, as many as before.")


def test_a_grid_that_gains_nothing_disables_apply_with_the_librarys_sentence():
    fine = replace(MR, grid=GridFacts((1.0, 1.0, 1.0), (6, 34, 36)))
    shown = state(replace(READY, reference=fine), grid=Grid.ISOTROPIC)
    assert not shown.applyEnabled and "gains nothing" in shown.missing and shown.gridText == ""
    assert not shown.previewEnabled


def test_the_finest_grid_looks_at_further_volumes_too():
    further = VolumeFacts("angiography", "MR", grid=GridFacts((0.5, 0.5, 0.5), (40, 40, 40)))
    shown = state(replace(READY, further=(FurtherInput(further),)), grid=Grid.FINEST)
    assert "71×67×21 voxels of 0.5 × 0.5 × 0.5 mm" in shown.gridText


def test_the_network_is_refused_for_what_it_has_not_learned():
    network = {"grid": Grid.ISOTROPIC, "refinement": Refinement.NETWORK}
    assert state(**network).applyEnabled
    shown = state(replace(READY, reference=replace(MR, modality="CT")), **network)
    assert not shown.applyEnabled and "learned nothing of CT" in shown.missing


def test_what_does_not_apply_is_not_asked_for():
    assert usedPlanes("dc2", Planes.THREE) is Planes.ONE
    assert usedPlanes("asfe", Planes.THREE) is Planes.THREE
    assert usedRefinement(Grid.REFERENCE, Refinement.NETWORK) is Refinement.INTERPOLATION
    assert usedRefinement(Grid.FINEST, Refinement.NETWORK) is Refinement.NETWORK

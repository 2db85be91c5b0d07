"""What the worker process can do, one method per request of ``worker.protocol``.

Each takes the request, a ``progress`` and a ``cancel`` function, and returns the plain values of
its result. torch, SimpleITK and the networks are imported by the first request that needs them and
stay loaded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.errors import Cancelled, InputError
from MedFusionLib.version import __version__
from MedFusionLib.volumes.volume import Volume
from MedFusionLib.worker.protocol import (
    ProtocolError,
    encode,
    open_transform,
    open_volume,
    save_transform,
    save_volume,
)

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.fusion import FusionResult
    from MedFusionLib.registration.landmarks import Landmarks

_ADDED_LATER = ("metrics", "hidden", "warnings", "quick_check", "registered_before")
Request = Mapping[str, Any]
Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]


class Tasks:
    """The worker's requests over the files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._preview_key: Any = None
        self._preview: Any = None
        self._method: Any = None
        self._fused: tuple[int, FusionResult] | None = None
        """The last fusion by its request's id, kept until the next one to be measured."""
        self._reported: Any = None
        """Its report, as a client gives it back."""
        self._pictures: dict[str, Any] | None = None
        """Of the registration of the last fusion, once they were drawn."""

    def run(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        """The result of one request; ``ProtocolError`` for one that there is not."""
        tasks = {
            "describe": self._describe,
            "check_position": self._check_position,
            "fuse": self._fuse,
            "fuse_series": self._fuse_series,
            "measure": self._measure_fused,
            "map_hidden": self._map_hidden,
            "map_invented": self._map_invented,
            "preview": self._preview_slice,
            "save_report": self._save_report,
            "export_dicom": self._export_dicom,
            "export_navigation": self._export_navigation,
        }
        if request.get("do") not in tasks:
            raise ProtocolError(f"The fusion process does not know '{request.get('do')}'.")
        return tasks[request["do"]](request, progress, cancel)

    def _describe(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        if find_spec("torch") is None:
            return {"version": __version__, "torch": None, "devices": [], "warning": None}
        import torch

        from MedFusionLib.computing.device import available_devices

        devices = [
            {"name": str(found.device), "label": found.title} for found in available_devices()
        ]
        return {
            "version": __version__,
            "torch": torch.__version__,
            "devices": devices,
            "warning": None if len(devices) > 1 else _unused_gpu(torch.__version__),
        }

    def _check_position(
        self, request: Request, progress: Progress, cancel: Cancel
    ) -> dict[str, Any]:
        from MedFusionLib.registration.quick_check import quick_check

        check = quick_check(
            self._volume(request["reference"]),
            self._volume(request["other"]),
            open_transform(request.get("transform"), self._folder),
            cancel,
        )
        return {"check": check.to_report()}

    def _fuse(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        from MedFusionLib.fusion import REGISTERED, fuse

        options = dict(request["options"])
        transform = open_transform(request.get("transform"), self._folder)
        landmarks = _landmarks(request.get("landmarks"))
        registered = options.get("alignment") in REGISTERED
        if transform is not None:
            options["initial" if registered else "alignment"] = transform
        # A transform that bends space lies between these points, too: `fuse` refuses it.
        if registered and landmarks is not None and (transform is None or transform.IsLinear()):
            options["initial"] = landmarks.rigid()
        further = self._further(request)
        options |= _of_each_other(options, further)
        volumes = [self._volume(request[role]) for role in ("reference", "other")]
        volumes += [one.volume for one in further]
        self._fused = self._pictures = None
        options["method"], options["device"] = self._loaded_method(options)
        result = fuse(volumes, **options, progress=progress, cancel=cancel)
        report = dict(result.report)
        if landmarks is not None:
            report["landmarks"] = _distances(landmarks, result)
        if request.get("score"):
            self._add_measures(result, report, progress, cancel)
        self._fused = (request["id"], result)
        self._reported = _as_sent(report)
        return {
            "volume": save_volume(result.volume, self._folder, f"fused-{request['id']}.npy"),
            "report": report,
            "transform": save_transform(
                result.transform, self._folder, f"transform-{request['id']}.h5"
            ),
            "further_transforms": [
                save_transform(found, self._folder, f"transform-{request['id']}-{number}.h5")
                for number, found in enumerate(result.further_transforms, 1)
            ],
        }

    def _further(self, request: Request) -> list[_Further]:
        """The volumes behind the second, each as its own settings lay and show it."""
        return [
            _Further(
                self._volume(one["volume"]),
                open_transform(one.get("transform"), self._folder),
                one.get("alignment", "resample"),
                one.get("window"),
                one.get("colour", "auto"),
            )
            for one in request.get("further") or ()
        ]

    def _fuse_series(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        from MedFusionLib.batch.series_cases import SeriesCase, fuse_series

        settings = dict(request["settings"])
        settings["method"], settings["device"] = self._loaded_method(settings)
        series = (tuple(map(Path, request[role])) for role in ("reference_files", "other_files"))
        case = SeriesCase(request["case"], *series)
        return {"report": fuse_series(case, Path(request["path"]), settings, progress, cancel)}

    def _loaded_method(self, options: dict[str, Any]) -> tuple[Any, str]:
        """The method, built once for as long as the same one is asked for, and its device."""
        from MedFusionLib.computing.device import choose_device
        from MedFusionLib.methods import DEFAULT_METHOD, create_method

        device = str(choose_device(options.get("device", "auto")).device)
        name = options.get("method", DEFAULT_METHOD)
        method_options = dict(options.get("method_options") or {})
        key = (name, device, method_options)
        if self._method is None or self._method[0] != key:
            # The old network goes first: two large ones may not fit side by side.
            self._method = self._preview = None
            self._method = (key, create_method(name, device, **method_options))
        return self._method[1], device

    def _preview_slice(
        self, request: Request, progress: Progress, cancel: Cancel
    ) -> dict[str, Any]:
        from MedFusionLib.preview import SlicePreview

        told = ("reference", "other", "transform", "further", "options")
        key = {name: request.get(name) for name in told}
        if self._preview is None or key != self._preview_key:
            options = dict(request["options"])
            method, options["device"] = self._loaded_method(options)
            further = self._further(request)
            options |= _of_each_other(options, further)
            self._preview = SlicePreview(
                self._volume(request["reference"]),
                [self._volume(request["other"]), *(one.volume for one in further)],
                [
                    open_transform(request.get("transform"), self._folder),
                    *(one.transform for one in further),
                ],
                method,
                options,
            )
            self._preview_key = key
        begin = time.perf_counter()
        layer, index = self._preview.at(tuple(request["point"]))
        return {
            "seconds": time.perf_counter() - begin,
            "volume": save_volume(layer, self._folder, f"preview-{request['id']}.npy"),
            "index": index,
        }

    @staticmethod
    def _measure(
        result: FusionResult,
        most_slices: int | None,
        progress: Progress,
        cancel: Cancel,
    ) -> dict[str, Any]:
        """The metrics of a fusion and what it hides, as they stand in a report.

        The metrics are defined for two sources: with further ones only what is hidden is told.
        """
        from MedFusionLib.evaluation.reports.fusion_report import score_fusion

        def measured(done: int, total: int) -> None:
            if cancel():
                raise Cancelled("The run was cancelled; nothing was changed.")
            progress(done, total, "Measuring the fused slices")

        assert result.reference is not None
        measured(0, 0)
        if result.aligned_further:
            return {"hidden": result.hidden.figures}
        metrics = score_fusion(
            result.reference,
            result.aligned_other,
            result.volume,
            result.report,
            measured,
            most_slices,
        )
        if cancel():
            raise Cancelled("The run was cancelled; nothing was changed.")
        metrics["hidden_mm2"] = result.hidden.areas(metrics["plane"])
        return {"metrics": metrics, "hidden": result.hidden.figures}

    def _add_measures(
        self, result: FusionResult, report: dict[str, Any], progress: Progress, cancel: Cancel
    ) -> None:
        """Add the measures to a report; a package they need and Slicer lacks is only told."""
        begin = time.perf_counter()
        try:
            report.update(self._measure(result, None, progress, cancel))
        except ImportError as error:
            missing = f"The quality was not measured: {error}."
            report["warnings"] = [*report["warnings"], missing]
            return
        report["seconds"] = {**report["seconds"], "measure": time.perf_counter() - begin}

    def _measure_fused(
        self, request: Request, progress: Progress, cancel: Cancel
    ) -> dict[str, Any]:
        result = self._kept_fusion(request)
        begin = time.perf_counter()
        measures = self._measure(result, request["most_slices"], progress, cancel)
        return {**measures, "seconds": time.perf_counter() - begin}

    def _map_hidden(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        hidden = self._kept_fusion(request).hidden
        name = f"hidden-{request['id']}.npy"
        return {"volume": save_volume(hidden.worse, self._folder, name), "hidden": hidden.figures}

    def _map_invented(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        refined = self._kept_fusion(request).refined
        if refined is None or refined.invented is None:
            raise InputError("Nothing was invented: the fused volume lies on the measured grid.")
        name = f"invented-{request['id']}.npy"
        return {"volume": save_volume(refined.invented.volume, self._folder, name)}

    def _kept_fusion(self, request: Request) -> FusionResult:
        if self._fused is None or self._fused[0] != request["fusion"]:
            raise InputError(
                "The fusion process no longer has this fused volume. Fuse again to measure it."
            )
        return self._fused[1]

    def _save_report(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        from MedFusionLib.evaluation.reports.fusion_report import write_report

        report = request["report"]
        # An older report's volumes are gone; pictures of other ones would mislead.
        is_of_last = self._fused is not None and _as_sent(report) == self._reported
        path = Path(request["path"])
        pictures = self._drawn() if is_of_last and path.suffix == ".html" else None
        write_report(report, path, pictures, self._hidden_pictures(pictures))
        return {}

    def _drawn(self) -> dict[str, Any]:
        """Pictures of the last fusion's registration, drawn only when a report shows them: that
        takes seconds, for which the next run or preview would have to wait."""
        from MedFusionLib.registration.pictures import quality_pictures

        if self._pictures is None:
            assert self._fused is not None
            result = self._fused[1]
            assert result.reference is not None
            self._pictures = quality_pictures(result.reference, result.aligned_other)
        return self._pictures

    def _hidden_pictures(self, pictures: Any) -> Any:
        """Pictures of what the fusion hides, where that was computed for it."""
        if pictures is None or self._fused is None or "hidden" not in vars(self._fused[1]):
            return None
        from MedFusionLib.evaluation.reports.hidden_pictures import hidden_pictures

        return hidden_pictures(self._fused[1].volume, self._fused[1].hidden)

    def _export_dicom(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        from MedFusionLib.volumes.dicom_export import export_dicom

        files = export_dicom(
            self._volume(request["volume"]),
            request["reference_metadata"],
            request["report"],
            request["folder"],
            request.get("other_metadata"),
            request.get("further_metadata") or (),
        )
        return {"files": [str(file) for file in files]}

    def _export_navigation(
        self, request: Request, progress: Progress, cancel: Cancel
    ) -> dict[str, Any]:
        from MedFusionLib.navigation import Place, export_for_navigation
        from MedFusionLib.outputs import together

        other, folder = request["other_place"], Path(request["folder"])
        with together() as outputs:
            exported = export_for_navigation(
                self._volume(request["volume"]),
                request["reference_metadata"],
                request["other_metadata"],
                other and Place(np.array(other["affine"], float), other["shape"]),
                request["report"],
                outputs.folder(folder),
                request["square_pixels"],
            )
        return {"files": [str(folder / file) for file in exported.files], "notes": exported.notes}

    def _volume(self, message: Request) -> Volume:
        return open_volume(message, self._folder)


@dataclass(frozen=True)
class _Further:
    """A volume behind the second, and its settings as ``fuse`` takes them for one other volume."""

    volume: Volume
    transform: SimpleITK.Transform | None
    alignment: str
    window: Any
    colour: str

    @property
    def laid_by(self) -> dict[str, Any]:
        """``alignment`` and ``initial``."""
        from MedFusionLib.fusion import REGISTERED

        if self.transform is None or self.alignment in REGISTERED:
            return {"alignment": self.alignment, "initial": self.transform}
        return {"alignment": self.transform, "initial": None}


def _of_each_other(options: Mapping[str, Any], further: Sequence[_Further]) -> dict[str, Any]:
    """What ``fuse`` takes for each of several volumes, the other's (in ``options``) first.

    Lists also where there is one volume: the two ends of a window come as a list of their own.
    """
    laid = [one.laid_by for one in further]
    return {
        "alignment": [options.get("alignment", "resample"), *(one["alignment"] for one in laid)],
        "initial": [options.get("initial"), *(one["initial"] for one in laid)],
        "window_other": [options.get("window_other"), *(one.window for one in further)],
        "colour": [options.get("colour", "auto"), *(one.colour for one in further)],
    }


def _landmarks(message: Mapping[str, Any] | None) -> Landmarks | None:
    if message is None:
        return None
    from MedFusionLib.registration.landmarks import paired

    return paired(*([tuple(point) for point in message[role]] for role in ("reference", "other")))


def _distances(landmarks: Landmarks, result: FusionResult) -> dict[str, Any]:
    import SimpleITK

    return landmarks.to_report(result.transform or SimpleITK.Transform(3, SimpleITK.sitkIdentity))


def _as_sent(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as a client gives it back, without what is added to it after the fusion."""
    kept = {key: value for key, value in report.items() if key not in _ADDED_LATER}
    # The seconds of the fusion itself tell two runs with the same options apart.
    kept["seconds"] = {**report.get("seconds", {}), "measure": None}
    return json.loads(encode({"id": 0, "report": kept}))["report"]


def _unused_gpu(torch_version: str) -> str | None:
    """A sentence when this machine has an NVIDIA GPU although torch sees none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        listed = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    if not listed.startswith("GPU"):
        return None
    return (
        f"This computer has an NVIDIA GPU, but the installed PyTorch ({torch_version}) cannot use "
        "it, so fusion runs on the CPU. Reinstall PyTorch with CUDA in the module PyTorch Utils."
    )

"""The files of a study, which appear together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MedFusionLib.evaluation.downstream.page import study_markdown, study_page
from MedFusionLib.outputs import together, write_text

WRITTEN = ("downstream.json", "downstream.md", "downstream.html")


def write_study(study: Mapping[str, Any], folder: Path) -> None:
    """Write downstream.json, downstream.md and downstream.html into a folder, made if need be."""
    texts = (
        json.dumps(study, indent=1, allow_nan=False) + "\n",
        study_markdown(study),
        study_page(study),
    )
    with together() as outputs:
        partial = outputs.files_into(folder)
        for name, text in zip(WRITTEN, texts, strict=True):
            write_text(partial / name, text)

"""The bundled pair to try MedFusion with: a T1 MR and a simulated FDG-PET of one head.

Made from the ICBM 152 2009 template; its notice, NOTICE.md, travels with the files.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
REFERENCE = FOLDER / "Sample_MR_T1.nrrd"
OTHER = FOLDER / "Sample_FDG_PET.nrrd"

"""The panel's button "Fuse study": chooses reference and other among a patient's loaded volumes."""

from __future__ import annotations

import qt
import slicer

from MedFusionLib.slicer_app.choices import AlignmentChoice, Modality, Window
from MedFusionLib.slicer_app.panel.further_choice import chooseFurther, chosenSources
from MedFusionLib.slicer_app.panel.statements import Statement, Weight, asHtml
from MedFusionLib.slicer_app.panel.study_texts import (
    leftOutText,
    nobodyText,
    pairStatements,
    patientText,
)
from MedFusionLib.slicer_app.scene.series_of_scene import loadedSeries
from MedFusionLib.volumes.pairing import Pair, choose_pair
from MedFusionLib.volumes.series_facts import Patient, patients_of


class StudySection:
    """Looks at what is loaded when the button is pressed, and says what it chose and why."""

    def __init__(self, ui) -> None:
        self._ui = ui
        self._parameters = None
        self._menu = None
        self._told: tuple | None = None
        ui.studyButton.connect("clicked()", self.onStudyButton)
        self._tell([])

    def setParameters(self, parameters) -> None:
        """Use another parameter node, or none while the scene closes."""
        self._parameters = parameters
        if self._menu is not None:
            # Its entries are of the scene that was.
            self._menu.close()
        self._tell([])

    def refresh(self) -> None:
        """What was said holds for what was chosen then."""
        if self._told is not None and self._told != self._chosen():
            self._tell([])

    def onStudyButton(self) -> None:
        """Choose for the one patient that is loaded, or let the user say for which."""
        patients, unknown = patients_of(loadedSeries(slicer.mrmlScene))
        left = [Statement(Weight.NOTE, leftOutText(len(unknown)))] if unknown else []
        if not patients:
            self._tell([Statement(Weight.WARNING, nobodyText(len(unknown)))])
        elif len(patients) == 1:
            self.choose(patients[0], left)
        else:
            self._ask(patients, left)

    def _ask(self, patients: list[Patient], left: list[Statement]) -> None:
        self._menu = qt.QMenu()
        for patient in patients:
            action = self._menu.addAction(patientText(patient).replace("&", "&&"))
            action.connect("triggered()", lambda patient=patient: self.choose(patient, left))
        button = self._ui.studyButton
        self._menu.popup(button.mapToGlobal(qt.QPoint(0, button.height)))

    def choose(self, patient: Patient, left: list[Statement]) -> None:
        """Choose reference, other and alignment of one patient, or say why nothing is chosen."""
        if self._parameters is None:
            return
        pair = choose_pair(patient)
        if isinstance(pair, Pair):
            self._set(pair)
        self._tell([*pairStatements(pair, patient), *left])

    def _set(self, pair: Pair) -> None:
        parameters = self._parameters
        reference, other = (
            slicer.mrmlScene.GetNodeByID(series.key) for series in (pair.reference, pair.other)
        )
        # What was said of the volumes before need not be true of these.
        parameters.referenceModality = parameters.otherModality = Modality.AUTOMATIC
        parameters.referenceWindow = parameters.otherWindow = Window.AUTOMATIC
        # The further volumes may be another patient's.
        chooseFurther(parameters, [])
        parameters.referenceVolume, parameters.otherVolume = reference, other
        parameters.alignment = (
            AlignmentChoice.RIGID if pair.frames_differ else AlignmentChoice.RESAMPLE
        )

    def _chosen(self) -> tuple:
        parameters = self._parameters
        if parameters is None:
            return ()
        return (*chosenSources(parameters), parameters.alignment)

    def _tell(self, statements: list[Statement]) -> None:
        self._told = self._chosen() if statements else None
        self._ui.studyLabel.text = asHtml(statements)
        self._ui.studyLabel.visible = bool(statements)

"""What MedFusion does inside a 3D Slicer scene; the only part that imports slicer and vtk."""

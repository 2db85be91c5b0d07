"""Running a fusion method over a stack of slices on a device."""

"""A reference of thick slices on a finer grid: interpolated, or refined by a trained network."""

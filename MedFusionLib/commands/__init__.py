"""One command of the command line per module; heavy imports stay inside the functions."""

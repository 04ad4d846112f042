"""The run directory: the only thing that crosses from training to everything downstream."""

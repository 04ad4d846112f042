"""A trained net as a file that runs without plusx, and cannot silently compute something else."""

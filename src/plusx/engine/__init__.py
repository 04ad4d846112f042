"""The motion: schedules, optimizers, losses, evaluation and the training loop."""

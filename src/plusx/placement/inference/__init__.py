"""The fast forward pass, which `evaluate` and `predict` share."""

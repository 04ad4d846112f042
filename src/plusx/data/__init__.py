"""On what a net is trained: images and labels in, normalised batches out."""

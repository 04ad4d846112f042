"""On what a net is trained: pictures and labels in, normalised batches out."""

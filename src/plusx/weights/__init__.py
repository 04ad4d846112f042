"""Other people's weights: read safely, translated, converted to run directories."""

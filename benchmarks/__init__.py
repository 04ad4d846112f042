"""Ours beside peers, in one interleaved run, as ratios: `python -m benchmarks`."""

"""Ours beside peers, each comparison in one interleaved run on one machine, as ratios; results go to results/."""

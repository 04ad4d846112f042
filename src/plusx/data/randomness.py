"""Randomness as a function of what it is for: (seed, purpose, position), never of a worker or of what was drawn before.

Data order, augmentation and dropout of any step can so be recomputed, which is what makes resume exact.
"""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed.

    Args:
        seed: The recipe's seed.
        purpose: What the numbers are for, such as "order" or "augment".
        position: Step, epoch or image index.

    Example:
        >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1) != derive_seed(0, "order", 2)
        True
    """
    text = ":".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *position: int) -> torch.Generator:
    """A CPU generator seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *position))

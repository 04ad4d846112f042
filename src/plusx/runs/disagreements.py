"""Images that one net gets right and another wrong, and whether that is more than chance."""

from dataclasses import dataclass

from plusx.runs.predictions import Predictions


@dataclass(frozen=True)
class Disagreements:
    """Two nets on the same labelled images. Positions are those of the images in both of their predictions."""

    images: int
    only_first: tuple[int, ...]
    """Images that the first gets right and the other wrong."""
    only_other: tuple[int, ...]
    neither: int
    """How many images both get wrong."""
    p: float
    """Of the exact test by McNemar (1947): how likely it is that two equally good nets differ by as much as this."""

    @staticmethod
    def of(first: Predictions, other: Predictions) -> "Disagreements":
        """From the predictions of both for the same images, in the same order and with the same class indices."""
        assert first.images == other.images and first.class_names == other.class_names
        mine, theirs = first.correct_N, other.correct_N
        only_first, only_other = ((a & ~b).nonzero()[:, 0].tolist() for a, b in ((mine, theirs), (theirs, mine)))
        neither = int((~mine & ~theirs).sum())
        p = sign_test(len(only_first), len(only_other))
        return Disagreements(len(first), tuple(only_first), tuple(only_other), neither, p)


def sign_test(one: int, other: int) -> float:
    """The two-sided p-value of two counts that a fair coin would share out; exact, by the binomial distribution.

    Example:
        >>> sign_test(0, 5), sign_test(3, 3), sign_test(0, 0)
        (0.0625, 1.0, 1.0)
    """
    total, ways, tail = one + other, 1, 0
    for count in range(min(one, other) + 1):
        tail += ways
        ways = ways * (total - count) // (count + 1)
    return min(1.0, 2 * tail / 2**total)

"""Classes of unequal numbers of images, made to count the same: by weights of the loss, or by what is drawn.

Shapes: N images, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from plusx.data.images import ImageSet, listed
from plusx.data.randomness import generator


def images_of_classes(images: ImageSet) -> Tensor:
    """How many images each class has, int64."""
    return torch.bincount(images.labels_N.cpu(), minlength=len(images.class_names))


def class_weights(counts_K: Tensor) -> Tensor:
    """N / (K n_k) for a class of n_k images: inverse to its number, and 1 in the mean over the N images.

    Args:
        counts_K: Images of each class, at least 1.

    Example:
        >>> class_weights(torch.tensor([30, 10]))
        tensor([0.6667, 2.0000])
    """
    return (counts_K.sum() / (len(counts_K) * counts_K.double())).float()


def require_weights(images: ImageSet, balance: str, expression: str) -> None:
    """Raises ValueError when a class has no training image, so that no weight makes it count.

    Args:
        images: What is to be trained on.
        balance: How classes are to be made to count the same.
        expression: How the images were chosen, as `train[:50%]`.
    """
    lacking = [name for name, n in zip(images.class_names, images_of_classes(images).tolist(), strict=True) if n == 0]
    if lacking:
        raise ValueError(
            f"balance is {balance}, but the {len(images):,} training images of data.train={expression} have none of "
            f"{listed(map(repr, lacking))}; take a larger slice or a larger data.limit, or set balance to none"
        )


class BalancedVisits:
    """Images in an order in which every class comes as often as every other.

    The order goes by rounds of K visits, one for each class, in an order that is drawn for the round. In round r a
    class shows image r mod n of its n, in an order that is drawn anew each time all of them were shown. So what is
    visited at a place follows from the seed and the place alone.

    Args:
        labels_N: Class of each image; every class has at least one.
        num_classes: K.
        seed: The recipe's.

    Example:
        >>> visits = BalancedVisits([0, 0, 0, 1], 2, seed=0)
        >>> [sorted(visits.at(range(2 * r, 2 * r + 2))[0])[-1] for r in range(3)]
        [3, 3, 3]
    """

    def __init__(self, labels_N: Sequence[int], num_classes: int, seed: int) -> None:
        self.labels_N, self.num_classes, self.seed = labels_N, num_classes, seed
        self._members: list[list[int]] = [[] for _ in range(num_classes)]
        for image, label in enumerate(labels_N):
            self._members[label].append(image)
        self._orders: dict[int, tuple[int, list[int]]] = {}

    def __reduce__(self) -> tuple[type["BalancedVisits"], tuple[Sequence[int], int, int]]:
        return BalancedVisits, (self.labels_N, self.num_classes, self.seed)

    def at(self, places: range) -> tuple[list[int], list[int]]:
        """The images at these places, and how often each was visited before."""
        images, visits = [], []
        for round_ in range(places.start // self.num_classes, (places.stop - 1) // self.num_classes + 1):
            classes = torch.randperm(self.num_classes, generator=generator(self.seed, "classes", round_)).tolist()
            begin = round_ * self.num_classes
            for label in classes[max(places.start - begin, 0) : places.stop - begin]:
                visit, rank = divmod(round_, len(self._members[label]))
                images.append(self._order(label, visit)[rank])
                visits.append(visit)
        return images, visits

    def _order(self, label: int, visit: int) -> list[int]:
        """The images of a class in the order of a visit to all of them."""
        known = self._orders.get(label)
        if known is None or known[0] != visit:
            members, rng = self._members[label], generator(self.seed, "of class", label, visit)
            known = visit, [members[i] for i in torch.randperm(len(members), generator=rng).tolist()]
            self._orders[label] = known
        return known[1]

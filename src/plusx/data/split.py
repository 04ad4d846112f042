"""Which images are held back: decided by the content of each, or by the name of its group, never by its place.

Images of equal content are together, and so are those of one group. Groups that share an image are together, too. What
is together has one key, a hash in hexadecimal digits: of a group's name, so that files that are added to a group move
none; of the content where there is no group.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice

VAL_SHARE = 0.2


def group_of(pattern: str, path: str) -> str | None:
    """The group of a file: what the first brackets of a regular expression match; None where they match nothing.

    Args:
        pattern: With at least one pair of brackets.
        path: Below the data's folder, with slashes.

    Example:
        >>> group_of(r"([^/]+)_\\d+\\.png", "ant/clip7_003.png"), group_of(r"(clip)", "ant/3.png")
        ('clip7', None)
    """
    match = re.search(pattern, path)
    return (match[1] or None) if match else None


def together(digests: Sequence[str], groups: Sequence[str | None] | None = None) -> list[str]:
    """The key of each image: those of one key are in one split.

    Args:
        digests: The hash of each image's content.
        groups: The group of each image, None for one that is in none; None has no groups at all.

    Example:
        >>> one, two, alone = together(["aa", "bb", "cc"], ["left", "right", None])
        >>> joined = together(["aa", "bb", "aa", "cc"], ["left", "right", "right", None])
        >>> joined == [min(one, two)] * 3 + [alone]
        True
    """
    if groups is None:
        return list(digests)
    above: dict[str, str] = {}

    def top(key: str) -> str:
        while (over := above.setdefault(key, key)) != key:
            above[key] = key = above[over]
        return key

    hashed = {group: hashlib.blake2b(group.encode(), digest_size=16).hexdigest() for group in groups if group}
    for digest, group in zip(digests, groups, strict=True):
        if group:
            one, other = sorted((top(f"group {hashed[group]}"), top(digest)), key=lambda key: (key[:5] != "group", key))
            above[other] = one  # a group stands above a content, and of two groups that of the lower hash
    return [top(digest).removeprefix("group ") for digest in digests]


def held_back(classes: Sequence[str], keys: Sequence[str], *, grouped: bool = False) -> set[str]:
    """The keys of the images that are held back for validation: those whose hash falls into the validation share.

    A class so small that chance leaves it without a validation or a training image gives one all the same, that of the
    lowest or the highest hash. Copies in other classes go with it, so it is none that another class trains on alone.

    Groups are few and differ in size, so that chance alone may hold back most of a class: where it holds back less than
    half of the share or more than twice as much, the groups change sides that bring the class nearest to it.

    Args:
        classes: The class of each image.
        keys: From `together`.
        grouped: Whether the images have groups.
    """
    by_class: dict[str, set[str]] = defaultdict(set)
    for class_name, key in zip(classes, keys, strict=True):
        by_class[class_name].add(key)
    # In an order that no name decides: where classes share images, what one of them gives changes the others.
    members = sorted(sorted(its) for its in by_class.values())
    holders: dict[str, list[list[str]]] = defaultdict(list)
    for its in members:
        for key in its:
            holders[key].append(its)
    chosen = {key for key in holders if int(key[:16], 16) < VAL_SHARE * 2**64}
    chosen -= {its[-1] for its in members if chosen.issuperset(its)}
    for its in members:
        if chosen.isdisjoint(its):
            spare = (key for key in its if all(set(holder) - chosen - {key} for holder in holders[key]))
            chosen.update(islice(spare, 1))
    return _balanced(chosen, classes, keys) if grouped else chosen


def _balanced(chosen: set[str], classes: Sequence[str], keys: Sequence[str]) -> set[str]:
    """The keys that are held back after those have changed sides that bring every class nearer to the share."""
    sizes, counts = Counter(classes), defaultdict[str, Counter[str]](Counter)
    members: dict[str, set[str]] = defaultdict(set)
    for class_name, key in zip(classes, keys, strict=True):
        counts[key][class_name] += 1
        members[class_name].add(key)
    held: Counter[str] = Counter()
    for key in chosen:
        held.update(counts[key])

    def off(class_name: str, count: int) -> float:
        """How far from the share a class is that holds back so many images; worst of all, one that trains on none."""
        share = count / sizes[class_name]
        return max(0.0, VAL_SHARE / 2 - share, share - 2 * VAL_SHARE) + (count == 0) + 1e6 * (share == 1)

    def gain(key: str) -> float:
        sign = -1 if key in chosen else 1
        return sum(off(its, held[its]) - off(its, held[its] + sign * n) for its, n in counts[key].items())

    for class_name in sorted(members, key=lambda name: sorted(members[name])):
        while off(class_name, held[class_name]):
            best = max(sorted(members[class_name]), key=gain)
            if gain(best) < 1e-6:  # a millionth of a class, more than rounding
                break
            sign = -1 if best in chosen else 1
            held.update({its: sign * n for its, n in counts[best].items()})
            chosen ^= {best}
    return chosen

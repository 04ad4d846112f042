"""Which images look alike: a hash of 64 bits, and small images where the hashes agree.

The hash says of each pixel of an image of 9 x 8 whether the next one to the right is clearly brighter (dHash). Hashes
that differ in 4 bits at most agree in one of five bands of bits, so that only images that share a band are compared.
Flat images, and those of one composition, have such hashes by chance: their thumbnails decide.

Shapes: N images, P pairs, H height, W width.
"""

from collections.abc import Iterator
from itertools import count

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 18, 16  # of a thumbnail: twice that of the image that is hashed
LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)
CLEARLY = 4  # of 255: noise of a compression makes steps of 1 or 2, even where an image is flat
MOST_BITS = 4
BANDS = MOST_BITS + 1  # one of them has none of the bits that differ
MOST_SHIFT = 8.0  # of 255, between the mean colours: white is 7.7 brighter after a gain of 3 per cent
MOST_REST = 0.2  # between the thumbnails less their mean colours, as a share of the contrast; independent ones have 0.6
LEAST_REST = 1.0  # of 255: what rounding and compression leave between flat images
TOO_MANY = 1_000_000
"""Pairs of nearly one hash, beyond which the images of a set are all much alike, so that likeness says nothing."""
CHUNK = 1024  # images that are hashed at once, and pairs that are compared at once, which caches hold


def thumbnail(image: Image.Image) -> np.ndarray:
    """An RGB image as uint8, HEIGHT x WIDTH x 3, smoothly, so that another size of it gives nearly the same."""
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def near_pairs(thumbs_NHW3: np.ndarray) -> np.ndarray | None:
    """The pairs of images that look alike, P x 2, sorted, each once with the lower index first.

    Args:
        thumbs_NHW3: What `thumbnail` gives of each.

    Returns:
        None where more than `TOO_MANY` have nearly the same hash.

    Example:
        >>> photo = Image.effect_noise((400, 300), 90).resize((80, 60)).convert("RGB")
        >>> others = [Image.effect_noise((400, 300), 90).convert("RGB"), Image.new("RGB", (80, 60), "red")]
        >>> thumbs = [thumbnail(image) for image in (photo, *others, photo.resize((72, 54)))]
        >>> near_pairs(np.stack(thumbs)).tolist()
        [[0, 3]]
    """
    means_N3, contrast_N = _statistics(thumbs_NHW3)
    found, total = [np.empty((0, 2), dtype=np.int64)], 0
    for pairs_P2 in _gathered(_candidates(thumbs_NHW3, means_N3)):
        total += len(pairs_P2)
        if total > TOO_MANY:
            return None
        found.append(pairs_P2[_look_alike(thumbs_NHW3, means_N3, contrast_N, pairs_P2)])
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _statistics(thumbs_NHW3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour of each image, N x 3, and its contrast: the deviation from that colour."""
    means_N3, contrast_N = np.empty((len(thumbs_NHW3), 3)), np.empty(len(thumbs_NHW3))
    for start in range(0, len(thumbs_NHW3), CHUNK):
        part = slice(start, start + CHUNK)
        values_NHW3 = thumbs_NHW3[part].astype(np.float64)
        means_N3[part] = values_NHW3.mean((1, 2))
        contrast_N[part] = np.sqrt(values_NHW3.var((1, 2)).mean(1))
    return means_N3, contrast_N


def _bits(thumbs_NHW3: np.ndarray) -> np.ndarray:
    """The hash of each image, bit by bit."""
    grey_N89 = (thumbs_NHW3 @ LUMA).reshape(-1, HEIGHT // 2, 2, WIDTH // 2, 2).mean((2, 4))
    return (grey_N89[:, :, 1:] - grey_N89[:, :, :-1] > CLEARLY).reshape(-1, 64)


def _candidates(thumbs_NHW3: np.ndarray, means_N3: np.ndarray) -> Iterator[np.ndarray]:
    """The pairs whose hashes differ in a few bits and whose mean colours are near, each once."""
    starts = range(0, len(thumbs_NHW3), CHUNK)
    bits_N64 = np.concatenate([np.empty((0, 64), bool), *(_bits(thumbs_NHW3[s : s + CHUNK]) for s in starts)])
    hashes_N = np.packbits(bits_N64, axis=1).view(np.uint64)[:, 0]
    # Bits of a band lie all over the image, as those of a sky agree in most photographs.
    bands = [bits_N64[:, band::BANDS] @ (1 << np.arange(len(range(band, 64, BANDS)))) for band in range(BANDS)]
    green_N = means_N3[:, 1]
    for number, band_N in enumerate(bands):
        order_N = np.lexsort((green_N, band_N))
        left_P = np.arange(len(order_N))
        for step in count(1):  # each with the next but `step`, while that shares the band and is not much greener
            left_P = left_P[left_P < len(order_N) - step]
            i_P, j_P = order_N[left_P], order_N[left_P + step]
            goes_on_P = (band_N[i_P] == band_N[j_P]) & (green_N[j_P] - green_N[i_P] <= MOST_SHIFT)
            left_P, i_P, j_P = left_P[goes_on_P], i_P[goes_on_P], j_P[goes_on_P]
            if not len(left_P):
                break
            is_near_P = np.bitwise_count(hashes_N[i_P] ^ hashes_N[j_P]) <= MOST_BITS
            for earlier_N in bands[:number]:  # which have given this pair already
                is_near_P &= earlier_N[i_P] != earlier_N[j_P]
            i_P, j_P = i_P[is_near_P], j_P[is_near_P]
            is_near_P = np.abs(means_N3[i_P] - means_N3[j_P]).max(1) <= MOST_SHIFT
            yield np.stack((i_P[is_near_P], j_P[is_near_P]), axis=1)


def _gathered(arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Many small arrays of pairs as few that are no larger than `CHUNK`."""
    held: list[np.ndarray] = []
    total = 0
    for array in arrays:
        held.append(array)
        total += len(array)
        if total >= CHUNK:
            whole = np.concatenate(held)
            yield from (whole[start : start + CHUNK] for start in range(0, len(whole), CHUNK))
            held, total = [], 0
    if total:
        yield np.concatenate(held)


def _look_alike(
    thumbs_NHW3: np.ndarray, means_N3: np.ndarray, contrast_N: np.ndarray, pairs_P2: np.ndarray
) -> np.ndarray:
    """Whether the images of each pair have, less their mean colours, nearly the same pixels."""
    first_P, second_P = pairs_P2.T
    change_PD = (thumbs_NHW3[first_P].astype(np.float32) - thumbs_NHW3[second_P]).reshape(len(pairs_P2), -1)
    shift_P = np.square(means_N3[first_P] - means_N3[second_P]).mean(1)
    rest_P = np.sqrt(np.maximum(0, np.einsum("pd,pd->p", change_PD, change_PD) / change_PD.shape[1] - shift_P))
    contrast_P = np.minimum(contrast_N[first_P], contrast_N[second_P])
    return rest_P <= np.maximum(LEAST_REST, MOST_REST * contrast_P)

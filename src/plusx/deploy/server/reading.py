"""From the bytes of an image to the pixels that a model computes, beside the event loop.

Large images, which take hundreds of megabytes to read, are read one at a time.
"""

import asyncio
import io
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

from PIL import Image
from torch import Tensor

from plusx.data.decode import FORMATS, UndecodableError
from plusx.data.preprocess import Preprocess
from plusx.deploy.server.bodies import Sent

SMALL_BYTES, SMALL_PIXELS = 2**14, 2**14
"""Of a file and of an image, which is read on the event loop: sooner than a thread would begin with it."""
LARGE_PIXELS = 2**24
"""From here on an image is read while no other large one is; more than photographs of phones have as a rule."""


class Reader:
    """The threads that read images, so that a large one delays no net.

    Args:
        threads: Images that are read at once.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "reading")
        self._one_large = threading.Lock()

    def close(self) -> None:
        """End the threads after what they are reading."""
        self._pool.shutdown(cancel_futures=True)

    async def pixels(self, preprocess: Preprocess, sent: Sent) -> Tensor | str:
        """The pixels of an image, uint8, C x H x W, or why there are none."""
        if sent.fault is not None:
            return sent.fault
        is_small = len(sent.raw) <= SMALL_BYTES and math.prod(preprocess.size) <= SMALL_PIXELS
        if is_small and _pixels(sent.raw, ["PNG", "JPEG"]) <= SMALL_PIXELS:
            return _read(preprocess, sent.raw)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read_bounded, preprocess, sent.raw)

    def _read_bounded(self, preprocess: Preprocess, raw: bytes) -> Tensor | str:
        is_large = LARGE_PIXELS < _pixels(raw, FORMATS) < math.inf
        with self._one_large if is_large else nullcontext():
            return _read(preprocess, raw)


def _pixels(raw: bytes, formats: list[str]) -> float:
    """How many pixels an image has by the head of its file; infinity where that cannot be read."""
    try:
        with Image.open(io.BytesIO(raw), formats=formats) as image:
            return image.width * image.height
    except Exception:  # a damaged head can raise nearly anything; whoever reads the image says what is wrong
        return math.inf


def _read(preprocess: Preprocess, raw: bytes) -> Tensor | str:
    try:
        return preprocess.pixels(raw)
    except UndecodableError as fault:
        return fault.reason

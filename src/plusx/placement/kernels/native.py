"""The compiled library, if the package was built where there was a compiler.

It is plain C behind `ctypes`: it needs no header of PyTorch when it is built and fits any version of it.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, TypeVar

import torch  # first: the library takes its threads from what this loads

from plusx.placement.machine import cpu_flags, multiplies_bf16, vector_limit

F = TypeVar("F", bound=Callable[..., Any])


class NormCall(ctypes.Structure):
    """`struct plusx_norm` of norm.c, whose comments say what each field is."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("avx512", "half", "relu", "threads")),
        *((name, ctypes.c_long) for name in ("batch", "height", "width", "channels")),
        ("eps", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "mean", "variance", "y", "residual")),
        *((name, ctypes.c_long) for name in ("residual_channels", "stride")),
        *((name, ctypes.c_void_p) for name in ("dy", "dx", "dresidual", "dweight", "dbias")),
        ("pitch", ctypes.c_long),
    )


class ConvolutionCall(ctypes.Structure):
    """`struct plusx_convolution` of convolution.h."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("batch", "height", "width", "in_channels", "out_channels")),
        *((name, ctypes.c_long) for name in ("side", "stride", "padding")),
        ("threads", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("x", "weight")),
        ("strides", ctypes.c_long * 4),
        *((name, ctypes.c_void_p) for name in ("y", "dy", "dx", "dweight")),
    )


class BlockCall(ctypes.Structure):
    """`struct plusx_block` of block.h."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("batch", "height", "width", "channels")),
        ("threads", ctypes.c_int),
        *((name, ctypes.c_float) for name in ("eps1", "eps2")),
        *((name, ctypes.c_void_p) for name in ("x", "weight1", "weight2")),
        *((name, ctypes.c_long * 4) for name in ("strides1", "strides2")),
        *((name, ctypes.c_void_p) for name in ("scale1", "shift1", "scale2", "shift2")),
        *((name, ctypes.c_void_p) for name in ("mean1", "variance1", "mean2", "variance2")),
        *((name, ctypes.c_void_p) for name in ("shortcut", "y1", "y2", "z", "dz", "dshortcut", "dx", "g1")),
        *((name, ctypes.c_void_p) for name in ("dweight1", "dweight2", "dscale1", "dshift1", "dscale2", "dshift2")),
    )


def _constant(function: F) -> F:
    """Have torch.compile call a function while it compiles, and take the answer: it cannot follow one that reads files.

    As `torch.compiler.assume_constant_result` does, without its import of the compiler, which takes longer than that of
    all of plusx.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library, or None where it was not built or does not load."""
    folder = Path(__file__).parent
    for path in (folder / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES):
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # built for another system
                return None
    return None


@cache
@_constant
def vector_level() -> int:
    """2 where the processor has AVX-512, 1 where it has AVX2, 0 where the library cannot be used."""
    found = library()
    return min(found.plusx_norm_level(), vector_limit()) if found else 0


@cache
@_constant
def engine(dtype: torch.dtype) -> str | None:
    """What computes 3x3 convolutions of tensors of this type here: the name of a C file, or None.

    On the matrix unit they are multiplied as they are; elsewhere by Winograd's algorithm, in single precision.
    """
    found, level = library(), vector_level()
    if found is None or level == 0 or not hasattr(found, "plusx_block_forward_avx2_fp32"):  # built on another system
        return None
    if dtype == torch.float32:
        return "avx512_fp32" if level == 2 else "avx2_fp32"
    if dtype != torch.bfloat16:
        return None
    unit = multiplies_bf16(cpu_flags())
    if unit == "AMX" and found.plusx_tiles_available():  # asking is what makes the system grant it
        return "amx_bf16"
    return "avx512_bf16" if unit and level == 2 and "avx512_bf16" in cpu_flags() else None


def run(function: str, call: ctypes.Structure) -> None:
    """Call a function of the library.

    Raises:
        MemoryError: There was no memory for what it keeps aside.
    """
    if getattr(library(), f"plusx_{function}")(ctypes.byref(call)):
        raise MemoryError(f"no memory for {function.replace('_', ' ')}: take a smaller batch")

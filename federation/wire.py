"""Arrays as few bytes, and back: what goes over the wire.

A payload is the scales, if its kind has any, as float32, and then the numbers, first byte of all of
them, second byte of all of them and so on (bytes of like meaning compress better side by side); all
little-endian, without a header: what else is to be known stands in `Encoded`. Bytes that come from
elsewhere are data: their size is checked, and nothing in them is ever run.

Shape suffixes: R rows with a scale each, L numbers in a row.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.errors import InputError

Array = NDArray[Any]
Arrays = dict[str, Array]

PRECISIONS = ("float32", "float16", "int8")
KINDS = tuple(f"terraguild.{name}" for name in ("plain", *PRECISIONS))

_ZLIB = "+zlib"
_CODES = {"float32": "<f4", "float16": "<f2", "int8": "|i1"}
_SCALED = ("float16", "int8")
_DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_MAX_AXES = 32  # what every version of numpy can do
_MAX_NUMBERS = 2**40


@dataclass(frozen=True)
class Encoded:
    """An array on the wire.

    Args:
        data: The payload.
        dtype: Name of the array's dtype, such as `float32`.
        shape: Of the array.
        kind: How the payload was made: one of `KINDS`, with `+zlib` where it was compressed.
    """

    data: bytes
    dtype: str
    shape: tuple[int, ...]
    kind: str


def encode(
    arrays: Mapping[str, Array], precision: str, residual: Mapping[str, Array] | None = None
) -> tuple[dict[str, Encoded], Arrays]:
    """Turn arrays into payloads.

    Floating-point arrays of more bytes a number than the precision has are rounded to it; all
    others go as they are.

    - `float32`: as the name says.
    - `float16`: by a power of two for each array, so that its largest number is between 2^14 and
      2^15: nothing overflows, and small updates keep their digits. A number is off by at most a
      2^-11 part of itself or a 2^-39 part of the largest, whichever is more.
    - `int8`: whole numbers from -127 to 127 and a scale for each row of the first axis, which is an
      output channel of a convolution or of a linear layer (one scale in all for an array of less
      than two axes). A number is off by at most a 1/254 part of the largest of its row.

    What rounding loses can be added to what is sent the next time (error feedback: Seide et al.,
    "1-bit stochastic gradient descent", Interspeech 2014; Karimireddy et al., arXiv 1901.09847,
    algorithm 2, with rounding as the compressor). Then what was decoded sums up to what was given,
    less the last residual, however many rounds there were.

    Args:
        arrays: Numbers by name: updates, or the weights themselves.
        precision: One of `PRECISIONS`.
        residual: What an earlier call lost, to be sent with these; None is nothing.

    Returns:
        A payload for each array, in their order; and what was lost, an array for each one that was
        rounded, beside the residuals of arrays that are not there this time.

    Raises:
        InputError: If the precision is unknown; or if an array holds NaN, an infinity, a number
            beyond float32 or no numbers at all, or a residual has another shape. The message names
            the array.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    earlier = residual or {}
    encoded: dict[str, Encoded] = {}
    lost = {name: rest for name, rest in earlier.items() if name not in arrays}
    for name, array in arrays.items():
        _check_dtype(name, array.dtype.name)
        if name in earlier:
            array = _add(name, array, earlier[name])
        _check_finite(name, array)
        width = np.dtype(_CODES[precision]).itemsize
        if array.dtype.kind == "f" and array.itemsize > width and array.size:
            encoded[name] = _encode_rounded(name, array, precision)
            lost[name] = array - _decode_one(name, encoded[name])
        else:
            encoded[name] = Encoded(
                _to_bytes(array), array.dtype.name, array.shape, "terraguild.plain"
            )
    return encoded, lost


def decode(encoded: Mapping[str, Encoded], like: Mapping[str, Array] | None = None) -> Arrays:
    """Turn payloads back into arrays. Floating-point ones hold finite numbers only.

    Args:
        encoded: From `encode`, perhaps by way of someone who is not to be trusted.
        like: Arrays of the names, shapes and dtypes to expect. With them nothing larger is made;
            without, compressed bytes may become about a thousand times as many.

    Raises:
        InputError: If names, shapes or dtypes are not those of `like`; or if a kind, dtype or shape
            is none, or a payload has not the size that its shape needs or holds NaN or infinities.
            The message names the array.
    """
    if like is not None:
        _check_like(encoded, like)
    return {name: _decode_one(name, one) for name, one in encoded.items()}


def _encode_rounded(name: str, array: Array, precision: str) -> Encoded:
    largest = float(np.abs(array).max())
    if largest > _FLOAT32_MAX:
        raise InputError(
            f"{name}: numbers up to {largest:g} do not fit into float32; has training diverged?"
        )
    kind = f"terraguild.{precision}"
    if precision == "float32":
        return Encoded(_to_bytes(array.astype("<f4")), array.dtype.name, array.shape, kind)
    rows_RL = array.astype(np.float64).reshape(_count_scales(precision, array.shape), -1)
    if precision == "float16":
        # 2^-126 is float32's smallest power of two of full precision.
        exponent = max(math.frexp(largest)[1] - 15, -126)
        scales_R = np.full(len(rows_RL), math.ldexp(1, exponent), "<f4")
        codes_RL = (rows_RL / scales_R[:, None].astype(np.float64)).astype("<f2")
    else:
        scales_R = (np.abs(rows_RL).max(axis=1) / 127).astype("<f4")
        divisor_R = np.where(scales_R > 0, scales_R, 1).astype(np.float64)
        # Scales that are nearly 0 in float32 have few digits themselves: hence the clip.
        codes_RL = np.rint(rows_RL / divisor_R[:, None]).clip(-127, 127).astype("|i1")
    data = scales_R.tobytes() + _to_bytes(codes_RL)
    # Runs of zeros and short codes for frequent bytes are all there is to win on such numbers.
    deflate = zlib.compressobj(6, strategy=zlib.Z_RLE)
    smaller = deflate.compress(data) + deflate.flush()
    if len(smaller) < len(data):
        data, kind = smaller, kind + _ZLIB
    return Encoded(data, array.dtype.name, array.shape, kind)


def _decode_one(name: str, one: Encoded) -> Array:
    kind = one.kind.removesuffix(_ZLIB)
    if kind not in KINDS:
        raise InputError(f"{name}: a payload of kind {one.kind!r}, expected {', '.join(KINDS)}")
    _check_dtype(name, one.dtype)
    shape = _check_shape(name, one.shape)
    dtype, precision = np.dtype(one.dtype), kind.removeprefix("terraguild.")
    is_plain = precision == "plain"
    if not is_plain and dtype.kind != "f":
        raise InputError(f"{name}: a payload of kind {one.kind!r} for {one.dtype}, expected floats")
    code = dtype.newbyteorder("<") if is_plain else np.dtype(_CODES[precision])
    count = _count_scales(precision, shape)
    size = 4 * count + math.prod(shape) * code.itemsize
    data = one.data if one.kind == kind else _decompress(name, one.data, size)
    if len(data) != size:
        raise InputError(
            f"{name}: a payload of {len(data)} bytes, expected the {size} of {one.dtype} of shape "
            f"{shape} as {kind}"
        )
    numbers = _from_bytes(data[4 * count :], code)
    with np.errstate(invalid="ignore", over="ignore"):  # what overflows is refused by name
        if count:
            scales_R = np.frombuffer(data, "<f4", count).astype(np.float64)
            numbers = numbers.reshape(count, -1).astype(np.float64) * scales_R[:, None]
            _check_finite(name, numbers)
            # The largest of all floats may come out half a step above itself.
            limit = float(np.finfo(dtype).max)
            numbers = numbers.clip(-limit, limit)
        array = numbers.astype(dtype, copy=False).reshape(shape)
    _check_finite(name, array)
    return array


def _count_scales(precision: str, shape: tuple[int, ...]) -> int:
    if precision not in _SCALED or 0 in shape:
        return 0
    return shape[0] if precision == "int8" and len(shape) > 1 else 1


def _to_bytes(array: Array) -> bytes:
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return little.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T.tobytes()


def _from_bytes(data: bytes, code: np.dtype[Any]) -> Array:
    planes = np.frombuffer(data, np.uint8).reshape(code.itemsize, -1)
    if code == np.bool_:
        return np.not_equal(planes.reshape(-1), 0)
    return planes.T.copy().view(code).reshape(-1)


def _decompress(name: str, data: bytes, size: int) -> bytes:
    """The compressed bytes, which are as many as expected; no more are ever made."""
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(data, size + 1)
    except zlib.error as error:
        raise InputError(f"{name}: a damaged payload ({error})") from error
    if not inflate.eof or inflate.unused_data:
        raise InputError(
            f"{name}: a compressed payload that does not end after the {size} bytes expected"
        )
    return found


def _add(name: str, array: Array, residual: Array) -> Array:
    if residual.shape != array.shape:
        raise InputError(
            f"{name}: a residual of shape {residual.shape} beside an array of shape {array.shape}; "
            "where arrays have changed, begin without residuals"
        )
    with np.errstate(over="ignore"):  # an infinity is refused by name
        return np.asarray(array + residual.astype(array.dtype))


def _check_like(encoded: Mapping[str, Encoded], like: Mapping[str, Array]) -> None:
    missing, unknown = sorted(set(like) - set(encoded)), sorted(set(encoded) - set(like))
    if missing or unknown:
        raise InputError(
            f"{len(encoded)} arrays came, {len(like)} are expected; missing: "
            f"{', '.join(missing[:5]) or 'none'}; not expected: {', '.join(unknown[:5]) or 'none'}"
        )
    for name, one in encoded.items():
        wanted = like[name]
        if (one.dtype, tuple(one.shape)) != (wanted.dtype.name, wanted.shape):
            raise InputError(
                f"{name}: {one.dtype} of shape {tuple(one.shape)} came, {wanted.dtype.name} of "
                f"shape {wanted.shape} is expected"
            )


def _check_dtype(name: str, dtype: str) -> None:
    if dtype not in _DTYPES:
        raise InputError(f"{name}: numbers of type {dtype!r}, expected {', '.join(_DTYPES)}")


def _check_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    sides = tuple(shape)
    is_shape = len(sides) <= _MAX_AXES and all(type(side) is int and side >= 0 for side in sides)
    if not is_shape or math.prod(side or 1 for side in sides) > _MAX_NUMBERS:
        raise InputError(f"{name}: {shape} is not the shape of an array")
    return sides


def _check_finite(name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name}: NaN or infinities among {array.size} numbers; has it diverged?")

"""Payloads: what rounding may lose, that nothing is lost for good, and what is refused."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from federation.wire import KINDS, PRECISIONS, Encoded, decode, encode
from sensors import InputError

FLOAT32 = np.finfo(np.float32)
TINY = 200 * float(FLOAT32.smallest_subnormal)
EPSILON = 1.001  # rounding of the bounds themselves

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
shapes = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
floats = arrays(
    np.float32, shapes, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


def round_trip(array, precision):
    encoded, _ = encode({"w": array}, precision)
    return decode(encoded)["w"]


def rows(array):
    """As many rows as there are scales."""
    return array.reshape(array.shape[0] if array.ndim > 1 else 1, -1).astype(np.float64)


@relaxed
@given(array=floats)
def test_float32_loses_nothing(array):
    found = round_trip(array, "float32")
    assert found.dtype == array.dtype
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array, strict=True)


@relaxed
@given(array=floats)
def test_float16_is_off_by_a_part_of_the_number_or_of_the_largest(array):
    found = round_trip(array, "float16")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    exact = array.astype(np.float64)
    largest = np.abs(exact).max(initial=0)
    bound = np.maximum(np.abs(exact) * 2.0**-11, largest * 2.0**-39) * EPSILON + TINY
    assert (np.abs(found - exact) <= bound).all()


@relaxed
@given(array=floats)
def test_int8_is_off_by_half_a_step_of_its_row(array):
    found = round_trip(array, "int8")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if array.size:
        step = np.abs(rows(array)).max(axis=1, keepdims=True) / 127
        assert (np.abs(rows(found) - rows(array)) <= step / 2 * EPSILON + TINY).all()


@relaxed
@given(array=floats, precision=st.sampled_from(PRECISIONS))
def test_what_was_lost_is_what_is_returned(array, precision):
    encoded, residual = encode({"w": array}, precision)
    lost = residual.get("w", np.zeros_like(array))
    np.testing.assert_array_equal(array - decode(encoded)["w"], lost)


def test_small_and_large_numbers_do_not_fall_out_of_float16():
    for size in (1e-30, 1e-9, 1.0, 1e6, 1e38):
        array = np.random.default_rng(0).normal(0, 1, 1000).clip(-3, 3).astype(np.float32)
        array = array * np.float32(size)
        np.testing.assert_allclose(round_trip(array, "float16"), array, rtol=2**-11)


def test_a_row_of_large_numbers_does_not_swallow_the_others():
    array = np.array([[1e3, -2e3], [1e-3, 2e-3]], np.float32)
    np.testing.assert_allclose(round_trip(array, "int8"), array, rtol=0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 4), (1,), (5, 1, 1, 1)])
def test_shapes_at_the_edge_and_zeros(precision, shape):
    zeros = np.zeros(shape, np.float32)
    np.testing.assert_array_equal(round_trip(zeros, precision), zeros, strict=True)
    ones = np.full(shape, -2.0, np.float32)
    np.testing.assert_allclose(round_trip(ones, precision), ones, rtol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "array",
    [
        np.array([True, False, True]),
        np.arange(-3, 3, dtype=np.int64).reshape(2, 3),
        np.array(7, dtype=np.uint8),
        np.arange(4, dtype=">i4"),
        np.array([], dtype=np.int32),
    ],
)
def test_other_numbers_go_as_they_are(array, precision):
    encoded, residual = encode({"n": array}, precision)
    found = decode(encoded)["n"]
    assert residual == {}
    assert found.dtype.name == array.dtype.name
    np.testing.assert_array_equal(found, array)


def test_no_array_becomes_larger_by_a_lower_precision():
    half = np.linspace(-1, 1, 100, dtype=np.float16)
    double = np.linspace(-1, 1, 100)
    for precision in ("float32", "float16"):
        np.testing.assert_array_equal(round_trip(half, precision), half, strict=True)
    assert round_trip(half, "int8").dtype == np.float16
    assert len(encode({"w": double}, "float32")[0]["w"].data) == 400
    np.testing.assert_allclose(round_trip(double, "float32"), double, atol=1e-7)
    assert round_trip(double, "float32").dtype == np.float64


def test_the_layout_in_memory_has_no_influence():
    array = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    for same in (np.asfortranarray(array), array.astype(">f4"), array.repeat(2, 1)[:, ::2]):
        for precision in PRECISIONS:
            assert encode({"w": same}, precision)[0] == encode({"w": array}, precision)[0]


@settings(relaxed, max_examples=30)
@given(
    shape=array_shapes(max_dims=3, max_side=5),
    seed=st.integers(0, 1000),
    size=st.floats(1e-6, 1e3),
    precision=st.sampled_from(["float16", "int8"]),
)
def test_with_error_feedback_the_sums_stay_together(shape, seed, size, precision):
    draw = np.random.default_rng(seed)
    sent, given_, residual, gaps, step = np.zeros(shape), np.zeros(shape), None, [], 0.0
    for _ in range(60):
        update = draw.normal(0, size, shape).astype(np.float32)
        encoded, residual = encode({"w": update}, precision, residual)
        sent, given_ = sent + decode(encoded)["w"], given_ + update
        step = max(step, float(np.abs(update).max()) / 127)
        gaps.append(float(np.abs(sent - given_).max()))
    # Half a step of the largest number that was ever sent, not half a step a round.
    assert max(gaps) <= step * 1.02
    np.testing.assert_allclose(given_ - sent, residual["w"], atol=size * 1e-4)


def test_an_update_below_half_a_step_arrives_by_error_feedback_alone():
    update = np.array([[1.0, 1e-3]], np.float32)
    with_feedback, without, residual = np.zeros((1, 2)), np.zeros((1, 2)), None
    for _ in range(100):
        encoded, residual = encode({"w": update}, "int8", residual)
        with_feedback += decode(encoded)["w"]
        without += decode(encode({"w": update}, "int8")[0])["w"]
    assert without[0, 1] == 0
    assert with_feedback[0, 1] == pytest.approx(0.1, abs=0.004)


def test_residuals_of_arrays_that_are_not_sent_wait():
    first = {"a": np.array([1, 1e-3], np.float32), "b": np.array([2, 3e-3], np.float32)}
    _, residual = encode(first, "int8")
    _, later = encode({"b": first["b"]}, "int8", residual)
    np.testing.assert_array_equal(later["a"], residual["a"])
    assert (later["b"] != residual["b"]).any()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(precision, bad):
    good = np.ones(3, np.float32)
    with pytest.raises(InputError, match=r"stem\.weight: NaN or infinities"):
        encode({"head": good, "stem.weight": np.array([1, bad], np.float32)}, precision)
    for dtype in ("float16", "float64"):
        with pytest.raises(InputError, match="w: NaN or infinities"):
            encode({"w": np.array([[bad]], dtype)}, precision)
    plain = Encoded(np.array([bad], "<f4").tobytes(), "float32", (1,), KINDS[0])
    with pytest.raises(InputError, match="w: NaN or infinities"):
        decode({"w": replace(plain, data=encode_plain(plain.data, 4))})


def encode_plain(data, width):
    return np.frombuffer(data, np.uint8).reshape(-1, width).T.tobytes()


def test_what_cannot_be_encoded_is_refused_by_name():
    ones = np.ones((2, 2), np.float32)
    with pytest.raises(InputError, match="'int4' is not one of float32, float16, int8"):
        encode({"w": ones}, "int4")
    for strange in (np.array([object()]), np.array(["a"]), np.ones(2, complex)):
        with pytest.raises(InputError, match="w: numbers of type"):
            encode({"w": strange}, "int8")
    with pytest.raises(InputError, match="w: numbers up to 1e\\+300 do not fit"):
        encode({"w": np.array([1e300])}, "float16")
    with pytest.raises(InputError, match=r"w: a residual of shape \(3,\)"):
        encode({"w": ones}, "int8", {"w": np.ones(3, np.float32)})
    with pytest.raises(InputError, match="w: NaN or infinities"):
        encode({"w": ones * FLOAT32.max}, "int8", {"w": ones * FLOAT32.max})


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_largest_float_does_not_overflow(precision):
    array = np.array([FLOAT32.max, -FLOAT32.max, 1], np.float32)
    np.testing.assert_allclose(round_trip(array, precision)[:2], array[:2], rtol=1e-3)


class TestHostileBytes:
    @pytest.fixture(params=PRECISIONS)
    def good(self, request):
        array = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
        return encode({"w": array}, request.param)[0]["w"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"kind": "numpy.ndarray"}, "w: a payload of kind 'numpy.ndarray'"),
            ({"kind": "terraguild.int8+zlib+zlib"}, "w: a payload of kind"),
            ({"dtype": "object"}, "w: numbers of type 'object'"),
            ({"dtype": "datetime64[s]"}, "w: numbers of type"),
            ({"shape": (20, 31)}, "w: a "),
            ({"shape": (20, 29)}, "w: a "),
            ({"shape": (-20, -30)}, "w: .* is not the shape"),
            ({"shape": (20.0, 30)}, "w: .* is not the shape"),
            ({"shape": (10**12, 10**12)}, "w: .* is not the shape"),
            ({"shape": (0, 2**40, 2**40, 2**40)}, "w: .* is not the shape"),
            ({"shape": (2**20, 2**20)}, "w: a "),
            ({"shape": (1,) * 70}, "w: .* is not the shape"),
            ({"data": b""}, "w: a "),
            ({"kind": "terraguild.plain+zlib", "data": b"no zlib"}, "w: a damaged payload"),
            ({"kind": "terraguild.int8", "dtype": "int64"}, "w: .* expected floats"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(self, good, changes, message):
        with pytest.raises(InputError, match=message):
            decode({"w": replace(good, **changes)})

    def test_bytes_that_are_cut_off_or_added_are_refused(self, good):
        for data in (good.data[:-1], good.data[: len(good.data) // 2], good.data + b"\0"):
            with pytest.raises(InputError, match="w: a "):
                decode({"w": replace(good, data=data)})

    def test_a_bomb_is_not_unpacked(self):
        bomb = Encoded(zlib.compress(bytes(10**7)), "float32", (4,), "terraguild.float32+zlib")
        with pytest.raises(InputError, match="does not end after the 16 bytes"):
            decode({"w": bomb})

    @pytest.mark.parametrize("scale", [np.nan, np.inf])
    def test_scales_that_are_not_finite_are_refused(self, scale):
        data = np.array([scale], "<f4").tobytes() + bytes([1, 1])
        with pytest.raises(InputError, match="w: NaN or infinities"):
            decode({"w": Encoded(data, "float32", (2,), "terraguild.int8")})

    def test_numbers_that_overflow_the_type_are_refused(self):
        data = encode_plain(np.array([1e30], "<f4").tobytes(), 4)
        with pytest.raises(InputError, match="w: NaN or infinities"):
            decode({"w": Encoded(data, "float16", (1,), "terraguild.float32")})

    @settings(relaxed, max_examples=200)
    @given(
        data=st.binary(max_size=200),
        dtype=st.sampled_from(["float16", "float32", "float64", "bool", "int64", "uint8", "x"]),
        shape=st.lists(st.integers(-1, 2**40) | st.integers(0, 8), max_size=5).map(tuple),
        kind=st.sampled_from([*KINDS, *(f"{kind}+zlib" for kind in KINDS), "?"]),
        compressed=st.booleans(),
    )
    def test_any_bytes_are_an_array_or_refused(self, data, dtype, shape, kind, compressed):
        one = Encoded(zlib.compress(data) if compressed else data, dtype, shape, kind)
        try:
            found = decode({"w": one})["w"]
        except InputError:
            return
        assert (found.dtype.name, found.shape) == (dtype, shape)
        assert np.isfinite(found).all()

    def test_flipped_bits_are_an_array_or_refused(self, good):
        draw = np.random.default_rng(0)
        for _ in range(200):
            data = bytearray(good.data)
            data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))
            try:
                found = decode({"w": replace(good, data=bytes(data))})["w"]
            except InputError:
                continue
            assert np.isfinite(found).all()


class TestLike:
    @pytest.fixture
    def weights(self):
        return {"a": np.ones((2, 3), np.float32), "n": np.array(4)}

    def test_what_is_expected_comes(self, weights):
        found = decode(encode(weights, "int8")[0], like=weights)
        assert list(found) == ["a", "n"]

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            ({"a": np.ones((2, 3), np.float32)}, "1 arrays came, 2 are expected; missing: n"),
            ({"b": np.ones(1), "a": np.ones(1), "n": np.array(4)}, "not expected: b"),
            ({"a": np.ones((3, 2), np.float32), "n": np.array(4)}, r"a: .*\(3, 2\) came.*\(2, 3\)"),
            ({"a": np.ones((2, 3)), "n": np.array(4)}, "a: float64 .* came, float32"),
        ],
    )
    def test_anything_else_is_refused_by_name(self, weights, other, message):
        with pytest.raises(InputError, match=message):
            decode(encode(other, "float16")[0], like=weights)


@pytest.mark.parametrize(("size", "spread"), [(1e-6, 0.0), (1e-3, 1.0)])
def test_bytes_of_an_update_of_a_real_network(size, spread):
    timm = pytest.importorskip("timm")
    draw = np.random.default_rng(0)
    update = {}
    for name, weight in timm.create_model("convnextv2_atto").state_dict().items():
        by_row = np.exp(draw.normal(0, spread, (weight.shape[0],) + (1,) * (weight.ndim - 1)))
        update[name] = (draw.normal(0, size, weight.shape) * by_row).astype(np.float32)
    share, error = {}, {}
    whole = sum(array.nbytes for array in update.values())
    norm = np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in update.values()))
    for precision in PRECISIONS:
        encoded, lost = encode(update, precision)
        share[precision] = sum(len(one.data) for one in encoded.values()) / whole
        rest = sum(np.square(array, dtype=np.float64).sum() for array in lost.values())
        error[precision] = np.sqrt(rest) / norm
    assert share["float32"] == 1
    assert share["float16"] < 0.48
    assert share["int8"] < 0.25
    assert error["float16"] < 3e-4
    assert error["int8"] < 0.01


def test_zeros_cost_almost_nothing():
    array = np.zeros((512, 512), np.float32)
    array[0, 0] = 1
    assert len(encode({"w": array}, "int8")[0]["w"].data) < array.nbytes / 300


def test_an_array_is_encoded_as_if_alone():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(2, 5, 4)).astype(np.float32)
    alone, _ = encode({"w": second}, "int8")
    beside, _ = encode({"v": first, "w": second}, "int8")
    assert alone["w"] == beside["w"]

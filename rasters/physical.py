"""Whether pixels can be what their bands say they measure."""

import numpy as np
from numpy.typing import NDArray

from rasters.image import RasterImage
from sensors.errors import InputError

SCALE_HINT = "set scale (and offset) where the image is opened, or in the sensor's file"
FEWEST = 64  # radar pixels: below that all of them may be bright targets
SAMPLE_SIDE = 256  # rows and columns looked at, evenly spread: the bulk of an image shows in them


def check_physical(image: RasterImage) -> None:
    """Refuse pixels in other units than their bands declare.

    The rules look at the bulk of the valid pixels, so that snow, cloud and sun glint (reflectance
    up to about 2), bright targets in radar, or a few broken pixels are never refused.

    Raises:
        InputError: If reflectance or brightness is plainly unscaled (values in the thousands where
            0..1 is declared), if temperature is not in kelvin, or if backscatter is not in
            decibels. The message says what to set.
    """
    step = -(-max(image.height, image.width, 1) // SAMPLE_SIDE)
    pixels, valid = image.pixels[:, ::step, ::step], image.valid[:, ::step, ::step]
    for quantity, check in (
        ("reflectance", _check_reflectance),
        ("brightness", _check_unit_range),
        ("temperature", _check_kelvin),
        ("backscatter", _check_decibels),
    ):
        sample = {
            band.name: pixels[index][valid[index]]
            for index, band in enumerate(image.bands)
            if band.quantity == quantity and valid[index].any()
        }
        if sample:
            check(sample)


Pixels = dict[str, NDArray[np.float32]]


def _check_reflectance(pixels: Pixels) -> None:
    _check_unit_range(pixels)
    values = np.concatenate(list(pixels.values()))
    if np.count_nonzero(values < -0.05) * 2 > values.size:
        raise InputError(
            f"reflectance has a median of {np.median(values):.3g} where 0..1 is declared: scale "
            f"and offset do not belong to these files; {SCALE_HINT}"
        )


def _check_unit_range(pixels: Pixels) -> None:
    for name, values in pixels.items():
        if np.count_nonzero(values > 10) * 4 <= values.size:
            continue
        median, largest = float(np.median(values)), float(values.max())
        raise InputError(
            f"band {name}: median {median:.6g} where 0..1 is declared, the stored numbers are not "
            f"scaled: set scale: {_usual_scale(median, largest)}"
        )


def _usual_scale(median: float, largest: float) -> str:
    if largest <= 255:
        return "0.00392157 (1/255)"
    if median < 7000:
        return "0.0001"
    return "0.0001, or 2.75e-05 with offset: -0.2 for Landsat Collection 2"


def _check_kelvin(pixels: Pixels) -> None:
    for name, values in pixels.items():
        median = float(np.median(values))
        if median < 170:
            raise InputError(
                f"band {name}: a temperature of {median:.4g} K (median) is not of this Earth; "
                "degrees Celsius need offset: 273.15"
            )
        if median > 1000:
            raise InputError(
                f"band {name}: median {median:.6g} where kelvin are declared, the stored numbers "
                f"are not scaled; {SCALE_HINT}"
            )


def _check_decibels(pixels: Pixels) -> None:
    values = np.concatenate(list(pixels.values()))
    names = ", ".join(pixels)
    positive = values[values > 0]
    if values.size < FEWEST or positive.size * 2 < values.size or (values < 0).any():
        return
    median = float(np.median(positive))
    if median < 1:
        raise InputError(
            f"{names}: no value is negative and the median is {median:.3g}: this looks like linear "
            "power, expected decibels; convert with 10 * log10(power)"
        )
    if median > 50:
        raise InputError(
            f"{names}: no value is negative and the median is {median:.4g}: these are digital "
            "numbers, expected calibrated sigma0 in decibels"
        )

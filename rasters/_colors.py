"""Colours for classes: the conventions of land-cover maps, and a stable palette for all else."""

import colorsys
import re
from collections.abc import Sequence

Color = tuple[int, int, int]

# First match wins; a keyword matches the start of a word.
_CONVENTIONS: tuple[tuple[str, Color], ...] = (
    ("unlabel|no.?data|unknown|other|background", (128, 128, 128)),
    ("flood|inundat", (60, 160, 255)),
    ("wetland|marsh|swamp|bog|mangrove|peat|salt", (70, 170, 160)),
    ("snow|ice|glacier|snowberg", (240, 245, 255)),
    ("cloud", (215, 215, 220)),
    ("shadow", (70, 70, 80)),
    ("permanent.?crop|orchard|vineyard|plantation|fruit|olive", (190, 130, 50)),
    ("pasture|meadow", (150, 210, 90)),
    ("crop|arable|agric|farm|cultivat|field", (235, 200, 80)),
    ("grass|herb|low.?veg|prairie|lawn", (170, 225, 110)),
    ("shrub|scrub|heath|moor|chaparral|transitional", (160, 150, 60)),
    ("conifer", (10, 80, 40)),
    ("forest|wood|tree|broad", (30, 115, 45)),
    ("highway|road|street|pavement|runway|railway|freeway|parking|track", (95, 95, 100)),
    ("industr|commerc|factory|mine|port|harbor", (165, 110, 140)),
    ("resident|built|urban|city|town|house|roof|building|settle|impervious", (205, 70, 60)),
    ("bare|barren|soil|rock|desert|dune|sand|beach|sparse", (190, 150, 110)),
    ("river|stream|canal", (40, 125, 200)),
    ("water|lake|sea|ocean|pond|lagoon|estuar", (30, 85, 170)),
)
# For names without a convention: hues far apart, none of them a convention's.
_PALETTE: tuple[Color, ...] = (
    (230, 25, 140),
    (0, 200, 200),
    (145, 30, 180),
    (250, 140, 20),
    (110, 90, 230),
    (120, 20, 40),
    (20, 190, 110),
    (255, 175, 190),
    (128, 128, 0),
    (0, 60, 110),
    (200, 255, 60),
    (220, 180, 255),
)


def class_colors(class_names: Sequence[str]) -> list[Color]:
    """One colour a class: water blue, forest dark green, crop ochre, built-up red and so on.

    Names that mean the same kind of cover get shades of its colour; names without a convention take
    turns in a fixed palette. All colours differ, and the same list always gets the same ones.

    Args:
        class_names: Names such as `AnnualCrop`, `dense_residential`, `Inland waters`.

    Returns:
        Red, green, blue 0..255 for every class.
    """
    colors: list[Color] = []
    fallback = 0
    for name in class_names:
        color = _conventional(name)
        if color is None:
            color = _PALETTE[fallback % len(_PALETTE)]
            fallback += 1
        colors.append(_distinct(color, colors))
    return colors


def _conventional(name: str) -> Color | None:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", name).lower()
    for pattern, color in _CONVENTIONS:
        if re.search(rf"\b(?:{pattern})", words):
            return color
    return None


def _distinct(color: Color, taken: Sequence[Color]) -> Color:
    """The colour, or the nearest free one of a fixed series of its shades."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in color))
    shade, step = color, 0
    while any(sum(abs(a - b) for a, b in zip(shade, other, strict=True)) < 24 for other in taken):
        step += 1
        shift = 0.09 * ((step + 1) // 2) * (1 if step % 2 else -1)
        turned = (hue + 0.02 * step) % 1
        light = 0.15 + (lightness + shift - 0.15) % 0.75
        red, green, blue = colorsys.hls_to_rgb(turned, light, max(saturation, 0.2))
        shade = (round(red * 255), round(green * 255), round(blue * 255))
    return shade

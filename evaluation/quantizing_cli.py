"""`quantize-specialist`: int8 for a registered specialist."""

import argparse
from dataclasses import asdict

import yaml

from evaluation.command_line import add_overrides
from sensors.errors import exit_on_input_error


@exit_on_input_error
def main() -> None:
    """Entry point of `quantize-specialist`."""
    options = _parser().parse_intermixed_args()
    from evaluation.quantizing_config import compose_quantize_config

    config = compose_quantize_config(options.source, options.overrides, options.config_dir)
    if options.cfg is not None:
        print(yaml.safe_dump(asdict(config), sort_keys=False), end="")
        return
    # Importing torch takes seconds, which a wrong word should not wait for.
    from evaluation.quantizing import quantize_registered

    quantize_registered(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quantize-specialist",
        description="Turn a registered specialist into a graph of OpenVINO in int8, measure both, "
        "and register the result under a name of its own. Nothing is trained. The source stays as "
        "it is. predict-map runs the result in place of the source, by its name.",
        epilog="example: quantize-specialist s2-landcover data=eurosat_ms && "
        "predict-map scene.tif --model s2-landcover-int8 --out map.tif",
    )
    parser.add_argument("source", metavar="NAME[@VERSION]", help="the registered specialist")
    add_overrides(
        parser,
        "Hydra overrides: data, samples, max_drop, name, version, registry, ...",
        "folder with configuration groups of your own",
    )
    return parser

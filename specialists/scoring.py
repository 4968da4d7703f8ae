"""The scores that finish a run: of the network and of the floors, on the same splits."""

import torch

from rasters import ChipDataset
from specialists.config import RunConfig
from specialists.data_config import DataConfig
from specialists.evaluate import evaluate
from specialists.floors import measure_floors
from specialists.job import console
from specialists.network import TaskNetwork
from specialists.report import print_scores
from specialists.run import RunFolder


def score_run(
    run: RunFolder,
    network: TaskNetwork,
    config: RunConfig,
    data: DataConfig,
    chips: dict[str, ChipDataset],
    device: torch.device,
    *,
    name: str = "specialist",
) -> None:
    """Score a network and the floors, print both, and write `metrics.json`.

    Args:
        run: The folder.
        network: The result, as it was written.
        config: Of the run.
        data: What it learned from.
        chips: Of every split; all but the training split are scored.
        device: Where to compute.
        name: What the network is called on the screen.
    """
    spec = network.spec
    unseen = [split for split in chips if split not in ("train", "selection")]
    scores = {
        split: evaluate(
            network,
            chips[split],
            batch_size=config.trainer.batch_size,
            device=device,
            title=f"Scores ({split})",
        )
        for split in ("selection", *unseen)
    }
    main_split = "test" if "test" in unseen else "selection"
    compared = list(dict.fromkeys([main_split, *unseen]))
    floors = measure_floors(
        spec, chips["train"], {split: chips[split] for split in compared}, config.seed
    )
    run.write_json(
        "metrics.json",
        {
            "selection": scores["selection"],
            "test": scores.get("test"),
            "floors": {floor: by_split[main_split] for floor, by_split in floors.items()},
            "other_tests": {
                split: {"specialist": scores[split]}
                | {floor: by_split[split] for floor, by_split in floors.items()}
                for split in data.other_tests
            },
        },
    )
    print_scores(console, spec, scores, floors, name=name)

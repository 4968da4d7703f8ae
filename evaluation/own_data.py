"""Whether data are of the bands and the task of a specialist."""

from rasters import ChipDataset
from sensors.errors import InputError
from specialists.spec import SpecialistSpec


def check_bands(name: str, spec: SpecialistSpec, data: str, chips: ChipDataset) -> None:
    """Refuse chips of other bands than a specialist's, or in another order.

    Args:
        name: Of the specialist, for the message.
        spec: Its bands and its task.
        data: Name of the data set.
        chips: Of it.

    Raises:
        InputError: Says what differs.
    """
    found, wanted = ([band.describe() for band in bands] for bands in (chips.bands, spec.bands))
    if found != wanted:
        raise InputError(
            f"data {data} has the bands {', '.join(found)}, and {name} takes {', '.join(wanted)}; "
            "name those to read, in this order, with data.bands"
        )


def check_task(name: str, spec: SpecialistSpec, data: str, chips: ChipDataset) -> None:
    """Refuse chips of another task than a specialist's; arguments and errors as there."""
    theirs = (chips.task, chips.multi_label, tuple(chips.classes))
    if theirs != (spec.task, spec.multi_label, spec.classes):
        raise InputError(
            f"data {data} is {chips.task} of {', '.join(chips.classes)}, and {name} does "
            f"{spec.task} of {', '.join(spec.classes)}; give the data that it was trained on, or "
            "name its classes in this order with data.classes"
        )

"""A specialist as a graph of OpenVINO, which a CPU runs faster than torch does.

The graph holds backbone and head. Choosing bands, normalising and padding stay here, and so do the
probabilities, so that a compiled specialist takes and gives what a specialist does.

Tensor shapes: B batch, C channels, H rows, W columns, K outputs.
"""

import json
import warnings
from collections import Counter, OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensors.bands import Channel
from sensors.errors import InputError
from specialists.backbone import pad_to_multiple
from specialists.compiled_tools import PRECISIONS, import_openvino, openvino_core
from specialists.header import METADATA_KEY, decode_header, encode_header
from specialists.heads import looks_at_image
from specialists.model import Specialist
from specialists.network import TaskNetwork
from specialists.spec import SpecialistSpec
from specialists.stem import MixingHead

GRAPH, CONSTANTS = "model.xml", "model.bin"
"""The two files of a graph, as OpenVINO names them."""
_INFO = "terraguild"  # our part of what a graph tells of itself
# A graph for one shape of batch takes about half the time (one image of 64 x 64 pixels), and a
# second to compile: it is worth that from the third batch of a shape on, for a few shapes at once.
_PATIENCE = 3
_KEPT = 4


class CompiledSpecialist(TaskNetwork):
    """Answers as the specialist that it was made of; there are no features to be had, and no head.

    It runs on the CPU, on any shape of batch, with as many threads as torch has at the first one.
    Shapes that come again are compiled for. Two threads must not share one.

    Args:
        spec: Of the specialist. One with a wavelength-conditioned stem is compiled for the bands
            that it knows: the graph needs all of them, and takes for each what serves it.
        model: The graph, an `openvino.Model`. `compile_specialist` makes one.
        precision: One of `PRECISIONS`: that of its convolutions and matrix products.

    Raises:
        InputError: If the graph does not take the spec's bands or give its answers.
    """

    spec: SpecialistSpec

    def __init__(self, spec: SpecialistSpec, model: Any, precision: str) -> None:  # noqa: ANN401
        super().__init__(spec)
        if precision not in PRECISIONS:
            raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        _check_graph(spec, model)
        self.precision = precision
        self.model = model
        self._any: Any = None
        self._fixed: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._seen: Counter[tuple[Any, ...]] = Counter()
        self.freeze()

    def inputs(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """What the graph is given for an image batch; arguments and errors as for `normalize`.

        Returns:
            The normalised image, padded; and, where the head looks at the image itself and not only
            at its pixels, the image as it was.
        """
        x_BCHW = self.normalize(x_BCHW, bands, valid)
        padded = pad_to_multiple(x_BCHW, coarsest_reduction(self.spec))
        return [padded, x_BCHW][: _count_inputs(self.spec)]

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Raw outputs, on the device of `x_BCHW`; arguments and errors as for `normalize`."""
        arrays = [part.cpu().numpy() for part in self.inputs(x_BCHW, bands, valid)]
        outputs = self._runner(arrays)(arrays, share_outputs=False)[0]
        found = torch.from_numpy(outputs).to(x_BCHW.device)
        if self.spec.is_per_pixel:
            height, width = x_BCHW.shape[-2:]
            found = found[..., :height, :width]
        return found

    def _runner(self, arrays: Sequence[Any]) -> Any:  # noqa: ANN401
        """The graph compiled for any shape, or for the very shapes of these inputs."""
        shapes = tuple(array.shape for array in arrays)
        if shapes in self._fixed:
            self._fixed.move_to_end(shapes)
            return self._fixed[shapes]
        self._seen[shapes] += 1
        if self._seen[shapes] < _PATIENCE:
            self._any = self._any or _compile(self.model)
            return self._any
        model = self.model.clone()
        names = (port.get_any_name() for port in model.inputs)
        model.reshape(dict(zip(names, map(list, shapes), strict=True)))
        self._fixed[shapes] = _compile(model)
        if len(self._fixed) > _KEPT:
            self._fixed.popitem(last=False)
        return self._fixed[shapes]

    def save(self, folder: Path | str) -> tuple[Path, Path]:
        """Write the graph; `load_compiled` is the inverse.

        Args:
            folder: Made if it is not there; it may not hold a graph yet.

        Returns:
            The graph's file, and that of its constants.

        Raises:
            InputError: If one of them is there already.
        """
        graph, constants = (Path(folder) / name for name in (GRAPH, CONSTANTS))
        for path in (graph, constants):
            if path.exists():
                raise InputError(f"{path} is there already; give another folder")
        Path(folder).mkdir(parents=True, exist_ok=True)
        about = {"precision": self.precision, **encode_header(self.spec)}
        self.model.set_rt_info(json.dumps(about, sort_keys=True), [_INFO])
        import_openvino().save_model(self.model, graph, compress_to_fp16=False)
        return graph, constants


def compile_specialist(specialist: Specialist) -> CompiledSpecialist:
    """The specialist in OpenVINO, in float32: the same answers up to rounding.

    Args:
        specialist: On any device; it is left as it is.

    Raises:
        InputError: If OpenVINO is not installed.
    """
    openvino = import_openvino()
    spec = specialist.spec
    twin = deepcopy(specialist).cpu().freeze()
    edge = coarsest_reduction(spec)
    example = torch.zeros(1, len(spec.bands), edge, edge)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing speaks of sizes, which are padded for the graph
        model = openvino.convert_model(_Graph(twin), example_input=(example,) * _count_inputs(spec))
    return CompiledSpecialist(spec, model, PRECISIONS[0])


def load_compiled(graph: Path | str, constants: Path | str | None = None) -> CompiledSpecialist:
    """Read what `CompiledSpecialist.save` wrote; it may come from anywhere.

    Args:
        graph: The folder of both files, or the graph's own file.
        constants: The file of its constants; by default the one beside the graph.

    Raises:
        InputError: If OpenVINO is not installed, a file is missing or damaged, or the graph is not
            that of a specialist.
    """
    graph = Path(graph)
    graph = graph / GRAPH if graph.is_dir() else graph
    constants = graph.with_suffix(".bin") if constants is None else Path(constants)
    for path in (graph, constants):
        if not path.is_file():
            raise InputError(f"{path} is not a file; expected {GRAPH} and {CONSTANTS} of a graph")
    try:
        model = openvino_core().read_model(graph, constants)
        about = json.loads(model.get_rt_info([_INFO]).astype(str))
        precision, encoded = about["precision"], about[METADATA_KEY]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{graph}: not the whole graph of a specialist ({error!s:.300}); "
            "fetch or compile it again"
        ) from error
    spec = decode_header({METADATA_KEY: encoded}, graph)
    try:
        return CompiledSpecialist(spec, model, precision)
    except InputError as error:
        raise InputError(f"{graph}: {error}") from error


def coarsest_reduction(spec: SpecialistSpec) -> int:
    """By how much a specialist's coarsest level is smaller than its image: three halvings."""
    return 8 * spec.stem_stride


class _Graph(nn.Module):
    """Backbone and head, from padded images; what is traced."""

    def __init__(self, specialist: Specialist) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Identity()
        self.mixer: nn.Module = nn.Identity()
        self.backbone = specialist.backbone
        self.head = specialist.head
        if specialist.spec.takes_any_known:
            self.stem = specialist.stem.as_convolution(specialist.bands)
        if isinstance(specialist.head, MixingHead):
            self.mixer = specialist.head.mixer.as_convolution(specialist.bands)
            self.head = specialist.head.reader

    def forward(self, padded_BCHW: Tensor, image_BCHW: Tensor | None = None) -> Tensor:
        image_BCHW = padded_BCHW if image_BCHW is None else image_BCHW
        outputs: Tensor = self.head(self.backbone(self.stem(padded_BCHW)), self.mixer(image_BCHW))
        return outputs


def _count_inputs(spec: SpecialistSpec) -> int:
    """2 where the head takes statistics of the image, which padding would change; else 1."""
    return 2 if looks_at_image(spec) and not spec.is_per_pixel else 1


def _compile(model: Any) -> Any:  # noqa: ANN401
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # By default CPUs that can compute in bfloat16 do, and answer otherwise than those that
        # cannot.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino_core().compile_model(model, "CPU", settings)


def _check_graph(spec: SpecialistSpec, model: Any) -> None:  # noqa: ANN401
    """Refuse a graph whose inputs and output are not those of the spec."""
    channels, wanted = len(spec.bands), _count_inputs(spec)
    dimensions = 4 if spec.is_per_pixel else 2
    taken = [_shape(port) for port in model.inputs]
    given = [_shape(port) for port in model.outputs]
    fits = len(taken) == wanted and len(given) == 1
    fits = fits and all(len(shape) == 4 and shape[1] in (channels, -1) for shape in taken)
    fits = fits and len(given[0]) == dimensions
    if spec.classes:
        fits = fits and given[0][1] in (len(spec.classes), -1)
    if not fits:
        raise InputError(
            f"a graph of inputs {taken} and outputs {given}; that of this specialist takes "
            f"{wanted} image batches of {channels} bands and gives one output of {dimensions} "
            f"dimensions, {len(spec.classes) or 'any number of'} values each"
        )


def _shape(port: Any) -> list[int]:  # noqa: ANN401
    """Shape of an input or output, -1 for what may be any; empty where its rank is not known."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return []
    return [-1 if edge.is_dynamic else edge.get_length() for edge in shape]

"""A run as ONNX, for ONNX Runtime and whatever else reads it; as OpenVINO; and as a program of torch.export.

The file holds the network (`sumi.interop.plain`) for any size of batch, and in its metadata, under ``sumi``, what a
sampler must know. What is written is run and compared with the network itself: float32 differs by at most `CLOSE` of
the output's size, half precision by `CLOSE_HALF`. In half precision sines and cosines of the noise level, whose phases
take more than 11 bits, stay float32.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch import Tensor, nn

from sumi.errors import InputError, SumiError, writing
from sumi.interop.plain import PlainNetwork, about, example, traceable
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.space import LatentSpace

CLOSE: Final = 1e-5
CLOSE_HALF: Final = 3e-2
_ABOVE: Final = {"Sin", "Cos"}
"""What is computed in float32, with all that it is computed of."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Within this context the exporter says nothing of operators that are not used."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def need(name: str) -> Any:
    """The module of an extra. Raises InputError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"to: needs {error.name or name}, which is not installed; pip install 'sumi[interop]'"
        ) from None


def write_onnx(model: DiffusionModel, file: Path, *, half: bool = False) -> list[str]:
    """Write ``file``, and FILE.decoder.onnx of a model of latents; returns what was compared. Raises InputError."""
    network = PlainNetwork(model.gaussian_denoiser(), model.space.shape).cpu().eval()
    names = ["x", "c_noise", *network.names]
    _export(network, example(model, 3), names, file, half, {"sumi": json.dumps(about(model))})
    stated = [_compared(network, [example(model, 1), example(model, 2)], names, file, half)]
    match model.space:
        case LatentSpace() as space:
            decoder, z = _Decoder(space).cpu().eval(), torch.randn(3, *space.shape)
            second = file.with_suffix(f".decoder{file.suffix}")
            _export(decoder, (z,), ["z"], second, half, {})
            stated.append(_compared(decoder, [(z,)], ["z"], second, half))
        case _:
            pass
    return stated


class _Decoder(nn.Module):
    """Pictures of standardised latents."""

    def __init__(self, space: LatentSpace) -> None:
        super().__init__()
        self.autoencoder, self.scale = space.autoencoder, space.scale

    def forward(self, z: Tensor) -> Tensor:
        return self.autoencoder.decode(self.scale.inverse(z))


def _export(
    network: nn.Module, inputs: tuple[Tensor, ...], names: list[str], file: Path, half: bool, notes: dict[str, str]
) -> None:
    onnx = need("onnx")
    need("onnxscript")
    with traceable(), _quiet():
        program = torch.onnx.export(
            network,
            inputs,
            dynamo=True,
            verbose=False,
            input_names=names,
            output_names=["output"],
            dynamic_shapes=_dynamic(network, len(inputs)),
        )
    assert program is not None
    proto = program.model_proto
    if half:
        convert = need("onnxruntime.transformers.float16").convert_float_to_float16
        proto = convert(proto, keep_io_types=True, node_block_list=_precise(proto.graph), disable_shape_infer=True)
    onnx.helper.set_model_props(proto, notes)
    file.parent.mkdir(parents=True, exist_ok=True)
    with writing(file):
        onnx.save(proto, file)


def _dynamic(network: nn.Module, count: int) -> tuple[Any, ...]:
    """The first dimension of each input is the batch."""
    each = {0: torch.export.Dim("batch", min=1, max=1 << 16)}
    parts = ((each,) * (count - 2),) if count > 2 else ()
    return (each, each, *parts) if isinstance(network, PlainNetwork) else (each,)


def _precise(graph: Any) -> list[str]:
    """The names of the nodes that sines and cosines are computed by and of."""
    made = {output: node for node in graph.node for output in node.output}
    waiting, found = [node for node in graph.node if node.op_type in _ABOVE], dict[str, None]()
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = None
            waiting += [made[name] for name in node.input if name in made]
    return list(found)


def _compared(network: nn.Module, batches: list[tuple[Tensor, ...]], names: list[str], file: Path, half: bool) -> str:
    session = need("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(given: list[Any]) -> Any:
        return session.run(None, dict(zip(names, given, strict=True)))[0]

    return compared(network, batches, run, file, half)


def compared(network: nn.Module, batches: list[tuple[Tensor, ...]], run: Any, file: Path, half: bool = False) -> str:
    """How far what ``run`` makes is from the network, in words. Raises SumiError where that is too far."""
    most = 0.0
    for batch in batches:
        with torch.no_grad():
            wanted = network(*batch)
        found = torch.as_tensor(run([part.numpy() for part in batch]))
        most = max(most, float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3)))
    if not most <= (CLOSE_HALF if half else CLOSE):
        raise SumiError(f"{file}: differs from the network by {most:.1e} of its size; use another format")
    return f"{file.name} differs from the network by at most {most:.1e} of its size, in batches of 1 and more"


def write_openvino(model: DiffusionModel, file: Path) -> list[str]:
    """Write ``file`` (.xml, with .bin) of the network; returns what was compared. Raises InputError."""
    openvino = need("openvino")
    network = PlainNetwork(model.gaussian_denoiser(), model.space.shape).cpu().eval()
    names = ["x", "c_noise", *network.names]
    with TemporaryDirectory(prefix="sumi-") as temporary:
        between = Path(temporary) / "network.onnx"
        _export(network, example(model, 3), names, between, False, {})
        found = openvino.convert_model(between)
    found.set_rt_info(json.dumps(about(model)), ["sumi"])
    file.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(found, file, compress_to_fp16=False)
    ready = openvino.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(given: list[Any]) -> Any:
        return ready(dict(zip(names, given, strict=True)))[0]

    return [compared(network, [example(model, 1), example(model, 2)], run, file)]


def write_program(model: DiffusionModel, file: Path) -> list[str]:
    """Write ``file`` (.pt2), a program of torch.export; returns what was compared. Raises InputError."""
    network = PlainNetwork(model.gaussian_denoiser(), model.space.shape).cpu().eval()
    inputs = example(model, 3)
    with traceable(), _quiet():
        program = torch.export.export(network, inputs, dynamic_shapes=_dynamic(network, len(inputs)))
    file.parent.mkdir(parents=True, exist_ok=True)
    with writing(file), _quiet():
        torch.export.save(program, file, extra_files={"sumi.json": json.dumps(about(model))})
    ready = torch.export.load(file).module()

    def run(given: list[Any]) -> Tensor:
        with torch.no_grad():
            return ready(*map(torch.as_tensor, given))

    return [compared(network, [example(model, 1), example(model, 2)], run, file)]

"""Seconds of one evaluation of a run's network by each form that it is exported to, side by side on one thread.

    python benchmarks/exported.py [RUN] [--repeats 30]

Eager PyTorch, ONNX Runtime (float32 and half precision), OpenVINO and torch.export, in turns, at batches of 1 and 16:
the median, and how many times faster than eager it is.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

torch.set_num_threads(1)

import onnxruntime
import openvino

import sumi
from sumi.interop.onnx import write_onnx, write_openvino, write_program
from sumi.interop.plain import PlainNetwork, example


def forms(model: sumi.DiffusionModel, folder: Path) -> dict[str, Callable[..., object]]:
    """Each form by its name: a function of the network's inputs."""
    network = PlainNetwork(model.gaussian_denoiser(), model.space.shape).eval()
    names = ["x", "c_noise", *network.names]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    found: dict[str, Callable[..., object]] = {"eager": network}
    for name, half in (("onnx", False), ("onnx, half", True)):
        file = folder / f"{half}.onnx"
        write_onnx(model, file, half=half)
        session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
        found[name] = lambda *given, s=session: s.run(None, {n: g.numpy() for n, g in zip(names, given, strict=True)})
    write_openvino(model, folder / "network.xml")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    ready = openvino.compile_model(folder / "network.xml", "CPU", options)
    found["openvino"] = lambda *given: ready({n: g.numpy() for n, g in zip(names, given, strict=True)})
    write_program(model, folder / "network.pt2")
    found["program"] = torch.export.load(folder / "network.pt2").module()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?", default="digits")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    model = sumi.load(options.run, device="cpu")
    with TemporaryDirectory() as temporary, torch.inference_mode():
        functions = forms(model, Path(temporary))
        for count in (1, 16):
            given, seconds = example(model, count), {name: list[float]() for name in functions}
            for _ in range(options.repeats + 3):
                for name, function in functions.items():
                    begun = time.perf_counter()
                    function(*given)
                    seconds[name].append(time.perf_counter() - begun)
            medians = {name: statistics.median(each[3:]) for name, each in seconds.items()}
            for name, median in medians.items():
                print(f"batch {count:2}  {name:12} {1e3 * median:8.2f} ms  {medians['eager'] / median:5.2f}x")


if __name__ == "__main__":
    main()

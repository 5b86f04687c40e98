"""Measures all laws."""

from collections.abc import Iterator

import torch

from sumi.check import likelihood, process, sampling
from sumi.check.law import Law


@torch.inference_mode()
def check() -> Iterator[tuple[str, list[Law]]]:
    """The parts of the system, each with its laws."""
    yield "forward process and parameterizations", process.laws()
    yield "samplers", sampling.laws()
    yield "bounds and likelihoods", likelihood.laws()

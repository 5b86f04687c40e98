"""What the tests share: a network of features is trained once in a session for the same images, labels and seed.

`tests/metrics/features/test_learned.py` trains its own, and shows that the same images and seed give the same network.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

USERS = (
    "sumi.evaluation.audio",
    "sumi.evaluation.images",
    "sumi.explain.recognition",
    "sumi.objectives.reconstruction",
)


def once(train: Callable[..., Any], sizes: Callable[[], tuple[int, ...]], kept: Path) -> Callable[..., Any]:
    """``train(images, labels …)``, which remembers its networks, and keeps them in a folder that processes share.

    ``sizes()``: of its training, which tests replace.
    """
    known: dict[str, Any] = {}

    def trained(*data: Any, progress: Callable[[int, int], None] | None = None, **options: Any) -> Any:
        each = (hashlib.sha256(part.detach().cpu().contiguous().numpy()).hexdigest() + str(part.shape) for part in data)
        key = " ".join([*each, str(sorted(options.items())), str(sizes())])
        if key not in known:
            file = kept / f"{train.__name__}-{hashlib.sha256(key.encode()).hexdigest()}"
            if file.exists():
                known[key] = import_module("sumi.metrics.features.network").FeatureNetwork.load(file)
            else:
                known[key] = train(*data, progress=progress, **options)
                part = file.with_name(f"{file.name}.{os.getpid()}")
                known[key].save(part)
                part.replace(file)
        elif progress is not None:
            progress(sizes()[0], sizes()[0])
        return known[key]

    return trained


@pytest.fixture(scope="session", autouse=True)
def features_learned_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if "sumi" not in sys.modules:  # tests of the files alone
        yield
        return
    learned, torch = import_module("sumi.metrics.features.learned"), import_module("torch")

    def sizes() -> tuple[int, ...]:
        return learned.FEWEST_STEPS, learned.MOST_STEPS, learned.PASSES, torch.get_num_threads()

    own = tmp_path_factory.getbasetemp()
    kept = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "networks"  # of this session alone
    kept.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("train_classifier", "train_rotations"):
            shared = once(getattr(learned, name), sizes, kept)
            for user in USERS:
                patch.setattr(f"{user}.{name}", shared, raising=False)
        yield


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    """Two workers with two threads each on two cores wait for one another, and take a multiple of the time."""
    if "torch" not in sys.modules:
        yield
        return
    torch = import_module("torch")
    before = torch.get_num_threads()
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before, "the test leaves another number of threads: torch.set_num_threads()"

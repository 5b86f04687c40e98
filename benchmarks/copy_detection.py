"""Does the search for copies cry wolf, and what does it find? Two rules, over many draws of images.

    python benchmarks/copy_detection.py

A part of the built-in digits, and of the pieces of clothing, is called training images. Samples and held-out images
are drawn again and again from the others, so no sample is a copy; then a share of them is replaced by copies: exact,
moved by one pixel in any of eight directions, mirrored and moved, or with Gaussian noise of 0.2 (pixels lie in -1 to
1). Samples may be new and yet unlike real images: so there are also blurred real images, and samples of a VAE that
learned, for a short time, from none of the images in question. How often does a rule say that samples are copies?

    in place      near copies in pixels and in features, each with p < 0.01 and twice the expected share
    by own scale  copies in place, moved or mirrored, by the training image's own distances, with p < 0.01
                  (sumi/metrics/copies.py)

Runs are kept in runs/copy-detection and not trained again. One thread.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from copying import copies
from torch import Tensor
from torch.nn import functional as F

from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load as load_data
from sumi.data.pixels import PixelRange
from sumi.metrics.copies import copy_ratios, copying, nearest
from sumi.metrics.features.learned import train_classifier
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.intervals import share
from sumi.models.model import GenerativeModel
from sumi.models.run import load
from sumi.training_run import train

FOLDER = Path("runs/copy-detection")
DRAWS, COPIES, STEPS, SIGNIFICANT = 500, 300, 400, 0.01
SHARES = (0.02, 0.05)


@dataclass(frozen=True)
class Case:
    """``held_out``: share of the data that no model learns from; so many of it are training images here, and so many
    samples and held-out images are drawn from the rest."""

    data: str
    held_out: float
    training: int
    samples: int
    real: int


CASES = (Case("digits", 0.75, 750, 400, 155), Case("fashion", 0.5, 3000, 1000, 600))


@dataclass(frozen=True)
class Near:
    """How near each of N images is to a training image: in pixels, in features, and by that image's own distances."""

    pixels: Tensor
    features: Tensor
    ratio: Tensor

    def __getitem__(self, chosen: Tensor) -> "Near":
        return Near(*(x[chosen] for x in vars(self).values()))

    def instead(self, other: "Near") -> "Near":
        """The first of these replaced by ``other``."""
        return Near(
            *(torch.cat([x, y[len(x) :]]) for x, y in zip(vars(other).values(), vars(self).values(), strict=True))
        )


def rules(samples: Near, real: Near) -> tuple[bool, bool]:
    """Whether the samples are called copies: in place, and by own scale."""
    found = copying(samples.pixels, real.pixels), copying(samples.features, real.features)
    in_place = all(c.p_value < SIGNIFICANT and c.share >= 2 * c.expected for c in found)
    return in_place, copying(samples.ratio, real.ratio).p_value < SIGNIFICANT


def images_of(dataset: ImageDataset) -> Tensor:
    return PixelRange(dataset.levels).to_model(dataset.images)


def sampled(case: Case, count: int) -> Tensor:
    """So many samples of a VAE that was trained on the part that is not held out."""
    run = FOLDER / case.data
    if not (run / "trained").exists():  # written at the end: a run that was stopped is made anew
        shutil.rmtree(run, ignore_errors=True)
        settings = ("training.sample_every=0", f"data.held_out={case.held_out}")
        train("vae", data=case.data, out=run, steps=STEPS, settings=settings)
        (run / "trained").touch()
    model = load(run)
    assert isinstance(model, GenerativeModel)
    return model.pixels.to_model(model.pixels.to_levels(model.sample(count)))


def near(images: Tensor, training: Tensor, network: FeatureNetwork) -> Near:
    features = nearest(network.features(images), network.features(training)).distance
    return Near(nearest(images, training).distance, features, copy_ratios(images, training).ratio)


def alarms(case: Case, real: Near, honest: Near, planted: Near | None = None, count: int = 0) -> Tensor:
    """How often, of ``DRAWS``, either rule calls samples copies (2,).

    They are rows of ``honest``, which has one for each of ``real``, ``count`` of them replaced by ``planted`` copies;
    held-out images are other rows of ``real``.
    """
    generator, found = torch.Generator().manual_seed(1), torch.zeros(2, dtype=torch.int64)
    for _ in range(DRAWS):
        order = torch.randperm(len(real.ratio), generator=generator)
        samples = honest[order[case.real :][: case.samples]]
        if planted is not None:
            samples = samples.instead(planted[torch.randperm(COPIES, generator=generator)[:count]])
        found += torch.tensor(rules(samples, real[order[: case.real]]))
    return found


def main() -> None:
    torch.set_num_threads(1)
    print("| data | samples | in place, % | by own scale, % |\n" + "| --- " * 4 + "|")
    for case in CASES:
        _, rest = load_data(DataConfig(case.data)).split(case.held_out)
        assert isinstance(rest, ImageDataset)
        assert rest.labels is not None
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(rest), generator=generator)
        images, labels = images_of(rest)[order], torch.from_numpy(rest.labels)[order]
        training, new = images[: case.training], images[case.training :]
        classes = len(rest.label_names)
        network = train_classifier(training, labels[: case.training], classes=classes, seed=0)
        real = near(new, training, network)
        blurred = F.avg_pool2d(F.pad(new, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        rows = {
            "new real images": alarms(case, real, real),
            "new images, blurred": alarms(case, real, near(blurred, training, network)),
            "of a VAE of other images": alarms(case, real, near(sampled(case, len(new)), training, network)),
        }
        copied = copies(training, COPIES, generator)
        copied["mirrored and moved"] = copied["moved"].flip(3)
        for name, planted in copied.items():
            found = near(planted, training, network)
            for part in SHARES:
                count = round(part * case.samples)
                rows[f"{100 * part:.0f} % of them copies, {name}"] = alarms(case, real, real, found, count)
        for name, counts in rows.items():
            print(f"| {case.data} | {name} | {' | '.join(shown(int(count)) for count in counts)} |", flush=True)


def shown(count: int) -> str:
    e = share(count, DRAWS)
    return f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]"


if __name__ == "__main__":
    main()

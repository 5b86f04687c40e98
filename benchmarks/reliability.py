"""What a run survives: kills, faults of the disk, flipped bits, odd and hostile files, long use, vanishing folders.

    python -m benchmarks.reliability [PART …] [--size N]

Each part prints what was tried and what came of it. ``--size`` scales how much is tried: 1 takes about two minutes on
one thread, and gives the figures of docs/reliability.md.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import sumi
from sumi.data.config import DataConfig
from sumi.data.load import load as load_data
from sumi.errors import InputError, SumiError
from sumi.models.diffusion.model import DiffusionModel
from sumi.training.checkpoint import load_checkpoint
from sumi.training.saving import save_checkpoint
from tests.training.test_checkpoint import Crash, Disk, scenes, versions

SETTINGS = (
    *("network.widths=16", "network.blocks=1", "network.embedding=16", "sampling.steps=4"),
    *("training.batch_size=8", "training.checkpoint_every=10", "training.sample_every=0", "training.log_every=10"),
    "training.check_every=100",
)


def tiny(out: Path, steps: int, **options: Any) -> DiffusionModel:
    """A small DDPM of the built-in digits."""
    return sumi.train("ddpm", data="digits", steps=steps, out=out, settings=SETTINGS, device="cpu", **options)


def outcome(action: Callable[[], Any]) -> str:
    """ "done", "one line" for an error of sumi's in one line, or the name of any other exception."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            action()
    except SumiError as error:
        return "one line" if "\n" not in str(error) else "several lines"
    except Exception as error:
        return type(error).__name__
    return "done"


def counted(outcomes: list[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(Counter(outcomes).items()))


def kills(folder: Path, size: int) -> None:
    """`kill -9` of a training at random moments, resumed until it ends as an undisturbed one does."""
    steps, chance = 80, random.Random(0)
    begun = time.perf_counter()
    tiny(folder / "whole", steps)
    spent = time.perf_counter() - begun
    whole, killed, runs, same = load_checkpoint(folder / f"whole/checkpoints/{steps:08d}"), 0, 0, 0
    while killed < 40 * size:
        runs += 1
        while True:
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    tiny(folder / f"{runs}", steps, resume=True)
                    os._exit(0)
                os._exit(1)
            if killed < 40 * size:
                time.sleep(chance.uniform(0, 1.5 * spent))
                os.kill(child, signal.SIGKILL)
            if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                killed += 1
            else:
                break
        end = load_checkpoint(folder / f"{runs}/checkpoints/{steps:08d}")
        pairs = [(getattr(end, part), getattr(whole, part)) for part in ("model", "ema", "optimizer")]
        same += all(a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in b) for a, b in pairs)
    print(f"kills: {killed} in {runs} runs of {steps} steps; {same} runs ended bit for bit as an undisturbed one")


def crashes(folder: Path, size: int) -> None:
    """Every call to the disk during a save, with its removals, stops or fails once; what is left must load."""
    del size
    tried, lost = 0, 0
    for start, saved in scenes(folder / "scenes").values():
        before = versions(start) if start.exists() else {}
        for failure in ("crash", "error", "full"):
            for at in range(1, 1000):
                trial = folder / "trial" / "checkpoints"
                shutil.rmtree(trial.parent, ignore_errors=True)
                trial.parent.mkdir()
                if start.exists():
                    shutil.copytree(start, trial)
                disk = Disk(failure, at)
                with contextlib.suppress(Crash, SumiError), disk.mounted():
                    save_checkpoint(trial, saved, keep=1)
                if len(disk.calls) < at:
                    break
                after = versions(trial)
                tried += 1
                lost += not (after == before or after.get(saved.step) == saved.state["version"])
    print(f"crash points: {tried} calls stopped, failed or without room, {lost} lost a checkpoint")


def bits(folder: Path, size: int) -> None:
    """One flipped bit in each file of a run: `sumi.load` names the file, or the model is the same."""
    run, chance = folder / "run", random.Random(0)
    model = tiny(run, 10)
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}

    def flipped(file: Path) -> str:
        raw = file.read_bytes()
        place = chance.randrange(8 * len(raw))
        changed = bytearray(raw)
        changed[place // 8] ^= 1 << place % 8
        file.write_bytes(changed)
        try:
            found = sumi.load(run, device="cpu")
            load_checkpoint(run / "checkpoints/00000010")
        except InputError:
            return "found"
        finally:
            file.write_bytes(raw)
        state = found.module.state_dict()
        same = found.description == model.description and all(torch.equal(state[k], v) for k, v in weights.items())
        return "without effect" if same else "unnoticed"

    for file in [run / "config.json", *sorted((run / "checkpoints/00000010").iterdir())]:
        print(f"bits: {file.name}: {counted([flipped(file) for _ in range(200 * size)])}")


def ramp(channels: int) -> np.ndarray:
    """uint8 (16, 16, channels): every value differs from its neighbours."""
    rows, columns, channel = np.mgrid[:16, :16, :channels]
    return ((rows * 16 + columns) * (channel + 1) % 256).astype(np.uint8)


def variants() -> dict[str, tuple[np.ndarray, Callable[[Path], None], str]]:
    """By name: the pixels (16, 16, C) that must be read, what writes the file, and its suffix."""
    grey, colour = ramp(1)[..., 0], ramp(3)
    of_grey, of_colour = Image.fromarray(grey), Image.fromarray(colour)
    opaque = Image.fromarray(np.dstack([colour, np.full((16, 16), 255, np.uint8)]))
    palette = of_colour.quantize(32)
    bilevel = of_grey.point(lambda v: 255 * (v > 127)).convert("1")
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    flat = np.broadcast_to(np.array([200, 90, 30], np.uint8), (16, 16, 3))
    found: dict[str, tuple[np.ndarray, Callable[[Path], None], str]] = {}

    def add(name: str, pixels: np.ndarray, image: Image.Image, suffix: str, **options: Any) -> None:
        found[name] = pixels, lambda path: image.save(path, **options), suffix

    for suffix in ("png", "bmp", "tif", "ppm", "webp"):
        add(f"colour {suffix}", colour, of_colour, suffix, **({"lossless": True} if suffix == "webp" else {}))
    for suffix in ("png", "bmp", "tif", "pgm", "gif"):
        add(f"grey {suffix}", grey, of_grey, suffix)
    for suffix in ("png", "tif", "gif"):
        add(f"palette {suffix}", np.array(palette.convert("RGB")), palette, suffix)
    for suffix in ("png", "tif", "bmp"):
        add(f"1 bit {suffix}", np.array(bilevel.convert("L")), bilevel, suffix)
        add(f"opaque RGBA {suffix}", colour, opaque, suffix)
    for suffix in ("png", "tif"):
        add(f"16 bit grey {suffix}", grey, deep, suffix)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        add(f"tif {compression}", colour, of_colour, "tif", compression=compression)
    add("grey with alpha png", grey, of_grey.convert("LA"), "png")
    add("CMYK jpg", flat, Image.fromarray(flat).convert("CMYK"), "jpg", quality=100)
    for progressive in (False, True):
        add(f"jpg {progressive=}", flat, Image.fromarray(flat), "jpg", quality=100, progressive=progressive)
    turns = (None, 0, 3, 1, 5, 4, 6, 2)  # the transposition that undoes each orientation of Exif
    for orientation, turn in enumerate(turns, start=1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        seen = of_colour if turn is None else of_colour.transpose(Image.Transpose(turn))
        add(f"orientation {orientation} png", np.array(seen), of_colour, "png", exif=exif)
        add(f"orientation {orientation} webp", np.array(seen), of_colour, "webp", exif=exif, lossless=True)
    return found


def pictures(folder: Path, size: int) -> None:
    """Each way to store one picture, read through `sumi.data`: within 1/255 of its pixels, or refused."""
    del size
    outcomes: dict[str, list[str]] = {"right": [], "refused": [], "wrong": []}
    for name, (pixels, write, suffix) in variants().items():
        place = folder / name.replace(" ", "-")
        place.mkdir()
        for copy in ("a", "b"):  # a data set has two images or more
            write(place / f"{copy}.{suffix}")
        try:
            read = load_data(DataConfig(str(place), size=16)).images[0].transpose(1, 2, 0).astype(int)
        except InputError:
            outcomes["refused"].append(name)
            continue
        right = np.abs(read - pixels.reshape(16, 16, -1)).max() <= 1
        outcomes["right" if right else "wrong"].append(name)
    for found, names in outcomes.items():
        print(f"pictures: {found}: {len(names)}{'' if found == 'right' else f' {names}'}")


def hostile(folder: Path, size: int) -> None:
    """Files cut short, drawn out and overwritten at random among good ones: read, or skipped with the reason."""
    chance = random.Random(0)
    sources = []
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        stream = io.BytesIO()
        Image.fromarray(ramp(3)).save(stream, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
        sources.append((suffix, stream.getvalue()))
    outcomes, read, skipped = [], 0, 0
    for number in range(20 * size):
        place = folder / str(number)
        place.mkdir()
        for good in range(2):
            Image.fromarray(ramp(3)).save(place / f"good{good}.png")
        for index in range(50):
            suffix, raw = chance.choice(sources)
            spoiled = bytearray(raw[: chance.randrange(len(raw) + 1)] if chance.random() < 0.4 else raw)
            for _ in range(chance.randrange(20) if spoiled else 0):
                spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
            if chance.random() < 0.1:
                spoiled += chance.randbytes(1000)
            (place / f"{index}.{suffix}").write_bytes(spoiled)

        def read_folder(place: Path = place) -> None:
            nonlocal read, skipped
            data = load_data(DataConfig(str(place), size=16))
            read, skipped = read + len(data) - 2, skipped + len(data.skipped)

        outcomes.append(outcome(read_folder))
    print(f"hostile files: {50 * len(outcomes)}, {read} read and {skipped} skipped; folders {counted(outcomes)}")


def resident() -> float:
    """Memory of this process in KiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


def slope(at: list[int], memory: list[float]) -> float:
    """KiB that each unit of ``at`` costs, after the first third, in which pools fill."""
    late = len(at) // 3
    return float(np.polyfit(at[late:], memory[late:], 1)[0])


def growth(folder: Path, size: int) -> None:
    """Memory by step of a training and by call of `sample`."""
    steps, calls = 2000 * size, 200 * size
    seen: list[tuple[int, float]] = []
    model = tiny(folder / "run", steps, progress=lambda p: seen.append((p.step, resident())))
    per_step = slope(*map(list, zip(*seen, strict=True)))
    after = []
    for seed in range(calls):
        model.sample(4, seed=seed)
        after.append(resident())
    per_call = slope(list(range(calls)), after)
    print(f"memory: {per_step:+.2f} KiB a step over {steps} steps, {per_call:+.2f} KiB a sample over {calls} calls")


LARGE = """
import sys
from sumi.data.config import DataConfig
from sumi.data.load import load
def memory(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
before = memory("VmRSS")
load(DataConfig(sys.argv[1], size=32))
print(memory("VmHWM") - before, memory("VmRSS") - before)
"""


def decoding(folder: Path, size: int) -> None:
    """Memory while pictures of 36 million pixels are read, and after it, by their number."""
    pixels = np.zeros((6000, 6000, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = np.arange(6000, dtype=np.uint16)[:, None] % 256, 255
    for number in (3, 12 * size):
        pictures = folder / str(number)
        pictures.mkdir()
        for index in range(number):
            pixels[0, 0, 1] = index
            Image.fromarray(pixels).save(pictures / f"{index}.png", compress_level=1)
        found = subprocess.run(
            [sys.executable, "-c", LARGE, str(pictures)], capture_output=True, text=True, check=True
        ).stdout.split()
        most, after = (int(value) / 1024 for value in found)
        print(f"{number} pictures of 36 million pixels: at most {most:.0f} MiB more, {after:.0f} MiB afterwards")


def removed(folder: Path, size: int) -> None:
    """A folder is removed at a random moment while it is used: one line, or the work is done without it."""
    chance = random.Random(0)
    outcomes: dict[str, list[str]] = {"run, in training": [], "data, in training": [], "run, in sampling": []}
    kept = tiny(folder / "kept", 10)
    for number in range(5 * size):
        for what, found in outcomes.items():
            run, data = folder / f"run{number}", folder / f"data{number}"
            shutil.rmtree(run, ignore_errors=True)
            shutil.rmtree(data, ignore_errors=True)
            data.mkdir()
            for index in range(20):
                Image.fromarray(ramp(3) + np.uint8(index)).save(data / f"{index}.png")
            victim, calls = data if what.startswith("data") else run, chance.randrange(1, 4)

            def remove(*_: object, victim: Path = victim) -> None:
                nonlocal calls
                calls -= 1
                if calls == 0:
                    shutil.rmtree(victim, ignore_errors=True)

            def use(what: str = what, run: Path = run, data: Path = data, remove: Callable[..., None] = remove) -> None:
                if what.endswith("training"):
                    settings = (*SETTINGS, "data.size=16")
                    sumi.train("ddpm", data=data, steps=60, out=run, settings=settings, device="cpu", progress=remove)
                else:
                    shutil.copytree(kept.folder, run)
                    sumi.load(run, device="cpu").sample(8, batch_size=2, progress=remove)

            found.append(outcome(use))
    for what, found in outcomes.items():
        print(f"removed: {what}: {counted(found)}")


def features(folder: Path, size: int) -> None:
    """What is no network, given to evaluate as features: one line each."""
    del size
    model = tiny(folder / "run", 10)
    preprocessing = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 8, "width": 8}, "resample": 3}
    dino = {"model_type": "dinov2", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "image_size": 8}
    given: dict[str, dict[str, object]] = {
        "empty": {},
        "a file of text": {"config.json": "hello"},
        "another model": {"config.json": {"model_type": "bert"}},
        "a list": {"config.json": [1, 2]},
        "no preprocessing": {"config.json": dino},
        "no weights": {"config.json": dino, "preprocessor_config.json": preprocessing},
        "noise for weights": {
            "config.json": dino,
            "preprocessor_config.json": preprocessing,
            "model.safetensors": random.Random(0).randbytes(1000),
        },
        "a huge header": {
            "config.json": dino,
            "preprocessor_config.json": preprocessing,
            "model.safetensors": (2**62).to_bytes(8, "little") + b"{}",
        },
        "a pickle": {
            "config.json": dino,
            "preprocessor_config.json": preprocessing,
            "pytorch_model.bin": b"cos\nsystem\n",
        },
        "images without pixels": {"config.json": dino, "preprocessor_config.json": {**preprocessing, "size": 0}},
    }
    outcomes = []
    for name, files in given.items():
        place = folder / name
        place.mkdir()
        for file, held in files.items():
            match held:
                case bytes():
                    (place / file).write_bytes(held)
                case str():
                    (place / file).write_text(held)
                case _:
                    (place / file).write_text(json.dumps(held))
        outcomes.append(outcome(lambda place=place: model.evaluate(n=64, features=str(place))))
    strange = ("nothing there", "\0", "x" * 5000, "")
    outcomes += [outcome(lambda name=name: model.evaluate(n=64, features=name)) for name in strange]
    print(f"features: {len(outcomes)} that are no network; {counted(outcomes)}")


PARTS = {part.__name__: part for part in (kills, crashes, bits, pictures, hostile, growth, decoding, removed, features)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--size", type=int, default=1, help="how much is tried, default %(default)s")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            PARTS[name](Path(folder), options.size)
            print(f"    {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()

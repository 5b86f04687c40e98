"""The page and its pictures: complete in itself, escaped, made of the very pixels given."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sumi.errors import InputError
from sumi.evaluation.beside_real import Compared, Copies, Pair, Spectra
from sumi.evaluation.charts import class_shares, loss_by_noise_level, loss_curve, power_spectra
from sumi.evaluation.class_accuracy import class_accuracy
from sumi.evaluation.classes import Balance, Clarity
from sumi.evaluation.copy_rate import CopyRate
from sumi.evaluation.feature_network import FeatureFacts
from sumi.evaluation.feature_space import SpaceFacts
from sumi.evaluation.inception_score import InceptionScore
from sumi.evaluation.intervals import Estimate
from sumi.evaluation.measurements import by_class, measurements
from sumi.evaluation.memorization import Copying
from sumi.evaluation.pictures import animation, image_grid, neighbours, png, side_by_side, strip
from sumi.evaluation.precision_recall import PrecisionRecall
from sumi.evaluation.report import Figure, Section, Table, write_report
from sumi.evaluation.sections import copies_in_words, fine_detail
from sumi.evaluation.spectrum import SpectralDistance, Spectrum
from sumi.evaluation.summary import Distances, Evaluation, Reference
from sumi.evaluation.verdict import verdict

NASTY = 'a < b & "c" <script>alert(1)</script>'


def digits(count: int, channels: int = 1, side: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


class Page(HTMLParser):
    """Every tag with its attributes, and all words outside the style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.words.append(data.strip())

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(tmp_path: Path) -> tuple[str, Page]:
    file = tmp_path / "grid.webp"
    file.write_bytes(animation([image_grid(digits(4)), image_grid(255 - digits(4))]))
    sections = [
        Section(NASTY, f"First {NASTY}.\n\nSecond\nparagraph.", [Figure(png(image_grid(digits(4))), NASTY, wide=True)]),
        Section("Two", figures=[Figure(file, "moving"), Figure(loss_curve([1, 2, 3], [3.0, 2.0, 1.0]), "falling")]),
        Section("Three", tables=[Table(("name", NASTY), [("seed", NASTY)], "caption")], code=f"sumi {NASTY}"),
    ]
    path = tmp_path / "report.html"
    write_report(path, title=f"T {NASTY}", verdict=f"V {NASTY}", sections=sections, subtitle=f"S {NASTY}")
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_needs_nothing_but_itself(page: tuple[str, Page]) -> None:
    """No script, no file, no network: every source lies in the page, every reference points into it."""
    text, parsed = page
    assert not parsed.every("script")
    assert not parsed.every("link")
    sources = [a["src"] or "" for _, a in parsed.tags if "src" in a]
    assert len(sources) == 2
    assert all(source.startswith("data:image/") for source in sources)
    for _, attributes in parsed.tags:
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text


def test_all_words_are_escaped_and_shown_as_given(page: tuple[str, Page]) -> None:
    text, parsed = page
    assert "<script" not in text
    words = "".join(parsed.words)
    # title in the head and in the page, subtitle, verdict, heading, text, caption, two cells, code
    assert words.count(NASTY) == 10
    assert [a["alt"] for a in parsed.every("img")] == [NASTY, "moving"]


def test_the_verdict_comes_first_and_the_sections_in_order(page: tuple[str, Page]) -> None:
    _, parsed = page
    words = " ".join(parsed.words)
    places = [
        words.index(word) for word in ("T a <", "S a <", "V a <", "First", "moving", "falling", "Three", "caption")
    ]
    # the title stands in the head, too
    assert places == sorted(places)
    assert len(parsed.every("section")) == 3
    assert [a.get("class") for a in parsed.every("figure")] == ["wide", None, None, "table"]


def test_pictures_lie_in_the_page_byte_for_byte(page: tuple[str, Page], tmp_path: Path) -> None:
    _, parsed = page
    (kind, grid), (other, moving) = (
        (a["src"] or "").removeprefix("data:image/").split(";base64,") for a in parsed.every("img")
    )
    assert (kind, other) == ("png", "webp")
    assert base64.b64decode(grid) == png(image_grid(digits(4)))
    assert base64.b64decode(moving) == (tmp_path / "grid.webp").read_bytes()


def test_what_is_no_picture_is_refused_and_the_old_page_kept(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    for picture in (b"no picture", "report.svg"):
        with pytest.raises(InputError, match="'here'"):
            write_report(path, title="", verdict="", sections=[Section("", figures=[Figure(picture, "here")])])
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("report.html", "old")]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_grid_holds_every_pixel_in_its_place(channels: int) -> None:
    images = digits(5, channels)
    picture = image_grid(torch.from_numpy(images), columns=3, scale=4, gap=2)
    assert (picture.mode, picture.size) == ("RGBA", (3 * 32 + 2 * 2, 2 * 32 + 2))
    pixels = np.asarray(picture)
    for index, image in enumerate(images):
        top, left = index // 3 * 34, index % 3 * 34
        shown = pixels[top : top + 32, left : left + 32]
        expected = np.full((8, 8, 4), 255, np.uint8)
        expected[..., : max(3, channels)] = image.transpose(1, 2, 0)
        assert np.array_equal(shown, expected.repeat(4, 0).repeat(4, 1))
    assert not pixels[34:, 2 * 34 :, 3].any()  # the place of a sixth image is clear
    assert not pixels[32:34, :, 3].any()
    assert not pixels[:, 32:34, 3].any()


def test_small_images_are_enlarged_to_48_pixels_and_large_ones_left_alone() -> None:
    assert image_grid(digits(1)).size == (48, 48)
    assert image_grid(digits(1, side=28)).size == (56, 56)
    assert image_grid(digits(1, side=64)).size == (64, 64)


def test_two_grids_stand_side_by_side_under_their_titles() -> None:
    samples, real = digits(4), 255 - digits(4)
    picture = side_by_side([("samples", samples), ("real", real)], columns=2, scale=10, gap=0)
    pixels = np.asarray(picture)
    grid = np.asarray(image_grid(samples, columns=2, scale=10, gap=0))
    assert np.array_equal(pixels[-160:, :160], grid)
    assert np.array_equal(pixels[-160:, -160:], np.asarray(image_grid(real, columns=2, scale=10, gap=0)))
    assert (pixels[:-160, :160, 3] == 255).all()
    assert (pixels[:-160, :160, 0] > 200).any()  # words


def test_a_strip_shows_the_frames_in_order() -> None:
    frames = digits(3)
    for labels, below in ((None, 0), (["t = 1.0", "0.5", "0"], 10)):
        picture = strip(frames, labels=labels, scale=12)
        pixels = np.asarray(picture)
        assert picture.height >= 96 + below
        starts = [i * (96 + 6) for i in range(3)]
        assert [pixels[0, left, 0] for left in starts] == [frame[0, 0, 0] for frame in frames]


def test_neighbours_stand_below_their_samples_in_rows() -> None:
    samples, nearest = digits(5), 255 - digits(5)
    picture = neighbours(samples, nearest, [0.1, 0.2, 0.3, 0.4, 0.5], columns=3, scale=6)
    pixels = np.asarray(picture)
    for index, place in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
        shown = np.asarray(image_grid(samples[index : index + 1], scale=6))
        row, column = place
        row_height = (picture.height - 15) // 2
        left = picture.width - (3 - column) * 48 - (2 - column) * 3
        top = row * (row_height + 15)
        assert np.array_equal(pixels[top : top + 48, left : left + 48], shown)
        other = np.asarray(image_grid(nearest[index : index + 1], scale=6))
        assert np.array_equal(pixels[top + 50 : top + 98, left : left + 48], other)


def test_an_animation_shows_every_frame_and_rests_on_the_last() -> None:
    frames = [image_grid(np.full((1, 1, 8, 8), level, np.uint8)) for level in (0, 60, 120, 240)]
    with Image.open(io.BytesIO(animation(frames, seconds=2, hold=1))) as moving:
        assert moving.n_frames == 4
        assert moving.info["loop"] == 0
        durations, levels = [], []
        for index in range(4):
            moving.seek(index)
            levels.append(np.asarray(moving.convert("RGB"))[3, 3, 0])
            durations.append(moving.info["duration"])
    assert levels == [0, 60, 120, 240]
    assert durations == [500, 500, 500, 1500]


def test_pictures_of_anything_else_are_refused() -> None:
    for wrong in (digits(2)[0], digits(2).astype(np.float32), digits(2, 2), digits(0)):
        with pytest.raises(InputError, match="uint8"):
            image_grid(wrong)
    with pytest.raises(InputError, match="no frames"):
        animation([])


BALANCE = Balance((30, 60, 10), (40, 40, 20), 0.2, 0.05, 0.001)


def losses(*values: float) -> tuple[list[float], list[Estimate]]:
    return [4.0 * k for k in range(len(values))], [Estimate(v, 0.9 * v, 1.2 * v) for v in values]


def test_charts_take_their_colours_from_the_page_and_are_the_same_every_time() -> None:
    def draw() -> list[str]:
        return [
            loss_curve(range(200), [1 / (step + 1) for step in range(200)], held_out=([0, 199], [1.0, 0.1])),
            class_shares(BALANCE, names=["zero", "one", "<two>"]),
            loss_by_noise_level({"x": losses(1.0, 0.5, 0.1), "ε": losses(0.1, 0.5, 1.0)}),
            power_spectra({"samples": spectrum_of(9.0, 1.0, 0.1), "real": spectrum_of(9.0, 0.5, 0.2)}, fine=0.25),
        ]

    charts = draw()
    assert charts == draw()
    for chart in charts:
        assert chart.startswith("<svg")
        assert {"var(--ink, #1c1b1a)", "var(--first, #b5432f)", "var(--second, #2f6690)"} <= set(
            re.findall(r"var\([^)]*\)", chart)
        )
        # every colour that the page cannot change is pure black or white of an invisible ground
        assert not re.findall(r"(?<!, )#(?:1c1b1a|b5432f|2f6690|b9b4ab)", chart)


def spectrum_of(*powers: float) -> Spectrum:
    rings = tuple(Estimate(p, p / 2, 2 * p) for p in powers)
    return Spectrum(tuple(k / 8 for k in range(len(powers))), rings, 100)


def test_a_spectrum_is_drawn_from_ring_one_on_its_powers_in_decades() -> None:
    """Points read from the SVG: 1, 0.1, 0.01 fall by equal steps; the mean brightness and a ring without power do not
    stand there."""
    for last, points in ((0.01, 3), (0.0, 2)):
        chart = power_spectra({"samples": spectrum_of(100.0, 1.0, 0.1, last)}, fine=0.25)
        path = re.search(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--first', chart)
        assert path is not None
        ys = [float(y) for y in re.findall(r"[ML] \S+ (\S+)", path[1])]
        assert len(ys) == points
        assert np.ptp(np.diff(ys)) < 1e-3
        assert ys[1] > ys[0]  # SVG counts downwards


def test_bars_are_as_high_as_the_shares() -> None:
    """Heights read from the SVG: 30, 60, 10 % and 40, 40, 20 % in one unit."""
    bars = {}
    for name, colour in (("samples", "--first"), ("real", "--second")):
        paths = re.findall(r'<path d="([^"]*)" clip-path[^>]*style="fill: var\(' + colour, class_shares(BALANCE))
        ys = [[float(y) for y in re.findall(r"[ML] \S+ (\S+)", path)] for path in paths]
        bars[name] = [max(y) - min(y) for y in ys]
    unit = bars["samples"][0] / 30
    assert bars["samples"] == pytest.approx([30 * unit, 60 * unit, 10 * unit], rel=1e-3)
    assert bars["real"] == pytest.approx([40 * unit, 40 * unit, 20 * unit], rel=1e-3)


def evaluated() -> Evaluation:
    """Every figure once, samples unlike real images."""
    estimate = Estimate(0.0123, -0.02, 0.0456)
    real = Estimate(0.001, -0.01, 0.02)
    copying = Copying(400, 180, 0.1, 12, 0.03, 0.011, 0.0042, 0.21, 0.25)
    probabilities = torch.eye(3).repeat(4, 1)
    asked = torch.tensor([0, 1, 1] * 4)
    shares = [Estimate(v, v - 0.02, v + 0.01) for v in (0.81, 0.52, 0.61, 0.95, 0.93, 0.96)]
    few, many = (Estimate(v, v - 0.1, v + 0.1) for v in (0.7, 0.99))
    return Evaluation(
        seed=0,
        training_images=1617,
        network=FeatureFacts("classes", 3, 1, 8, 0.98, 161),
        network_sha256="0123456789abcdef" * 4,
        space=SpaceFacts("built-in network", "0123456789abcdef" * 4, 64),
        reference=Reference("fedcba9876543210" * 4, "data", 180),
        closeness=0.0123,
        held_out_accuracy=Estimate(0.99, 0.97, 0.995),
        label_accuracy=Estimate(0.97, 0.95, 0.98),
        distances=Distances(estimate, estimate, 1.25, 400, 180, 400, 180),
        real_distances=Distances(real, real, 1.15, 180, 180, 180, 180),
        clarity=Clarity(0.9, Estimate(0.91, 0.88, 0.93), Estimate(0.95, 0.92, 0.97), Estimate(0.958, 0.92, 0.99)),
        balance=BALANCE,
        pixel_copying=copying,
        feature_copying=copying,
        variety=Compared(
            PrecisionRecall(5, shares[0], shares[1], few, shares[2], 0.987, 180, 170),
            PrecisionRecall(5, shares[3], shares[4], many, shares[5], 0.987, 180, 170),
        ),
        inception_score=Compared(
            InceptionScore(Estimate(2.1, 2.0, 2.2), 2.05, 3, 400), InceptionScore(Estimate(2.9, 2.8, 3.0), 2.85, 3, 180)
        ),
        spectra=Spectra(
            Compared(SpectralDistance(0.25, few, estimate, 180, 170), SpectralDistance(0.25, many, real, 180, 170)),
            Compared(spectrum_of(9.0, 1.0, 0.1), spectrum_of(9.0, 1.0, 0.2)),
        ),
        copies=Copies(CopyRate(Estimate(0.021, 0.004, 0.05), copying), 1, True, (Pair(3, 77, 0.01),)),
        class_accuracy=class_accuracy(probabilities, asked, probabilities, torch.tensor([0, 1, 2] * 4)),
        left_out=("Some score (3 images are too few)",),
    )


def test_the_table_of_figures_has_every_value_beside_its_real_one() -> None:
    evaluation = evaluated()
    table = measurements(evaluation)
    rows = {name: (samples, real) for name, samples, real in table.rows}
    space = "\N{NO-BREAK SPACE}"
    assert rows["Kernel distance (KID)"] == (f"0.012 [-0.020,{space}0.046]", f"0.001 [-0.010,{space}0.020]")
    assert rows["Fréchet distance, plug-in (FID)"] == ("1.25", "1.15")
    assert rows["Clear (top probability above 0.9)"][0] == f"91.0{space}% [88.0,{space}93.0]"
    assert rows["Clear, relative to real images"][0] == f"0.958 [0.920,{space}0.990]"
    assert rows["Near copies, pixels"] == (f"3.0 % (p{space}={space}0.0042)", "1.1 %")
    assert rows["Class shares, total variation"][0].startswith("0.200")
    assert rows["Of the class asked for"][0].startswith("97.0")
    assert rows["Of the class asked for"][1].startswith("100.0")
    assert rows["Inception score, of 3 classes"] == (
        f"2.100 [2.000,{space}2.200]",
        f"2.900 [2.800,{space}3.000]",
    )
    for name, (samples, other) in {
        "Precision: samples among real images": (81, 95),
        "Recall: real images among samples": (52, 93),
        "Coverage, 98.7 % for a perfect model": (61, 96),
    }.items():
        assert rows[name] == tuple(f"{v}.0{space}% [{v - 2}.0,{space}{v + 1}.0]" for v in (samples, other))
    for name in ("Density, 1 for a perfect model", "Fine detail: power from 0.25 cycles per pixel, of held-out"):
        assert rows[name] == (f"0.700 [0.600,{space}0.800]", f"0.990 [0.890,{space}1.090]")
    assert rows["Spectral distance: log powers, squared"] == rows["Kernel distance (KID)"]
    copies = f"2.1{space}% [0.4,{space}5.0] (p{space}={space}0.0042)"
    assert rows["Copies, also moved by 1 pixel or mirrored"] == (copies, "0 %")
    assert rows["Accuracy of the classifier"][1].startswith("99.0")
    assert "400 samples and 180 held-out images" in table.caption
    assert "1617 training images" in table.caption
    assert "built-in network, 64 features, sha256 0123456789ab" in table.caption
    assert "180 held-out images, sha256 fedcba987654" in table.caption
    assert "Precision to coverage: 180 of each against 170 held-out images, k = 5." in table.caption
    assert table.caption.endswith("Left out: Some score (3 images are too few).")


def test_what_was_left_out_has_no_row() -> None:
    nothing = dict.fromkeys(("variety", "inception_score", "spectra", "copies", "class_accuracy"))
    names = [row[0] for row in measurements(replace(evaluated(), **nothing)).rows]
    for word in ("Inception", "Precision", "Recall", "Density", "Coverage", "detail", "Spectral", "Copies,"):
        assert not [name for name in names if word in name]
    assert "Of the class asked for" in names


def test_each_class_has_its_row_and_what_else_it_is_taken_for() -> None:
    """Four of each of three classes are seen; all that are seen as class 2 were asked for as class 1."""
    accuracy = evaluated().class_accuracy
    assert accuracy is not None
    zero, one, two = by_class(accuracy, ["zero", "one", "two"]).rows
    assert (zero[0], zero[3]) == ("zero", "")
    assert zero[1].startswith("100.0")
    assert one[1].startswith("50.0")
    assert one[2].startswith("100.0")
    assert one[3] == "two (4)"
    assert tuple(two[:2]) == ("two", "none")


def test_the_sections_say_in_words_what_is_beyond_chance() -> None:
    evaluation = evaluated()
    spectra, copies = evaluation.spectra, evaluation.copies
    assert spectra is not None
    assert copies is not None

    def detail(samples: float) -> str:
        seen = replace(spectra.distance.samples, detail=Estimate(samples, samples - 0.05, samples + 0.05))
        beside = replace(spectra.distance, samples=seen)
        (section,) = fine_detail(replace(evaluation, spectra=replace(spectra, distance=beside)))
        return section.text

    assert detail(0.7).startswith(
        "The samples lack fine detail: they have 70 % of its power in held-out images [65, 75]"
    )
    assert detail(0.9).startswith("The samples have as much fine detail as real images")
    assert detail(1.3).startswith("The samples have too much fine detail, or noise: 130 %")
    assert "where training images have 99 % [89, 109]" in detail(0.7)
    assert copies_in_words(evaluation).startswith("About 2 % [0, 5] of the samples are nearer to a training image")
    none = replace(copies, found=replace(copies.found, rate=Estimate(0.01, -0.01, 0.03)))
    words = copies_in_words(replace(evaluation, copies=none))
    assert words.startswith("No copies stand out (in place or moved by 1 pixel, mirrored or not): 12 of 400 samples")
    assert "where 4 would be by chance" in words
    assert copies_in_words(replace(evaluation, copies=None)) == ""
    place = replace(copies, reach=0, mirrored=False)
    assert "nearer to a training image (in place) than" in copies_in_words(replace(evaluation, copies=place))
    assert "Copies, in place" in [row[0] for row in measurements(replace(evaluation, copies=place)).rows]
    assert fine_detail(replace(evaluation, spectra=None)) == []


def test_the_verdict_has_two_sentences_at_most_and_says_where_variety_lacks() -> None:
    evaluation = evaluated()
    assert evaluation.variety is not None
    classes_differ = verdict(evaluation)
    assert classes_differ.endswith("The shares of the classes differ from the real ones by 20 %.")
    assert "97 % are the class asked for, where 100 % of real ones are told right;" in classes_differ
    even = replace(evaluation, balance=None)
    assert verdict(even).endswith(
        "They vary less than real images: 52 % of held-out images lie among them, "
        "and 93 % with training images in their place."
    )
    samples, real = evaluation.variety.samples, evaluation.variety.real
    covering = replace(even, variety=Compared(replace(samples, recall=real.recall), real))
    assert "61 % of held-out images have one of them near, and 96 % with" in verdict(covering)
    alike = replace(even, variety=Compared(real, real))
    assert "vary" not in verdict(alike)
    for found in (evaluation, even, covering, alike):
        assert len(re.findall(r"\.(?: |$)", verdict(found))) <= 2

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

from sumi.data.images import ImageSpec
from sumi.errors import InputError
from sumi.evaluation.images import Distances, Evaluation, Reference
from sumi.evaluation.measures import Compared, Copies, Pair, Spectra
from sumi.figures.charts import class_shares, loss_by_noise_level, loss_curve, power_spectra
from sumi.figures.pictures import animation, image_grid, neighbours, png, side_by_side, strip
from sumi.metrics.classes import Balance, Clarity, class_accuracy
from sumi.metrics.copies import Copying, CopyRate
from sumi.metrics.features.network import FeatureFacts
from sumi.metrics.features.space import SpaceFacts
from sumi.metrics.inception_score import InceptionScore
from sumi.metrics.intervals import Estimate
from sumi.metrics.precision_recall import PrecisionRecall
from sumi.metrics.spectrum import SpectralDistance, Spectrum
from sumi.report.page import Figure, Section, Table, Verdict, write_report
from sumi.report.sections import classes, copies_in_words, fine_detail
from sumi.report.tables import by_class, measurements
from sumi.report.verdict import verdict

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
    words = Verdict(f"V {NASTY}", [(NASTY, f"P {NASTY}")])
    write_report(path, title=f"T {NASTY}", verdict=words, sections=sections, subtitle=f"S {NASTY}")
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
    # title in the head and in the page, subtitle, verdict, point and its name, heading, text, caption, two cells, code
    assert words.count(NASTY) == 12
    assert [a["alt"] for a in parsed.every("img")] == [NASTY, "moving"]


def test_the_verdict_comes_first_and_the_sections_in_order(page: tuple[str, Page]) -> None:
    _, parsed = page
    words = " ".join(parsed.words)
    places = [
        words.index(word)
        for word in ("T a <", "S a <", "V a <", "P a <", "First", "moving", "falling", "Three", "caption")
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
            write_report(path, title="", verdict=Verdict(""), sections=[Section("", figures=[Figure(picture, "here")])])
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


def test_small_images_are_enlarged_to_96_pixels_and_large_ones_left_alone() -> None:
    assert image_grid(digits(1)).size == (96, 96)
    assert image_grid(digits(1, side=28)).size == (112, 112)
    assert image_grid(digits(1, side=64)).size == (128, 128)
    assert image_grid(digits(1, side=100)).size == (100, 100)


def test_two_grids_stand_side_by_side_under_their_titles() -> None:
    samples, real = digits(4), 255 - digits(4)
    picture = side_by_side([("samples", samples), ("real", real)], columns=2, scale=10, gap=0)
    pixels = np.asarray(picture)
    grid = np.asarray(image_grid(samples, columns=2, scale=10, gap=0))
    assert np.array_equal(pixels[-160:, :160], grid)
    assert np.array_equal(pixels[-160:, -160:], np.asarray(image_grid(real, columns=2, scale=10, gap=0)))
    assert (pixels[:-160, :160, 3] == 255).all()
    assert (pixels[:-160, :160, 0] > 200).any()  # words


def test_grids_side_by_side_have_their_captions() -> None:
    samples, real = digits(4), 255 - digits(4)
    captions = ["one", "two", "three", "four"], ["five", "six", "seven", "eight"]
    groups = [("samples", samples), ("real", real)]
    pixels = np.asarray(side_by_side(groups, columns=2, scale=10, gap=0, captions=captions))
    for images, texts, columns in ((samples, captions[0], slice(160)), (real, captions[1], slice(-160, None))):
        grid = np.asarray(image_grid(images, columns=2, scale=10, gap=0, captions=texts))
        assert np.array_equal(pixels[-len(grid) :, columns], grid)


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
    with pytest.raises(InputError, match="frames: there are none"):
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


def test_losses_below_zero_stand_in_their_place() -> None:
    """A density's loss falls through zero: equal falls are equal steps then, and no point is lost."""
    chart = loss_curve(range(40), [2.0 - 0.1 * step for step in range(40)])
    curve = max(
        re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--first', chart), key=len
    )
    ys = [float(y) for y in re.findall(r"[ML] \S+ (\S+)", curve)]
    assert ys[-1] > ys[0]  # SVG counts downwards
    falls = np.diff(ys)[2:-2]
    assert falls == pytest.approx([falls[0]] * len(falls), abs=1e-2)


def spectrum_of(*powers: float) -> Spectrum:
    rings = tuple(Estimate(p, p / 2, 2 * p) for p in powers)
    return Spectrum(tuple(k / 8 for k in range(len(powers))), rings, 100)


def test_a_spectrum_is_plotted_from_ring_one_on_its_powers_in_decades() -> None:
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
    requested = torch.tensor([0, 1, 1] * 4)
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
        out_of_range={"brightness": 0.01, "any": 0.02},
        unseen="",
        held_out_accuracy=Estimate(0.99, 0.97, 0.995),
        label_accuracy=Estimate(0.97, 0.95, 0.98),
        distances=Distances(estimate, estimate, 1.25, 400, 180, 400, 180),
        real_distances=Distances(real, real, 1.15, 180, 180, 180, 180),
        clarity=Clarity(0.9, Estimate(0.91, 0.88, 0.93), Estimate(0.95, 0.92, 0.97), Estimate(0.958, 0.92, 0.99)),
        balance=BALANCE,
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
        class_accuracy=class_accuracy(probabilities, requested, probabilities, torch.tensor([0, 1, 2] * 4)),
        left_out=("Some score (3 images are too few)",),
    )


def test_the_table_of_figures_has_every_value_next_to_its_real_one() -> None:
    evaluation = evaluated()
    table = measurements(evaluation)
    rows = {row[0]: tuple(row[1:]) for row in table.rows}
    assert {len(row) for row in table.rows} == {1, 3}  # headings, and a figure beside its real one
    space = "\N{NO-BREAK SPACE}"
    assert rows["Kernel distance (KID)"] == (f"0.012 [-0.020,{space}0.046]", f"0.001 [-0.010,{space}0.020]")
    assert rows["Fréchet distance, plug-in (FID): falls with more images"] == ("1.250", "1.150")
    assert rows["Confident (top probability above 0.9)"][0] == f"91.0{space}% [88.0,{space}93.0]"
    assert rows["Confident, relative to real images"][0] == f"0.958 [0.920,{space}0.990]"
    assert rows["Suspiciously close"] == (f"3.0{space}% (p{space}={space}0.0042)", f"1.1{space}% by chance")
    assert rows["Would have to change class to match"] == (
        f"20.0{space}% (p{space}={space}0.001)",
        f"5.0{space}% by chance",
    )
    assert rows["Assigned to the requested class"][0].startswith("97.0")
    assert rows["Assigned to the requested class"][1].startswith("100.0")
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
    density = (f"0.700 [0.600,{space}0.800]", f"0.990 [0.890,{space}1.090]")
    assert rows["Density, 1 for a perfect model"] == density
    detail = (f"70.0{space}% [60.0,{space}80.0]", f"99.0{space}% [89.0,{space}109.0]")
    assert rows["Power above 0.25 cycles per pixel, relative to held-out"] == detail
    assert rows["Spectral distance: log powers, squared"] == rows["Kernel distance (KID)"]
    assert rows["Copies of training images, also moved by 1 pixel or mirrored"] == ()
    assert rows["Copies, above chance"] == (f"2.1{space}% [0.4,{space}5.0]", "0 %")
    assert rows["Accuracy on held-out images"][1].startswith("99.0")
    assert "400 samples and 180 held-out images" in table.caption
    assert "180 of 1,617 training images" in table.caption
    assert "built-in network, 64 features, sha256 0123456789ab" in table.caption
    assert "180 held-out images, sha256 fedcba987654" in table.caption
    for message in (
        "Precision to coverage: 180 samples and 170 held-out images, k = 5.",
        "Fine detail: 180 samples and 170 held-out images.",
        "Copies: 400 samples and 180 held-out images.",
    ):
        assert message in table.caption
    assert table.caption.endswith("Left out: Some score (3 images are too few).")


def test_what_was_left_out_has_no_row() -> None:
    nothing = dict.fromkeys(("variety", "inception_score", "spectra", "copies", "class_accuracy"))
    names = [row[0] for row in measurements(replace(evaluated(), **nothing)).rows]
    for word in ("Inception", "Precision", "Recall", "Density", "Coverage", "detail", "Spectral", "Copies"):
        assert not [name for name in names if word in name]
    assert "Assigned to the requested class" in names


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
        compared = replace(spectra.distance, samples=seen)
        (section,) = fine_detail(replace(evaluation, spectra=replace(spectra, distance=compared)))
        return section.text

    space = "\N{NO-BREAK SPACE}"
    lacking = f"The samples lack fine detail: they have 70{space}% [65,{space}75] of its power in held-out images"
    assert detail(0.7).startswith(lacking)
    assert detail(0.9).startswith("The samples have as much fine detail as real images")
    assert detail(1.3).startswith(f"The samples have too much fine detail, or noise: 130{space}%")
    assert f"training images have 99{space}% [89,{space}109]" in detail(0.7)
    counted = "12 of 400 samples are as close to a training image (in place or moved by 1 pixel, mirrored or not)"
    assert copies_in_words(evaluation).startswith(f"About 2{space}% [0,{space}5] of the samples are copies: {counted}")
    chance = replace(copies, found=replace(copies.found, ratios=replace(copies.found.ratios, p_value=0.02)))
    words = copies_in_words(replace(evaluation, copies=chance))
    assert words.startswith(f"No copies stand out: {counted}")
    assert words.endswith("4 are expected by chance.")
    assert copies_in_words(replace(evaluation, copies=None)) == ""
    place = replace(copies, reach=0, mirrored=False)
    assert "close to a training image (in place) as" in copies_in_words(replace(evaluation, copies=place))
    assert "Copies of training images, in place" in [
        row[0] for row in measurements(replace(evaluation, copies=place)).rows
    ]
    assert fine_detail(replace(evaluation, spectra=None)) == []


def test_the_first_sentence_names_what_is_beyond_chance_and_nothing_else() -> None:
    """Of samples unlike real images every fault; of samples that are as real ones, in all figures, none."""
    evaluation, space = evaluated(), "\N{NO-BREAK SPACE}"
    variety, spectra, copies = evaluation.variety, evaluation.spectra, evaluation.copies
    assert variety is not None
    assert spectra is not None
    assert copies is not None
    near = "By kernel distance the samples are indistinguishable from 180 held-out images"

    def headline(**changed: object) -> str:
        return verdict(replace(evaluation, **changed)).headline

    # the interval of clarity meets that of real images
    faults = (
        f"the shares of the classes differ, they lack fine detail and about 2{space}% are copies of training images."
    )
    assert headline() == f"{near}, but they are less diverse, {faults}"
    sure = replace(evaluation.clarity, samples=Estimate(0.8, 0.78, 0.82))
    assert "but a classifier is confident about fewer of them, they are less diverse" in headline(clarity=sure)
    assert (
        headline(balance=replace(BALANCE, p_value=0.02), copies=None)
        == f"{near}, but they are less diverse and they lack fine detail."
    )
    smooth = replace(spectra.distance, samples=replace(spectra.distance.samples, detail=Estimate(0.5, 0.4, 0.6)))
    assert "they lack fine detail" in headline(spectra=replace(spectra, distance=smooth))
    rough = replace(spectra.distance, samples=replace(spectra.distance.samples, detail=Estimate(1.5, 1.4, 1.6)))
    assert "they have too much fine detail" in headline(spectra=replace(spectra, distance=rough))
    some = replace(BALANCE, samples=(0, 60, 40))
    assert "class 0 is missing" in headline(balance=some)
    many = Balance((100, 0, 0, 0, 0), (20,) * 5, 0.8, 0.05, 0.001)
    assert "4 of 5 classes are missing" in headline(balance=many)
    wrong = replace(evaluation, label_accuracy=Estimate(0.7, 0.6, 0.8), class_accuracy=None)
    assert "fewer show the requested class" in verdict(wrong).headline
    chance = replace(copies, found=replace(copies.found, ratios=replace(copies.found.ratios, p_value=0.02)))
    alike = replace(evaluation, balance=None, spectra=None, variety=Compared(variety.real, variety.real), copies=chance)
    assert verdict(alike).headline == f"{near}, and none stands out as a copy."
    assert verdict(replace(alike, copies=None)).headline == f"{near}."


def test_nearness_is_in_words_of_closeness_where_the_distance_is_beyond_chance() -> None:
    apart = replace(evaluated().distances, kernel=Estimate(0.2, 0.1, 0.3))
    for closeness, message in ((0.02, "very close to"), (0.1, "close to"), (0.3, "some way from"), (0.6, "far from")):
        words = verdict(replace(evaluated(), distances=apart, closeness=closeness)).headline
        joined = "but" if closeness < 0.12 else "and"
        assert words.startswith(f"The samples are {message} real images, {joined} they are less diverse")


def test_names_of_classes_are_text_of_one_line_everywhere(tmp_path: Path) -> None:
    """Neither the verdict's words nor the page begin a line, move a cursor or set mathematics by a class's name."""
    names = ("\x1b[31mred", "b\n\nCopies: none", r"$\frac$")
    missing = replace(evaluated(), balance=replace(BALANCE, samples=(0, 0, 100)))
    words = verdict(missing, names)
    page = tmp_path / "report.html"
    write_report(page, title="\x1b[2J", verdict=words, sections=classes(missing, names))
    plain = verdict(missing, ("x", "y", "z"))
    for text in (str(words), page.read_text()):
        assert re.sub("[\n\xa0]", "", text).isprintable()
        assert r"\x1b[31mred" in text
        assert r"b\n\nCopies: none" in text
    assert str(words).count("\n") == str(plain).count("\n")
    assert r"$\frac$" in page.read_text()
    assert ImageSpec(1, 8, 8, 17, names).describe().isprintable()
    assert str(Verdict("a\nb", (("c", "d\x1b"),))) == "a\\nb\nc: d\\x1b"


def test_what_the_verdict_rests_on_is_next_to_real_images() -> None:
    space = "\N{NO-BREAK SPACE}"
    points = dict(verdict(evaluated(), ["zero", "one", "two"]).points)
    assert list(points) == [
        "Distance to real images",
        "Classifier confidence",
        "Requested class",
        "Coverage",
        "Classes",
        "Fine detail",
        "Copies",
    ]
    assert points["Distance to real images"] == (
        "Kernel distance 0.012 [-0.020, 0.046] to 180 held-out images; training images are at 0.001 "
        "[-0.010, 0.020]. 0 means the same distribution."
    )
    assert points["Classifier confidence"] == (
        f"A classifier trained on real images is confident about 91{space}% [88,{space}93] of the samples and "
        f"95{space}% [92,{space}97] of real images."
    )
    assert points["Requested class"].startswith(
        f"A classifier trained on real images assigns 97{space}% [95,{space}98] of the samples to the "
        f"requested class, and 100{space}%"
    )
    assert points["Coverage"] == (
        f"52{space}% [50,{space}53] of held-out images lie among the samples (recall); with training images as "
        f"samples, 93{space}% [91,{space}94] do."
    )
    assert points["Classes"].startswith(f"The class shares differ from those of real images: 20{space}%")
    assert points["Copies"] == copies_in_words(evaluated())
    missing = replace(evaluated(), balance=replace(BALANCE, samples=(0, 60, 40)))
    assert dict(verdict(missing, ["zero", "one", "two"]).points)["Classes"].endswith("No sample is classified as zero.")
    variety = evaluated().variety
    assert variety is not None
    covering = replace(
        evaluated(), variety=Compared(replace(variety.samples, recall=variety.real.recall), variety.real)
    )
    assert dict(verdict(covering).points)["Coverage"].startswith(
        f"61{space}% [59,{space}62] of held-out images have a sample"
    )
    nothing = dict.fromkeys(("variety", "spectra", "copies", "balance", "label_accuracy"))
    assert [name for name, _ in verdict(replace(evaluated(), **nothing)).points] == [
        "Distance to real images",
        "Classifier confidence",
    ]


def test_tables_are_headed_stacked_and_folded(tmp_path: Path) -> None:
    """A row of one word spans the columns; three columns stack on a telephone, four do not; folded ones have a name."""
    tables = [
        Table(("", "samples", "real"), [("Copies",), ("few", "1", "2")], "sizes"),
        Table(("a", "b", "c", "d"), [("1", "2", "3", "4")], "wide", folded=True),
        Table((), [("alone",)]),
    ]
    write_report(tmp_path / "r.html", title="", verdict=Verdict(""), sections=[Section("", tables=tables)])
    text = (tmp_path / "r.html").read_text()
    assert '<tr><th scope="rowgroup" colspan="3">Copies</th></tr>' in text
    assert text.count('<table class="narrow">') == 2
    assert '<details class="table"><summary>wide</summary><table>' in text
    assert "<td>alone</td>" in text
    assert text.count("<thead>") == 2
    assert "<figcaption>sizes</figcaption>" in text

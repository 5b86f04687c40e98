"""Texts as a condition: drawn in training, weighed and blended in sampling, exact where the network is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.prompt import as_text, prompts_of, read_prompt
from sumi.conditioning.text import TextConditioner, TextConditioning, sampled_caption, texts_of
from sumi.conditioning.text_encoder import EncodedText, OwnEncoderConfig, TextEncoder
from sumi.conditioning.tokens import PADDING, START
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load_images
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import Coefficients
from sumi.errors import InputError
from sumi.guidance.guidance import guided
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.networks.condition import NetworkCondition, combined
from sumi.process.schedule import NoiseLevel, noise_level
from sumi.recipes import build
from sumi.sampling.sampler import Guidance, Sampling
from sumi.training_run import train
from tests.interrupted import killed_and_resumed
from tests.labelled_mixture import OF_CLASS, POINTS, SCALES, SCHEDULES, guided_score, mixture
from tests.tiny_models import conditioned_model, scrambled, untrained

CAPTIONS = ("a red square\na square in red", "a blue disc", "", "a red disc")
KEYWORDS = ((), ("round", "blue", "sky"), ("lonely",), ())
TINY = [
    "network.width=32",
    "network.blocks=1",
    "network.patch=4",
    "network.embedding=32",
    "conditioning.encoder.width=32",
    "conditioning.encoder.tokens=300",
    "conditioning.encoder.length=16",
    "training.batch_size=4",
    "training.steps=8",
    "training.checkpoint_every=4",
    "training.sample_every=0",
    "sampling.steps=2",
]


@pytest.fixture(scope="module")
def data() -> ImageDataset:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    return ImageDataset(images, None, (), CAPTIONS, tuple("abcd"), keywords=KEYWORDS)


@pytest.fixture(scope="module")
def conditioner(data: ImageDataset) -> TextConditioner:
    torch.manual_seed(0)
    config = TextConditioning(OwnEncoderConfig(tokens=300, length=16, width=32), dropout=0.25)
    conditioner = config.build(data.spec, 24).eval().requires_grad_(False)
    conditioner.fit(data)
    return conditioner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images with captions."""
    place = tmp_path / "data"
    place.mkdir()
    for i in range(6):
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(place / f"{i}.png")
    rows = [{"file_name": f"{i}.png", "text": f"grey number {i}", "keywords": ["flat"]} for i in range(6)]
    (place / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return place


def texts_in(conditioner: TextConditioner, condition: Condition) -> list[str]:
    return [conditioner.encoder.vocabulary.decode(row.tolist()) for row in condition["text"][:, 0]]


def batch(data: ImageDataset, n: int = 400, start: int = 0, step: int = 1):
    places = np.arange(start, start + n)
    return batch_of(data, places % 4, places, step=step, seed=0)


def test_every_text_of_an_image_is_sampled_equally_often(conditioner: TextConditioner, data: ImageDataset) -> None:
    given = texts_in(conditioner, conditioner.of_data(batch(data, 4000), torch.zeros(0), 0))
    shares = {text: given.count(text) / 1000 for text in set(given)}
    assert shares.pop("") == pytest.approx(1.0, abs=0.1)  # a quarter of each of four
    assert shares.pop("a red disc") == pytest.approx(0.75, abs=0.05)
    assert shares.pop("lonely") == pytest.approx(0.75, abs=0.05)
    assert shares.pop("a red square") == pytest.approx(0.375, abs=0.05)
    assert shares.pop("a square in red") == pytest.approx(0.375, abs=0.05)
    assert shares.pop("a blue disc") == pytest.approx(0.375, abs=0.05)
    assert len(shares) == 6  # the orders of three keywords
    assert max(shares.values()) == pytest.approx(0.0625, abs=0.03)


def test_what_is_sampled_depends_on_seed_step_and_position_alone(
    conditioner: TextConditioner, data: ImageDataset
) -> None:
    def chosen(*arguments: int) -> list[str]:
        return texts_in(conditioner, conditioner.of_data(batch(data, *arguments), torch.zeros(0), 0))

    assert chosen(40) == chosen(20) + chosen(20, 20)
    assert chosen(40) != chosen(40, 0, 2)


def test_an_image_without_texts_has_the_empty_one() -> None:
    assert sampled_caption(((), ()), [0.7]) == ""


def test_the_null_prompt_is_the_empty_text_of_training(conditioner: TextConditioner) -> None:
    ids = conditioner.encoder.tokens([""])
    assert ids[0].tolist() == [START] + [PADDING] * 15
    null, trained = conditioner(conditioner.null(torch.zeros(2, 3))), conditioner(Condition(text=ids[:, None]))
    assert null.vector is not None
    assert trained.vector is not None
    torch.testing.assert_close(null.vector[:1], trained.vector)
    assert null.tokens is not None
    assert null.tokens.shape == (2, 1, 32)


def test_padding_counts_in_no_batch(conditioner: TextConditioner) -> None:
    """A short text beside a long one, and alone; and a prompt as the same caption in training."""
    short, long = "a red disc", "a blue disc in a red square"
    alone, both = conditioner(conditioner.parse([short], [0])), conditioner(conditioner.parse([short, long], [0, 1]))
    trained = conditioner(Condition(text=conditioner.encoder.tokens([short, long])[:, None]))
    assert alone.tokens is not None
    assert both.tokens is not None
    assert both.log_weights is not None
    count = alone.tokens.shape[1]
    for found in (both, trained):
        assert found.vector is not None
        assert found.tokens is not None
        assert found.log_weights is not None
        torch.testing.assert_close(found.vector[:1], alone.vector)
        torch.testing.assert_close(found.tokens[:1, :count], alone.tokens)
        assert found.log_weights[0].tolist() == [0.0] * count + [-torch.inf] * (found.tokens.shape[1] - count)


def test_a_weight_is_that_of_its_words(conditioner: TextConditioner) -> None:
    plain, weighed = conditioner.parse("a red disc", [0]), conditioner.parse("a (red:1.4) disc", [0])
    assert torch.equal(plain["text"], weighed["text"])
    span = dict(conditioner.encoder.spans("a red disc"))
    first = 1 + len(span[0])
    expected = plain["text_weights"].clone()
    expected[0, 0, first : first + len(span[2])] = 1.4
    torch.testing.assert_close(weighed["text_weights"], expected)


def test_a_blend_begins_with_the_first_and_ends_with_the_second(conditioner: TextConditioner) -> None:
    vectors = conditioner(conditioner.parse("a red disc ~ a blue square", range(3))).vector
    ends = conditioner(conditioner.parse(["a red disc", "a blue square"], range(2))).vector
    assert vectors is not None
    assert ends is not None
    torch.testing.assert_close(vectors[[0, 2]], ends)
    half = conditioner(conditioner.parse("a red disc ~0.5 a blue square", [0])).vector
    torch.testing.assert_close(vectors[1:2], half)
    assert not torch.allclose(vectors[1], vectors[0], atol=1e-3)


@pytest.mark.parametrize(
    ("prompt", "resolved", "texts", "share"),
    [
        ("2 eyes ~ 1 eye", "2 eyes ~0.5 1 eye", ("2 eyes", "1 eye"), 0.5),
        ("2 eyes~ 0 eyes", "2 eyes ~0.5 0 eyes", ("2 eyes", "0 eyes"), 0.5),
        ("2 eyes ~.25 1 eye", "2 eyes ~.25 1 eye", ("2 eyes", "1 eye"), 0.25),
        ("two eyes ~1 eye", "two eyes ~1 eye", ("two eyes", "eye"), 1.0),
        ('"2 eyes" ~0.25 "1 eye"', '"2 eyes" ~0.25 "1 eye"', ("2 eyes", "1 eye"), 0.25),
        ('1 mm ~ "0.25 mm"', "1 mm ~0.5 0.25 mm", ("1 mm", "0.25 mm"), 0.5),
        ("1 mm ~ 1.5 mm", "1 mm ~0.5 1.5 mm", ("1 mm", "1.5 mm"), 0.5),
        ("the 2nd ~1st of all", "the 2nd ~0.5 1st of all", ("the 2nd", "1st of all"), 0.5),
        ("2 ~1-eyed cat", "2 ~0.5 1-eyed cat", ("2", "1-eyed cat"), 0.5),
    ],
)
def test_a_number_is_a_share_where_it_follows_the_mark_without_a_space(
    prompt: str, resolved: str, texts: tuple[str, str], share: float
) -> None:
    assert prompts_of(prompt, 1) == [resolved]
    read = read_prompt(resolved)
    assert (tuple(part.text for part in read.parts), read.shares) == (texts, (1 - share, share))


def test_the_first_of_very_many_samples_of_a_blend_has_a_share_near_0() -> None:
    read = read_prompt(prompts_of("2 eyes ~ 1 eye", 20_001)[1])
    assert (read.parts[1].text, read.shares[1]) == ("1 eye", 5e-5)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "^prompt: is empty"),
        (" \n", "^prompt: is empty"),
        ("red " * 20, r"^prompt: red .* has \d+ tokens; this model takes 15; shorten it$"),
        ("a ~ b ~ c", "blends more than two texts"),
        ("~ a", "on one side of ~ alone"),
        ("a ~1.5 b", "~1.5 is no share; .* or put a space after ~ where"),
        ("a ~ 0.25 b", "~ 0.25 may be a share or begin a text; write ~0.25 for a share, or quotes around a text$"),
        ("(a:1000)", "the weight 1000 is too large"),
        (["a"], "1 are given for 2 samples"),
        (3, "3 is no text"),
        ([1, 2], "1 is no text"),
        ("x" * 10_001, "10,001 characters"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(conditioner: TextConditioner, prompt: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        conditioner.parse(prompt, range(2))


def test_words_never_seen_are_named_once(conditioner: TextConditioner) -> None:
    assert conditioner.unknown(["a (green:1.2) disc ~ a green ball", "a ball"]) == ("green", "ball")


def test_data_without_captions_are_refused(data: ImageDataset) -> None:
    with pytest.raises(InputError, match="text needs images with captions"):
        texts_of(replace(data, captions=None))


def test_tokens_without_weights_count_fully_among_others() -> None:
    tokens = torch.zeros(2, 1, 3)
    weights = combined(
        [NetworkCondition(tokens=tokens), NetworkCondition(tokens=tokens, log_weights=-torch.ones(2, 1))]
    )
    assert weights.log_weights is not None
    assert weights.log_weights.tolist() == [[0.0, -1.0]] * 2


class Words(TextEncoder):
    """Two words, one for each class of the mixture; a token is the class that it names."""

    width, length = 2, 3

    def fit(self, captions) -> None: ...

    def spans(self, text: str) -> list[tuple[int, list[int]]]:
        return [(text.index(word), [2 + ("first", "other").index(word)]) for word in text.split()]

    def unknown(self, text: str) -> tuple[str, ...]:
        return ()

    def same_tokens(self, other: TextEncoder) -> bool:
        return type(other) is Words

    def forward(self, ids: Tensor) -> EncodedText:
        states = torch.stack([ids == 3, ids == 2], 2).double()
        return EncodedText(states, ids != PADDING, states.mean(1))


class ExactNetwork(nn.Module):
    """x̂_0 of the mixture's components whose words are among the tokens; of all of them where there is none."""

    def __init__(self, schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, x: Tensor, t: Tensor, condition: NetworkCondition) -> Tensor:
        assert condition.tokens is not None
        assert condition.log_weights is not None
        named = (condition.tokens[0] * condition.log_weights[0].exp()[:, None]).sum(0) > 0
        by_class = [torch.tensor([0]), OF_CLASS]
        parts = torch.cat([by_class[i] for i in range(2) if named[i] or not named.any()])
        return mixture(self.schedule, parts)(x, float(t[0])).clean


class Plain:
    """F = x_0, and the network is given the time itself."""

    name = "clean"

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 0.0, 1.0, t.t)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("scale", SCALES)
def test_prompts_of_a_labelled_mixture_have_the_exact_score(schedule, scale: float) -> None:
    """Conditional (1), guided, and composed with a negative prompt: to 1e-10 of those of the densities."""
    conditioners = Conditioners({"text": TextConditioner(Words(), 4).double()})
    network = NetworkDenoiser(ExactNetwork(schedule), schedule, Plain(), conditioner=conditioners).double()
    prompt = conditioners.parse({"text": "first"}, range(len(POINTS)))
    now = noise_level(schedule, 0.4)

    def score(guidance: Guidance) -> Tensor:
        sampling = Sampling(guidance=guidance, threshold="none")
        return guided(network, prompt, sampling, (), (2,))(POINTS, now).score

    torch.testing.assert_close(score(Guidance(scale=scale)), guided_score(POINTS, now, scale), rtol=0, atol=1e-10)
    first, other = (mixture(schedule, parts)(POINTS, now).score for parts in (OF_CLASS, torch.tensor([0])))
    composed = score(Guidance(scale=scale, negative="other"))
    torch.testing.assert_close(composed, other + scale * (first - other), rtol=0, atol=1e-10)
    both = conditioners.parse({"text": "first other"}, range(len(POINTS)))
    plain = guided(network, both, Sampling(threshold="none"), (), (2,))(POINTS, now).score
    torch.testing.assert_close(plain, mixture(schedule)(POINTS, now).score, rtol=0, atol=1e-10)


def test_a_run_is_the_same_resumed_and_samples_by_prompts(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    config = override(build("text-to-image", DataConfig(source=str(folder), size=8)), TINY)
    model, _ = killed_and_resumed(config, tmp_path, monkeypatch, at=6)
    scrambled(model.network_denoiser)
    one = model.sample(3, prompt="grey number 4", seed=1)
    assert torch.equal(one, model.sample(3, prompt=["grey number 4"] * 3, seed=1))
    assert not torch.equal(one, model.sample(3, prompt="flat", seed=1))
    assert not torch.equal(one, model.sample(3, prompt="grey number 4", seed=1, guidance=Guidance(3, negative="flat")))
    assert not torch.equal(one, model.sample(3, seed=1))
    assert model.vary(one[0], 0.5, 2, prompt="flat").shape == (2, 1, 8, 8)
    assert model.interpolate(one[0], one[1], 2, prompt="flat", steps=2).shape == (2, 1, 8, 8)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    inpainted = [model.inpaint(one[0], mask, 1, prompt=text) for text in ("flat", "grey number 4")]
    assert not torch.equal(*inpainted)
    with pytest.raises(InputError, match="part of the condition"):
        model.sample(1, prompt="flat", condition={"text": "flat"})

    run = str(model.folder)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\ufeffgrey number 1\n\n  flat zebra \n")
    main(
        [
            "sample",
            run,
            "--prompts",
            str(prompts),
            "--batch-size",
            "1",
            "--negative",
            "a yak",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    assert "note: never seen in training: zebra, a, yak" in capsys.readouterr().out
    each = [json.loads(Image.open(tmp_path / "out" / f"0000{i}.png").text["sumi"])["prompt"] for i in range(2)]
    assert each == ["grey number 1", "flat zebra"]
    assert not (tmp_path / "out" / "00002.png").exists()
    prompts.write_text("flat\n" + "a" * 10_001)
    for file, why in ((prompts, "has 10,001 characters; give 10,000 or fewer"), ("/dev/zero", "has more than 10 MB")):
        assert main(["sample", run, "--prompts", str(file)]) == 2
        refused = capsys.readouterr().err
        assert refused.startswith("sumi: --prompts")
        assert why in refused
    long = "flat " * 200
    for words, why in (
        (["--prompt", long], "sumi: --prompt: flat flat"),
        (["--prompt", "flat", "--negative", long], "sumi: --negative: flat flat"),
        (["--prompt", "(flat:-1)"], "sumi: --prompt: (flat:-1) counts less than nothing"),
    ):
        assert main(["sample", run, *words]) == 2
        assert capsys.readouterr().err.startswith(why)
    main(["sample", run, "--prompt", '"flat" ~ "grey number"', "-n", "3", "--out", str(tmp_path / "blend")])
    about = json.loads(Image.open(tmp_path / "blend" / "00001.png").text["sumi"])
    assert (about["prompt"], about["guidance"]) == ("flat ~0.5 grey number", 2.0)


def test_candidates_carry_their_own_prompts_and_errors_name_the_one_at_fault(folder: Path, tmp_path, capsys) -> None:
    config = override(build("text-to-image", DataConfig(source=str(folder), size=8)), TINY)
    data = load_images(config.data)
    denoiser = build_denoiser(config, data.spec)
    denoiser.conditioner.fit(data)
    run, out = tmp_path / "run", tmp_path / "out"
    DiffusionModel(RunDescription(config, data.spec, data.fingerprint(), data.std()), denoiser, 1, run).save(run)

    vary = ["vary", str(run), str(folder / "2.png"), "--prompt", "flat  ~ grey (number:2)", "--out", str(out)]
    for n, code in (("3", 0), ("3", 0), ("2", 2)):
        assert main([*vary, "-n", n, "--solver", "ddim@karras"]) == code
    assert "which was made with other settings" in capsys.readouterr().err
    about = [json.loads(Image.open(out / f"0000{i}.png").text["sumi"]) for i in range(3)]
    assert [one["prompt"] for one in about] == [f"flat ~{share} grey (number:2)" for share in ("0", "0.5", "1")]
    assert about[0]["method"] == "ddim@karras"

    (tmp_path / "prompts.txt").write_text("flat\n", encoding="utf-16-le")
    assert main(["sample", str(run), "--prompts", str(tmp_path / "prompts.txt")]) == 2
    assert "zero bytes, as UTF-16 has); give a file of one prompt a line, in UTF-8" in capsys.readouterr().err
    for negative in ("a ~ b ~ c", "(flat:-1)"):
        assert main(["sample", str(run), "--prompt", "flat", "--negative", negative, "--guidance", "2"]) == 2
        assert capsys.readouterr().err.startswith(f"sumi: --negative: {negative}")


def test_words_that_a_guiding_clip_has_not_seen_are_named(folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """And it is loaded once, to name them, to guide each batch and to be recorded."""
    settings = ["width=8", "network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16"]
    settings += ["encoder.width=32", "encoder.tokens=300", "encoder.length=16"]
    config = override(build("clip", DataConfig(source=str(folder), size=8)), settings)
    data = load_images(config.data)
    objective = config.build(data.spec)
    objective.fit(data)
    about = RunDescription(config, data.spec, data.fingerprint(), data.std())
    config.wrap(about, objective.model, 1, tmp_path).save(tmp_path / "clip")
    run = untrained(tmp_path / "run", data.spec)
    loads, wrap = list[str](), type(config).wrap
    monkeypatch.setattr(type(config), "wrap", lambda *given: loads.append("clip") or wrap(*given))
    more = ["--clip", str(tmp_path / "clip"), "-n", "1", "--steps", "1", "--out", str(tmp_path / "out")]
    three = [*more, "-n", "3", "--batch-size", "1"]
    assert main(["sample", str(run), "--prompt", "a grey (zebra:2)", *three]) == 0
    assert "note: never seen in training: a, zebra" in capsys.readouterr().out
    assert loads == ["clip"]
    about = json.loads(Image.open(tmp_path / "out" / "00000.png").text["sumi"])
    assert about["clip"] == str(tmp_path / "clip")
    (tmp_path / "prompts.txt").write_text("flat\nflat ~ grey\n")
    more = ["--prompts", str(tmp_path / "prompts.txt"), "--batch-size", "1", *more[:2], "--out", str(tmp_path / "none")]
    assert main(["sample", str(run), *more]) == 2
    assert "flat ~0.5 grey blends two texts, and a CLIP takes one" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("network", ["unet", "transformer"])
def test_words_to_latents_with_either_network(folder: Path, tmp_path: Path, network: str) -> None:
    """Trained in two sittings as in one; the words count; pixels come out; inpainting takes them too."""
    settings = ["autoencoder.steps=4", "autoencoder.network.widths=32", "autoencoder.network.blocks=1"]
    settings += ["autoencoder.batch_size=8", "data.size=8", "training.batch_size=8", "training.sample_every=0"]
    settings += ["sampling.steps=3", "training.checkpoint_every=2", f"network={network}", "network.embedding=32"]
    settings += {
        "unet": ["network.widths=32", "network.blocks=1", "network.attention=", "network.cross_attention=-1"],
        "transformer": ["network.width=64", "network.blocks=1", "network.patch=2", "network.tokens=keys"],
    }[network]
    whole = train("stable-diffusion", data=folder, out=tmp_path / "whole", steps=4, settings=settings)
    train("stable-diffusion", data=folder, out=tmp_path / "halted", steps=2, settings=settings)
    model = train("stable-diffusion", data=folder, out=tmp_path / "halted", steps=4, resume=True)
    for name, weight in whole.module.state_dict().items():
        assert torch.equal(weight, model.module.state_dict()[name])
    scrambled(model.network_denoiser)
    one = model.sample(2, prompt="grey number 4", seed=1)
    assert one.shape == (2, 1, 8, 8)
    assert not torch.equal(one, model.sample(2, prompt="flat", seed=1))
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    inpainted = [model.inpaint(one[0], mask, 1, prompt=text) for text in ("flat", "grey number 4")]
    assert not torch.equal(*inpainted)
    torch.testing.assert_close(inpainted[0][0, :, 4:], one[0][:, 4:], rtol=0, atol=1e-6)  # what is known is kept


def test_what_is_no_unicode_is_a_question_mark_in_captions_and_prompts() -> None:
    captions, keywords = ("a \ud83d disc", ""), ((), ("caf\udce9",))
    data = ImageDataset(np.zeros((2, 1, 8, 8), np.uint8), None, (), captions, ("a", "b"), keywords=keywords)
    assert texts_of(data) == [(("a ? disc",), ()), ((), ("caf?",))]
    assert prompts_of("caf\udce9", 1) == ["caf?"]


def test_blank_lines_are_no_captions() -> None:
    data = ImageDataset(np.zeros((1, 1, 8, 8), np.uint8), None, (), ("\na disc\n \nit is red\n",), ("a",))
    assert texts_of(data) == [(("a disc", "it is red"), ())]


def test_a_run_without_text_takes_no_prompt() -> None:
    message = r"^prompt: this model was trained without captions; train text-to-image"
    with pytest.raises(InputError, match=message):
        conditioned_model("inpaint").sample(1, prompt="a")


@pytest.mark.parametrize("caption", ["5 ~ 6 of them", "a (b:2) c", "a (b:-2) c", "ends in ~", "a (plain) word: 3"])
def test_a_caption_of_data_is_a_prompt_of_one_text_without_weights(caption: str) -> None:
    found = read_prompt(as_text(caption))
    assert [len(found.parts), found.parts[0].weighted] == [1, ()]
    assert found.parts[0].text.replace(" ", "") == caption.replace("~", "").replace(" ", "").replace("(b", "b")

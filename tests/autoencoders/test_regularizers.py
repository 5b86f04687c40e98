"""What keeps latents in bounds: the divergence is torch's, rounding and codebook give the nearest, and codes revive."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from sumi.autoencoders.regularizers import FSQ, KL, VQ, Codebook
from sumi.errors import InputError


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_divergence_is_the_gaussians_and_latents_have_their_mean_and_std() -> None:
    regularizer, h = KL(channels=3, weight=0.5).build(), randn(2, 6, 4, 5)
    mean, log_std = h.chunk(2, dim=1)
    noise = randn(2, 3, 4, 5, seed=1)
    z, loss = regularizer(h, noise)
    exact = kl_divergence(Normal(mean.double(), log_std.double().exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(loss.double(), 0.5 * exact)
    torch.testing.assert_close(z, mean + log_std.exp() * noise)
    assert torch.equal(regularizer.posterior(h)[0], mean)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 3), (7,)])
def test_rounding_gives_all_levels_and_no_others(levels: tuple[int, ...]) -> None:
    regularizer = FSQ(levels).build()
    h = 4 * randn(64, len(levels), 8, 8)
    z, loss = regularizer(h, torch.zeros(0))
    assert not loss.any()
    for channel, count in enumerate(levels):
        values = z[:, channel].detach().unique()
        expected = (torch.arange(count) - count // 2) / (count // 2)
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-6)
    assert torch.equal(regularizer.project(z), regularizer.posterior(h)[0])
    far = torch.full((1, len(levels), 1, 1), 9.0)  # ends at the outer levels, of which the highest may be below 1
    assert regularizer.project(far).flatten().tolist() == pytest.approx([(n - 1) // 2 / (n // 2) for n in levels])
    assert regularizer.project(-far).flatten().tolist() == [-1] * len(levels)
    codes = regularizer.codes(z)
    assert codes is not None
    assert (regularizer.count, int(codes.min()) >= 0, int(codes.max()) < regularizer.count) == (
        torch.tensor(levels).prod().item(),
        True,
        True,
    )
    distinct = len(z.detach().movedim(1, -1).flatten(0, 2).unique(dim=0))
    assert len(codes.unique()) == distinct  # one number a combination


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 3, 4, 7)])
def test_rounding_is_that_of_the_paper(levels: tuple[int, ...]) -> None:
    """The listing of Mentzer et al. 2024 (appendix A.1), with NumPy: bound, round, and the number of a code."""
    h = 3 * randn(50, len(levels), 6, 6).double()
    z = h.movedim(1, -1).numpy()
    count, eps = np.array(levels), 1e-3
    half_l = (count - 1) * (1 - eps) / 2
    offset = np.where(count % 2 == 1, 0.0, 0.5)
    shift = np.tan(offset / half_l)
    quantized = np.round(np.tanh(z + shift) * half_l - offset)
    half_width = count // 2
    basis = np.concatenate([[1], np.cumprod(count[:-1])])
    regularizer = FSQ(levels).build()
    found = regularizer.posterior(h.float())[0]
    np.testing.assert_allclose(found.movedim(1, -1).numpy() * half_width, quantized, rtol=0, atol=1e-6)
    assert np.array_equal(regularizer.codes(found).numpy(), ((quantized + half_width) * basis).sum(-1))
    assert not regularizer.posterior(torch.zeros(1, len(levels), 1, 1))[0].any()
    assert len(regularizer.codes(found).unique()) <= regularizer.count


def test_the_gradient_passes_rounding() -> None:
    regularizer, h = FSQ((5,)).build(), randn(2, 1, 3, 3).requires_grad_()
    (through,) = torch.autograd.grad(regularizer(h, torch.zeros(0))[0].sum(), h)
    (smooth,) = torch.autograd.grad((regularizer.bounded(h) / 2).sum(), h)
    assert torch.equal(through, smooth)


def codebook(codes: int = 16, **fields: float) -> Codebook:
    torch.manual_seed(0)
    return VQ(channels=2, codes=codes, **fields).build()


def test_the_nearest_vector_is_taken_and_the_gradient_passes() -> None:
    book, h = codebook(weight=0.25), randn(3, 2, 4, 4, seed=2).requires_grad_()
    z, loss = book(h, torch.zeros(0))
    rows = h.detach().movedim(1, -1).reshape(-1, 1, 2)
    nearest = (rows - book.vectors).square().sum(2).argmin(1)
    expected = book.vectors[nearest].view(3, 4, 4, 2).movedim(-1, 1)
    torch.testing.assert_close(z.detach(), expected)
    torch.testing.assert_close(loss, 0.25 * (h - expected).square().flatten(1).mean(1))
    (through,) = torch.autograd.grad(z.sum(), h, retain_graph=True)
    assert torch.equal(through, torch.ones_like(h))
    assert torch.equal(book.project(h.detach()), expected)


def test_vectors_are_moving_averages_of_what_they_replace() -> None:
    book, h = codebook(decay=0.9), randn(8, 2, 4, 4, seed=3)
    book.counts.fill_(10.0)
    before, codes = book.vectors.clone(), book.codes(h).flatten()
    for part in h.split(4):  # in two parts, as with accumulation
        book(part, torch.zeros(0))
    assert torch.equal(book.vectors, before)
    book.begin(seed=0, step=2)
    rows = h.movedim(1, -1).reshape(-1, 2)
    for code in range(16):
        own = rows[codes == code]
        count = 0.9 * 10 + 0.1 * len(own)
        expected = (0.9 * 10 * before[code] + 0.1 * own.sum(0)) / count
        torch.testing.assert_close(book.vectors[code], expected)
        torch.testing.assert_close(float(book.counts[code]), count)
    after, counts = book.vectors.clone(), book.counts.clone()
    book.begin(seed=0, step=3)  # nothing new was seen
    assert torch.equal(book.vectors, after)
    assert torch.equal(book.counts, counts)


def test_a_vector_that_is_not_used_begins_again_at_one_of_the_batch() -> None:
    book, h = codebook(codes=8, decay=0.5), randn(8, 2, 4, 4, seed=4)
    book.vectors[3:] = 100.0
    for step in range(1, 20):
        book(h, torch.zeros(0))
        book.begin(seed=0, step=step)
        if step == 1:  # with the mean count, so that they are not given up at once
            assert (book.counts[3:] == 0.5 * h[:, 0].numel() / 8).all()
            rows = h.movedim(1, -1).reshape(-1, 2)
            assert len({tuple(row.tolist()) for row in rows} & {tuple(v.tolist()) for v in book.vectors[3:]}) == 5
    assert len(book.codes(h).unique()) == 8
    assert book.vectors.abs().max() < 5
    book.eval()
    held = book.seen_counts.clone()
    book(h, torch.zeros(0))
    assert torch.equal(book.seen_counts, held)  # only training counts


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KL(channels=0), r"^regularizer\.channels: 0 is too few"),
        (lambda: KL(weight=-1.0), r"^regularizer\.weight: -1\.0 is negative"),
        (lambda: VQ(codes=1), r"^regularizer\.codes: 1 is too few"),
        (lambda: VQ(decay=1.0), r"^regularizer\.decay: 1\.0 is not in \[0, 1\)"),
        (lambda: FSQ(levels=()), r"^regularizer\.levels: \[\] are too few"),
        (lambda: FSQ(levels=(1, 5)), r"^regularizer\.levels: \[1, 5\] are too few"),
    ],
)
def test_what_cannot_be_is_refused(build, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()

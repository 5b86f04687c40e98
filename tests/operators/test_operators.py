"""Operators against the matrices that they stand for, found by probing, and against independent implementations."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import convolve
from torch import Tensor

from sumi.errors import InputError
from sumi.operators.convolution import Convolution, gaussian_blur, motion_blur
from sumi.operators.jpeg import JPEG, cosine_transform
from sumi.operators.linear import Composed, Grey, Linear, Mask, Operator, Weighted, linear
from sumi.operators.separable import Separable, bicubic, box
from sumi.restoration.measurement import Measurement

RNG = np.random.default_rng(0)
WHITE = torch.from_numpy(RNG.random((8, 8)) < 0.4)
LOW_RANK = torch.from_numpy(RNG.standard_normal((7, 4)) @ RNG.standard_normal((4, 12)))
WIDE = torch.from_numpy(RNG.standard_normal((3, 8)))

LOPSIDED = torch.tensor([[0.7, 0.2, 0.0], [0.1, 0.0, 0.0]])

OPERATORS: dict[str, tuple[Operator, tuple[int, ...]]] = {
    "mask": (Mask(WHITE), (3, 8, 8)),
    "mask of vectors": (Mask(torch.tensor([True, False, True])), (3,)),
    "weights": (Weighted(torch.tensor([2.0, 0.0, 0.25])), (3,)),
    "box": (box(8, 4, 2), (2, 8, 4)),
    "bicubic": (bicubic(8, 12, 2), (2, 8, 12)),
    "bicubic by 4": (bicubic(8, 8, 4), (1, 8, 8)),
    "separable": (Separable(WIDE, WIDE.T @ WIDE), (1, 8, 8)),
    "gaussian blur": (gaussian_blur(0.8), (2, 8, 7)),
    "wide gaussian blur": (gaussian_blur(2.0), (1, 8, 8)),
    "motion blur": (motion_blur(5, 30), (1, 7, 8)),
    "lopsided blur": (Convolution(LOPSIDED), (1, 6, 5)),
    "grey": (Grey(), (3, 4, 4)),
    "matrix": (Linear(LOW_RANK), (12,)),
    "matrix of pictures": (Linear(LOW_RANK, (3, 2, 2)), (3, 2, 2)),
    "grey and box": (Composed(box(4, 4, 2), Grey()), (3, 4, 4)),
    "masked blur": (Composed(Mask(WHITE), gaussian_blur(0.6)), (1, 8, 8)),
    "bicubic of a masked picture": (Composed(bicubic(8, 8, 2), Mask(WHITE)), (1, 8, 8)),
}


def randn(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def dense(f, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a linear map, column by column."""
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).view(-1, *shape)
    return f(units).flatten(1).numpy().T


@pytest.mark.parametrize("name", OPERATORS)
def test_the_adjoint_is_the_transpose(name: str) -> None:
    operator, shape = OPERATORS[name]
    x = randn(5, *shape)
    y = randn(*operator(x).shape, seed=2)
    left, right = ((v * w).flatten(1).sum(1) for v, w in ((operator(x), y), (x, operator.adjoint(y))))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-12)
    np.testing.assert_allclose(dense(operator.adjoint, y.shape[1:]), dense(operator, shape).T, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_pseudo_inverse_is_moore_and_penroses(name: str) -> None:
    """Its four equations, and LAPACK's own with the same singular values taken for 0; 1e-9 where it is iterated."""
    operator, shape = OPERATORS[name]
    a = dense(operator, shape)
    inverse = dense(operator.pseudo_inverse, operator(torch.zeros(1, *shape)).shape[1:])
    atol = 1e-9 if isinstance(operator, Composed) else 1e-11
    np.testing.assert_allclose(a @ inverse @ a, a, rtol=0, atol=atol)
    np.testing.assert_allclose(inverse @ a @ inverse, inverse, rtol=0, atol=atol)
    for product in (inverse @ a, a @ inverse):
        np.testing.assert_allclose(product, product.T, rtol=0, atol=atol)
    np.testing.assert_allclose(inverse, np.linalg.pinv(a, rcond=1e-9), rtol=0, atol=10 * atol)


@pytest.mark.parametrize("name", OPERATORS)
def test_in_float32_it_is_the_same(name: str) -> None:
    """To single precision, times what the pseudo-inverse may enlarge: 1000 for blurs."""
    operator, shape = OPERATORS[name]
    x = randn(2, *shape)
    y = operator(x)
    for f, v in ((operator, x), (operator.adjoint, y), (operator.pseudo_inverse, y)):
        single = f(v.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), f(v), rtol=1e-3, atol=1e-3)


def test_white_is_painted_and_black_is_kept_to_the_bit() -> None:
    x = randn(2, 3, 8, 8, dtype=torch.float32)
    kept = Mask(WHITE)(x)
    assert torch.equal(kept[..., ~WHITE], x[..., ~WHITE])
    assert bool((kept[..., WHITE] == 0).all())
    x[..., WHITE] = torch.nan  # is not looked at
    assert torch.equal(Mask(WHITE).pseudo_inverse(x), kept)
    of_each = Mask(torch.tensor([[True, False], [False, True]]))(torch.ones(2, 2))
    assert of_each.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_bicubic_is_pytorchs(factor: int) -> None:
    x = randn(2, 3, 16, 24)
    wanted = torch.nn.functional.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)
    torch.testing.assert_close(bicubic(16, 24, factor)(x), wanted, rtol=0, atol=1e-12)


def test_box_means_squares_and_its_inverse_repeats_them() -> None:
    x = randn(2, 3, 6, 9)
    small = box(6, 9, 3)(x)
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(x, 3), rtol=0, atol=1e-14)
    repeated = small.repeat_interleave(3, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(box(6, 9, 3).pseudo_inverse(small), repeated, rtol=0, atol=1e-13)


def test_blur_is_scipys_circular_convolution() -> None:
    """Also with a kernel that is not symmetric; none of these kernels loses a frequency."""
    x = randn(9, 10)
    for blur in (gaussian_blur(0.5), Convolution(LOPSIDED)):
        kernel = np.zeros((11, 11))  # centred, of odd sides
        h, w = blur.kernel.shape
        kernel[5 - h // 2 : 5 - h // 2 + h, 5 - w // 2 : 5 - w // 2 + w] = blur.kernel
        wanted = convolve(x.numpy(), kernel, mode="wrap")
        np.testing.assert_allclose(blur(x[None, None])[0, 0].numpy(), wanted, rtol=0, atol=1e-14)


def test_a_blur_keeps_the_mean_and_has_its_width_and_its_direction() -> None:
    """Second moments: of a Gaussian its variance (less 1 % in its cut tails), of a line of length L its L²/12, and
    what sharing a point between two pixels adds, at most a quarter."""
    pixels = torch.arange(-20, 21, dtype=torch.float64)

    def moments(kernel: Tensor) -> tuple[float, float, float]:
        wide = torch.zeros(41, 41, dtype=torch.float64)
        h, w = (n // 2 for n in kernel.shape)
        wide[20 - h : 21 + h, 20 - w : 21 + w] = kernel
        assert float(wide.sum()) == pytest.approx(1, abs=1e-12)
        assert float((wide * pixels).sum()) == pytest.approx(0, abs=1e-12)
        y, x = -pixels[:, None], pixels
        return tuple(float((wide * v).sum()) for v in (x * x, x * y, y * y))

    assert moments(gaussian_blur(1.5).kernel) == pytest.approx((2.25, 0, 2.25), rel=0.01, abs=1e-12)
    for angle in (0, 30, 90, 135):
        across, down = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        wanted = np.array([across**2, across * down, down**2]) * 9**2 / 12
        found = np.array(moments(motion_blur(9, angle).kernel))
        assert found[1] == pytest.approx(wanted[1], abs=0.02)
        assert (found[[0, 2]] - wanted[[0, 2]] > -0.01).all()
        assert (found[[0, 2]] - wanted[[0, 2]] < 0.26).all()


def test_lost_frequencies_are_lost_in_the_blur_itself() -> None:
    """A wide Gaussian lets pass a tenth of a thousandth of the finest; what comes back is at most 1000 times larger."""
    blur = gaussian_blur(2.0)
    singular = np.linalg.svd(dense(blur, (1, 8, 8)), compute_uv=False)
    assert ((singular > 1e-3) | (singular < 1e-14)).all()
    assert 0 < (singular < 1e-14).sum() < 64
    assert singular.max() == pytest.approx(1, abs=1e-3)


def test_what_a_blur_loses_does_not_depend_on_its_scale() -> None:
    """A kernel c times as large is c times the operator, and its inverse 1/c times: gains count to the largest."""
    x, kernel = randn(1, 1, 9, 8), gaussian_blur(1.2).kernel
    blur = Convolution(kernel, 1e-2)
    assert 0.1 < float((x - blur.pseudo_inverse(blur(x))).square().mean()) < 0.9  # some is lost, and some not
    for scale in (1e-4, 30.0):
        scaled = Convolution(scale * kernel, 1e-2)
        torch.testing.assert_close(scaled(x), scale * blur(x), rtol=1e-9, atol=0)
        torch.testing.assert_close(scaled.pseudo_inverse(x), blur.pseudo_inverse(x) / scale, rtol=1e-9, atol=0)


def test_grey_of_grey_is_itself() -> None:
    x = randn(2, 1, 4, 4)
    torch.testing.assert_close(Grey()(x.expand(2, 3, 4, 4)), x, rtol=0, atol=1e-14)


def test_jpeg_rounds_the_cosine_transform() -> None:
    jpeg, x = JPEG(50), randn(2, 3, 16, 24).tanh()
    y = jpeg(x)
    for block in ((slice(0, 8), slice(0, 8)), (slice(8, 16), slice(16, 24))):
        before, after = (
            dctn((v[1, 2][block].numpy() + 1) * 127.5 - 128, norm="ortho") / jpeg.table.numpy() for v in (x, y)
        )
        np.testing.assert_allclose(after, before.round(), rtol=0, atol=1e-9)
    torch.testing.assert_close(jpeg(y), y, rtol=0, atol=1e-12)
    assert float((JPEG(100)(x) - x).abs().max()) < 4 / 127.5  # half a level in each of 64 coefficients, √64/2
    np.testing.assert_allclose(cosine_transform(8) @ cosine_transform(8).T, np.eye(8), atol=1e-14)


def test_jpeg_is_pillows_but_for_its_integer_arithmetic() -> None:
    """Of 4096 coefficients fewer than 1 % come out as another multiple of the table, the next one."""
    levels, jpeg = (128 + 40 * randn(64, 64).numpy()).clip(60, 196).astype(np.uint8), JPEG(60)
    file = BytesIO()
    Image.fromarray(levels).save(file, "jpeg", quality=60)
    ours = (jpeg(torch.from_numpy(levels / 127.5 - 1)[None, None])[0, 0].numpy() + 1) * 127.5
    pillows = np.asarray(Image.open(file)).astype(float)
    multiples = [
        (
            dctn(v.reshape(8, 8, 8, 8).transpose(0, 2, 1, 3) - 128, axes=(2, 3), norm="ortho") / jpeg.table.numpy()
        ).round()
        for v in (ours, pillows)
    ]
    change = np.abs(multiples[0] - multiples[1])
    assert change.max() <= 1
    assert change.mean() < 0.01


def test_jpegs_gradient_is_that_of_no_loss() -> None:
    x = randn(1, 1, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(JPEG(20)(x), x, weight := randn(1, 1, 8, 8, seed=2))
    torch.testing.assert_close(gradient, weight, rtol=0, atol=1e-12)


def test_a_measurement_keeps_of_y_what_the_operator_gives() -> None:
    x, junk = randn(2, 12), randn(2, 7, seed=2)
    operator = Linear(LOW_RANK)
    y = operator(x)
    junk = junk - operator(operator.pseudo_inverse(junk))
    torch.testing.assert_close(Measurement(operator, y + junk).y, y, rtol=0, atol=1e-12)
    assert torch.equal(Measurement(Mask(WHITE), torch.ones(1, 8, 8)).y, (~WHITE).float()[None])
    found = Measurement(operator, y).consistent(other := randn(2, 12, seed=3))
    torch.testing.assert_close(operator(found), y, rtol=0, atol=1e-11)
    torch.testing.assert_close(operator(found - other), y - operator(other), rtol=0, atol=1e-11)
    seen = operator.pseudo_inverse(operator(found - other))  # moved as little as could be
    torch.testing.assert_close(seen, found - other, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mask(WHITE)(torch.zeros(1, 1, 8, 9)), r"x: is of shape \(1, 1, 8, 9\), .* what a mask of \(8, 8\)"),
        (lambda: Mask(WHITE.double()), "mask: is of torch.float64"),
        (lambda: box(8, 9, 2), "factor: 2 does not divide 8 × 9"),
        (lambda: bicubic(8, 8, 0), "factor: 0"),
        (lambda: box(8, 8, 2)(torch.zeros(1, 1, 8, 6)), r"x: is of shape .* takes \(N, C, 8, 8\)"),
        (lambda: box(8, 8, 2).adjoint(torch.zeros(1, 1, 8, 8)), r"y: is of shape .* takes \(N, C, 4, 4\)"),
        (lambda: Grey()(torch.zeros(1, 1, 8, 8)), r"x: is of shape .* takes \(N, 3, H, W\)"),
        (lambda: Grey().adjoint(torch.zeros(1, 3, 8, 8)), r"y: is of shape .* takes \(N, 1, H, W\)"),
        (lambda: Linear(LOW_RANK)(torch.zeros(1, 11)), r"x: is of shape .* takes \(N, 12\)"),
        (lambda: Linear(LOW_RANK).adjoint(torch.zeros(1, 6)), r"y: is of shape .* takes \(N, 7\)"),
        (lambda: Linear(LOW_RANK, (3, 5)), r"shape: \(3, 5\) has 15 elements, the matrix 12 columns"),
        (lambda: gaussian_blur(1.0)(torch.zeros(8, 8)), r"x: is of shape .* takes \(N, C, H, W\)"),
        (lambda: gaussian_blur(0.0), "std: 0.0"),
        (lambda: motion_blur(0.0, 3), "length: 0.0"),
        (lambda: Convolution(torch.ones(3), 0.1), r"kernel: is of shape \(3,\)"),
        (lambda: Convolution(torch.ones(3, 3), 0.0), "least: 0.0"),
        (lambda: Composed(Grey(), Grey(), 0), "iterations: 0"),
        (lambda: Composed(Grey(), JPEG(50)), "operator: JPEG is not linear, which a composition needs; use DPS"),
        (lambda: linear(torch.sin, "DDNM"), "operator: .* is not linear, which DDNM needs; use DPS"),
        (lambda: JPEG(0), "quality: 0"),
        (lambda: JPEG(50)(torch.zeros(1, 1, 8, 9)), "x: is of shape .* multiples of 8"),
        (lambda: Measurement(Grey(), torch.zeros(1, 1, 8, 8), -0.1), "std: -0.1 is negative"),
        (lambda: Measurement(Grey(), torch.zeros(2, 1, 8, 8)).residual(torch.zeros(3, 3, 8, 8)), "y: is of shape"),
        (lambda: Measurement(Grey(), torch.zeros(1, 1, 4, 4)).consistent(torch.zeros(3, 3, 8, 8)), "y: is of shape"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as error:
        call()
    assert "\n" not in str(error.value)

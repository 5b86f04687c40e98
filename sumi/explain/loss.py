"""The loss by noise level: which times are easy and which are hard."""

from pathlib import Path

from sumi.evaluation.loss_by_noise import LossByNoise
from sumi.explain.figure import INK, RED, Drawn, canvas, save


def draw_loss(losses: LossByNoise, path: Path) -> Drawn:
    """Held-out mean squared errors of x̂_0 and ε̂ over t."""
    figure = canvas(6.5, 3.4)
    axes = figure.subplots()
    axes.semilogy(losses.t, losses.mse_noise, color=INK, marker=".", label="of the noise ε̂")
    axes.semilogy(losses.t, losses.mse_clean, color=RED, marker=".", label="of the image x̂₀")
    axes.set_xlabel("t   (0 data, 1 noise)")
    axes.set_ylabel("mean squared error, held-out images")
    axes.grid(alpha=0.25, which="both")
    axes.legend(frameon=False)
    (noise, noise_at), (image, image_at) = (
        max(zip(errors, losses.t, strict=True)) for errors in (losses.mse_noise, losses.mse_clean)
    )
    return save(
        figure,
        path,
        f"the noise is hardest to tell at t = {noise_at:.3f} (error {noise:.3f}), "
        f"the image at t = {image_at:.3f} (error {image:.3f})",
    )

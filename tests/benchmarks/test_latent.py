"""What latents save: when a curve reaches another's end, and the lines that say so."""

from math import sqrt

import pytest

from benchmarks import latent
from benchmarks.latent import SYSTEMS, announced, costs, reached, savings

TIMES = [25.0, 50.0, 100.0, 200.0]


def test_a_curve_reaches_a_distance_between_two_points_by_the_logarithm_of_time() -> None:
    curve = [40.0, 20.0, 10.0, 12.0]
    assert reached(TIMES, curve, 15.0) == pytest.approx(50 * sqrt(2))
    assert reached(TIMES, curve, 20.0) == 50
    assert reached(TIMES, curve, 50.0) == 25
    assert reached(TIMES, curve, 9.0) is None


def test_savings_are_those_of_the_pixel_unet_with_the_autoencoder_included() -> None:
    curves = {
        "pixel U-Net": [90.0, 60.0, 30.0, 15.0],
        "pixel transformer": [99.0, 80.0, 70.0, 60.0],
        "latent U-Net": [40.0, 20.0, 10.0, 5.0],
        "latent transformer": [9.0, 8.0, 7.0, 6.0],
    }
    samples = {"pixel U-Net": 0.4, "pixel transformer": 0.2, "latent U-Net": 0.1, "latent transformer": 0.04}
    assert savings(curves, samples, TIMES, 10.0) == [
        "the pixel transformer does not reach the pixel U-Net's 15.0 within 200 CPU s; a sample takes 0.50 of its time",
        "the latent U-Net reaches the pixel U-Net's 15.0 after 81 CPU s, 0.40 of its training; a sample takes 0.25 of "
        "its time",
        "the latent transformer reaches the pixel U-Net's 15.0 after at most 35 CPU s, 0.17 of its training; a sample "
        "takes 0.10 of its time",
    ]
    assert savings({"latent U-Net": curves["latent U-Net"]}, samples, TIMES, 10.0) == []


@pytest.mark.parametrize("installed", [True, False])
def test_the_cost_of_each_table_is_printed_first(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The autoencoder, which three of them use, counts once; without its package EfficientNet's row is left out."""
    monkeypatch.setattr(latent, "is_installed", lambda: installed)
    whole = costs(["autoencoder", "losses", "latents", "generators"], list(SYSTEMS), 180.0, 600.0, 90.0)
    of_losses = 2 * 90.0 * (7 if installed else 6)
    assert whole == {"autoencoder": 600.0, "losses": of_losses, "latents": 180.0, "generators": 720.0}
    assert costs(["generators", "latents"], ["latent U-Net"], 1.0, 10.0, 2.0) == {"generators": 11.0, "latents": 4.0}
    assert costs(["generators"], ["pixel U-Net"], 1.0, 10.0, 2.0) == {"generators": 1.0}
    lines = announced(whole, 1)
    assert lines[0] == "autoencoder: 10 min of CPU time to train"
    assert lines[4].startswith(f"in all {46 if installed else 43} min")
    assert len(lines) == (5 if installed else 6)

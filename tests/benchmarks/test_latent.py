"""What latents save: when a curve reaches another's end, and the lines that say so."""

from math import sqrt

import pytest

from benchmarks.latent import reached, savings

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

import numpy as np
import pytest

from features.structure.geometry import fourier_power
from features.structure.helix import circle_coordinates, harmonics, helices, helix
from features.structure.irreducible import irreducibility, mixture_index, separability_index
from lm.errors import OrdinalError
from tests.features.made_up import D_MODEL, directions, made_up, tokens

NUMBERS = tokens("numbers")
RNG = np.random.default_rng(0)
AXES = directions(6)


def _circle(n: int, period: float, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    return np.cos(2 * np.pi * n / period) * cos + np.sin(2 * np.pi * n / period) * sin


def _helix(_: str, n: int) -> np.ndarray:
    return n / 30 * AXES[0] + 2 * _circle(n, 10, AXES[1], AXES[2])


def test_the_planted_period_has_its_power_and_no_other_period_has() -> None:
    table = fourier_power(made_up(NUMBERS, _helix, 0.1))
    power, p = (
        dict(zip(table["period"], table[name], strict=True)) for name in ("power", "p_value")
    )
    assert max(power, key=lambda period: power[period]) == 10
    assert p[10] < 0.01
    assert min(p[2], p[5], p[7]) > 0.05
    assert max(p) <= 61 / 2
    assert set(table["n"]) == {61}


def test_the_power_of_a_period_that_divides_the_numbers_is_the_discrete_fourier_transforms() -> (
    None
):
    found = NUMBERS.select((NUMBERS.table["index"] < 60).to_numpy())
    x = {i: RNG.standard_normal(D_MODEL) for i in range(60)}
    ours = fourier_power(made_up(found, lambda _, n: x[n]), [5, 10, 12], permutations=1)
    means = np.stack([x[n] for n in range(60)])
    n = np.arange(60) - 29.5
    detrended = means - means.mean(0) - np.outer(n, n @ means) / (n @ n)
    spectrum = (np.abs(np.fft.rfft(detrended, axis=0)) ** 2).sum(1)
    for period, power in zip(ours["period"], ours["power"], strict=True):
        expected = 2 * spectrum[round(60 / period)] / (60 * (detrended**2).sum())
        assert np.isclose(power, expected)


def test_a_trend_and_noise_are_called_periodic_as_often_as_they_should_be() -> None:
    p = np.array(
        [
            fourier_power(
                made_up(NUMBERS, lambda _, n: np.log1p(n) * AXES[0], 0.3, seed),
                [2, 5, 7, 10],
                permutations=100,
            )["p_value"].to_numpy()
            for seed in range(30)
        ]
    )
    assert (p <= 0.05).mean() < 0.11
    assert 0.3 < (p <= 0.5).mean() < 0.7


def test_a_planted_helix_is_predicted_on_numbers_left_out() -> None:
    found = helix(made_up(NUMBERS, _helix, 0.05), [10])
    assert found["r2"] > 0.95
    assert found["r2_low"] < found["r2"] < found["r2_high"]
    assert found["r2_random_95"] < found["r2"]
    assert found["p_value"] < 0.02
    assert found["axis_ratio"] > 0.95
    n = np.arange(61)
    # A circle of radius 2 beside a line of slope 1/30: M's mean square is their sum.
    assert np.isclose(found["radius"], 2 / np.sqrt(4 + (n / 30).var()), atol=0.03)


def test_another_period_does_not_pass_for_the_planted_one() -> None:
    fits = helices(made_up(NUMBERS, _helix, 0.05)).set_index("fit").to_dict("index")
    assert fits["period 7"]["p_value"] > 0.1
    assert fits["modulus 10"]["r2"] > 0.9
    assert "period 50" not in fits  # it does not fit twice into 61 numbers


def test_harmonics_fit_any_function_of_the_residue() -> None:
    by_residue = RNG.standard_normal((10, D_MODEL))
    activations = made_up(NUMBERS, lambda _, n: by_residue[n % 10])
    assert helix(activations, harmonics(10))["r2"] > 0.99
    assert helix(activations, [10])["r2"] < 0.6


def test_a_period_longer_than_the_numbers_is_refused_in_words() -> None:
    with pytest.raises(OrdinalError, match="61 numbers cannot show the periods"):
        helix(made_up(NUMBERS, _helix), [100])


def test_left_out_numbers_lie_on_the_circle_at_their_angle() -> None:
    points = circle_coordinates(made_up(NUMBERS, _helix, 0.02), 10)
    angle = 2 * np.pi * np.arange(61) / 10
    assert np.allclose(points, np.stack([np.cos(angle), np.sin(angle)], 1), atol=0.15)


def test_a_circle_is_irreducible() -> None:
    angle = RNG.uniform(0, 2 * np.pi, 400)
    found = irreducibility(np.stack([np.cos(angle), np.sin(angle)], 1), permutations=40)
    assert found.separability > 2 * found.separability_null_95
    assert found.p_value < 0.03
    assert found.mixture < 0.3


def test_two_independent_features_are_separable_at_their_rotation() -> None:
    values = np.stack([RNG.uniform(size=400), RNG.exponential(size=400)], 1)
    turned = values @ np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    found = irreducibility(turned, permutations=40)
    assert found.p_value > 0.05
    assert separability_index(values) < 0.2


def test_points_on_either_of_two_lines_are_a_mixture() -> None:
    first = RNG.random(400) < 0.5
    values = RNG.standard_normal(400)
    points = np.stack([np.where(first, values, 0), np.where(first, 0, values)], 1)
    found = irreducibility(points, permutations=20)
    assert found.mixture > 0.45 > 3 * found.mixture_gaussian


def test_the_mixture_index_of_known_clouds() -> None:
    gaussian = RNG.standard_normal((4_000, 2))
    angle = np.linspace(0, 2 * np.pi, 4_000, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    # P(|z| < 0.1) of a standard normal; and of a unit circle, the rim beyond cos = 0.786.
    assert np.isclose(mixture_index(gaussian), 0.0797, atol=0.02)
    assert np.isclose(mixture_index(circle), np.arccos(0.786) / np.pi, atol=0.005)

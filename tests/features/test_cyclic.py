import numpy as np

from features.structure.cyclic import cyclic_order
from tests.features.made_up import D_MODEL, directions, made_up, tokens

TOKENS = tokens("numbers", "days", "months", "letters")


def _words(seed: int) -> dict[tuple[str, int], np.ndarray]:
    rng = np.random.default_rng(seed)
    places = [("numbers", i) for i in range(61)] + [("letters", i) for i in range(1, 27)]
    places += [("days", i) for i in range(1, 8)] + [("months", i) for i in range(1, 13)]
    return {place: rng.standard_normal(D_MODEL) for place in places}


def test_words_around_a_circle_are_in_order_and_every_other_order_is_worse() -> None:
    cos, sin = directions(2)
    own = _words(0)

    def m(task: str, index: int) -> np.ndarray:
        angle = 2 * np.pi * index / {"days": 7, "months": 12}.get(task, 10)
        return np.cos(angle) * cos + np.sin(angle) * sin + 0.05 * own[task, index]

    table = cyclic_order(made_up(TOKENS, m))
    circle = table[table["test"] == "circle"].set_index("task").to_dict("index")
    assert set(circle) == {"days", "months"}  # letters have no period
    for task, n, smallest in (("days", 7, 1 / 360), ("months", 12, 1 / 10_001)):
        assert circle[task]["value"] > max(0.7, circle[task]["null_95"])
        assert np.isclose(circle[task]["p_value"], smallest)
        assert circle[task]["n"] == n


def test_a_perfect_circle_has_all_its_variance_in_the_first_harmonic() -> None:
    cos, sin = directions(2)
    days = made_up(
        TOKENS, lambda _, i: np.cos(2 * np.pi * i / 7) * cos + np.sin(2 * np.pi * i / 7) * sin
    )
    (row,) = cyclic_order(days).query("test == 'circle' and task == 'days'").to_dict("records")
    assert np.isclose(row["value"], 1)
    # By symmetry an average over all orders spreads the variance over the three harmonics alike.
    assert np.isclose(row["null_mean"], 1 / 3)


def test_words_that_share_an_index_part_with_the_numbers_match_them() -> None:
    own, shared = _words(1), _words(2)

    def m(task: str, index: int) -> np.ndarray:
        return own[task, index] + shared["numbers", index]

    table = cyclic_order(made_up(TOKENS, m)).query("test == 'numbers'")
    assert set(table["task"]) == {"days", "months", "letters"}
    assert (table["p_value"] < 0.001).all()
    assert (table["value"] > table["null_95"]).all()
    assert np.allclose(table["value"], 0.5, atol=0.15)  # half of the variance is shared


def test_words_without_order_are_called_ordered_as_often_as_they_should_be() -> None:
    found = tokens("numbers", "days")
    p = []
    for seed in range(60):
        own = _words(100 + seed)
        p.append(
            cyclic_order(made_up(found, lambda t, i, own=own: own[t, i]))["p_value"].to_numpy()
        )
    by_test = np.array(p)
    assert ((by_test <= 0.05).mean(0) <= 0.13).all()
    assert ((by_test <= 0.5).mean(0) > 0.3).all()
    assert ((by_test <= 0.5).mean(0) < 0.7).all()

"""What is drawn are the tables' own values."""

import numpy as np
import pandas as pd
import pytest

from features.statistics import clopper_pearson
from ordinal.figures.activations import feature_activation
from ordinal.figures.heads import head_map
from ordinal.figures.logits import logit_map
from ordinal.figures.structure import number_circle, spectrum
from ordinal.figures.ticks import number_ticks, outcomes, word_ticks


def heads(n_layers: int, n_heads: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    layer, head = (grid.ravel() for grid in np.mgrid[:n_layers, :n_heads])
    score = rng.random(len(layer))
    table = pd.DataFrame({"layer": layer, "head": head, "score": score, "pooled": score})
    table = table.assign(score_low=score - 0.1, score_high=score + 0.1, n_tokens=7)
    return table.sort_values("score", ascending=False, ignore_index=True)


def test_head_map_shows_each_score_at_its_layer_and_head():
    table = heads(3, 5)
    drawn = head_map(table, (1, 2)).data[0]
    for row in table.itertuples():
        assert drawn.z[row.layer][row.head] == row.score
        assert drawn.customdata[row.layer][row.head][0] == row.score_low


def test_logit_map_keeps_the_order_of_the_task_and_marks_each_rows_highest():
    words = [" one", " two", " three"]  # alphabetical order would be another
    logits = np.array([[0.0, 2.0, 1.0], [0.5, 0.1, 3.0], [4.0, 0.2, 0.3]])
    long = pd.DataFrame(logits, index=words, columns=words).rename_axis("source")
    long = long.rename_axis("candidate", axis=1).stack().rename("logit").reset_index()
    heat, marks = logit_map(long).data
    np.testing.assert_array_equal(heat.z, logits)
    assert list(heat.x) == ["one", "two", "three"]
    assert list(zip(marks.y, marks.x, strict=True)) == [
        ("one", "two"), ("two", "three"), ("three", "one"),
    ]  # fmt: skip


@pytest.fixture
def edits() -> pd.DataFrame:
    """43 becomes 45 in both spellings, keeps only its digit with 47, and fails with 48."""
    rows = [(45, 46, True, True), (47, 58, False, True), (48, 44, False, False)]
    return pd.DataFrame(
        [
            {"task": "numbers", "index": 43, "i": 3, "j": target % 10, "written": written,
             "success": success, "last_digit": digit}
            for target, written, success, digit in rows
            for _ in ("space", "bare")
        ]
    )  # fmt: skip


def test_outcomes_pool_the_spellings(edits):
    cells = outcomes(edits).set_index("j")
    assert cells["outcome"].to_dict() == {5: 2, 7: 1, 8: 0}
    assert (cells["n"] == 2).all()
    assert cells.loc[7, "written"] == 58


def test_number_ticks_place_each_edit_in_the_panel_of_its_decade(edits):
    further = edits.assign(index=edits["index"] + 60)  # 103: the second row of panels
    drawn = number_ticks(outcomes(pd.concat([edits, further])), per_row=5).data[0]
    assert drawn.z[3][5] == 2
    assert drawn.z[3][7] == 1
    assert drawn.z[3][8] == 0
    assert drawn.z[12 + 3][11 + 5] == 2
    assert np.isfinite(drawn.z).sum() == 6


def test_word_ticks_name_the_elements(edits):
    figure = word_ticks(outcomes(edits), {43: " <b>three"})
    assert list(figure.data[0].y) == ["&lt;b&gt;three"]
    assert figure.data[0].z[0][5] == 2


def test_both_spellings_of_an_activation_are_drawn_and_a_miss_is_marked():
    numbers = pd.DataFrame(
        {"index": [3, 3, 4], "form": ["space", "bare", "space"], "value": [2.0, 0.0, 0.5],
         "member": [True, True, False], "held_out": [True, False, False]}
    )  # fmt: skip
    traces = {trace.name: trace for trace in feature_activation(numbers, 0.2).data}
    assert list(traces["of the class"].y) == [2.0, 0.0]
    assert list(traces["other numbers"].x) == [4]
    assert list(traces["held out"].x) == [3]
    assert list(traces["missed"].y) == [0.0]


def test_exact_intervals_are_those_of_scipy():
    from scipy.stats import binomtest

    low, high = clopper_pearson(np.array([0, 0.3, 1]), np.array([10, 20, 10]))
    for at, (hits, n) in enumerate([(0, 10), (6, 20), (10, 10)]):
        exact = binomtest(hits, n).proportion_ci(method="exact")
        assert low[at] == pytest.approx(exact.low)
        assert high[at] == pytest.approx(exact.high)


def test_the_spectrum_is_the_power_over_the_band_of_shuffled_numbers():
    fourier = pd.DataFrame(
        {"period": [10.0, 2.0, 5.0], "power": [0.3, 0.1, 0.2], "null_mean": [0.02] * 3}
    ).assign(null_95=[0.05, 0.03, 0.04], p_value=0.001)
    band, line = spectrum(fourier, 10).data
    assert dict(zip(line.x, line.y, strict=True)) == {2: 0.1, 5: 0.2, 10: 0.3}
    assert dict(zip(band.x[:3], band.y[:3], strict=True)) == {2: 0.03, 5: 0.04, 10: 0.05}
    assert list(band.y[3:]) == [0, 0, 0]


def test_each_number_stands_where_its_circle_puts_it_under_its_own_residue():
    circle = pd.DataFrame({"index": [3, 12, 13], "residue": [3, 2, 3], "period": 10})
    circle = circle.assign(x=[0.1, 0.2, 0.3], y=[1.0, 0.9, 5.0])
    turn, two, three = number_circle(circle).data
    np.testing.assert_allclose(np.hypot(turn.x, turn.y), 1)
    assert (two.name, list(two.customdata)) == ("2", [12])
    assert (three.name, list(three.customdata)) == ("3", [3, 13])
    assert list(three.y) == [1.0, 5.0]
    assert number_circle(circle).layout.yaxis.range[1] > 5  # nothing is cut off

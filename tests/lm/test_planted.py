"""The planted checkpoint is what its docstring says, seen through the circuit."""

import numpy as np
import pytest
import torch
from safetensors import safe_open

from lm.access import mlp0_outputs
from lm.circuit import head_circuit, scan_heads
from lm.errors import OrdinalError, UsageError
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import REFERENCE, PlantedDials, load_truth, plant

MADE = {
    "easy": (PlantedDials(), False),
    "easy, shuffled": (PlantedDials(), True),
    "reference": (REFERENCE, False),
    "reference, shuffled": (REFERENCE, True),
}


IN_PLACE = pytest.mark.parametrize("planted", ["easy", "reference"], indirect=True)
"""For what is about the units, which no direction goes with once they are shuffled."""


@pytest.fixture(scope="module", params=MADE)
def planted(request, tmp_path_factory):
    dials, shuffled = MADE[request.param]
    folder = tmp_path_factory.mktemp("planted") / "model"
    truth = plant(folder, dials, seed=3, shuffled=shuffled)
    model = open_model(str(folder))
    tasks = load_tasks(numbers=(0, dials.numbers))
    del tasks["roman_numerals"]
    tokens = ordinal_tokens(model.tokenizer, tasks)
    m = mlp0_outputs(model, torch.tensor(tokens.table["token_id"].to_numpy()))
    return folder, truth, model, tokens, m


def test_every_task_is_there(planted):
    *_, tokens, _ = planted
    assert set(tokens.missing.values()) == {0}
    assert len(tokens.tasks) == 8


@pytest.mark.parametrize("all_spellings", [False, True])
def test_one_head_succeeds_on_every_task_and_no_other(planted, all_spellings):
    _, truth, model, tokens, m = planted
    table = tokens.table
    sources = (table["successor"] >= 0).to_numpy()
    numbers = (table["task"] == "numbers").to_numpy()
    enough = 0.999 if truth.dials == PlantedDials() else 0.95
    for layer, success in enumerate(scan_heads(model, tokens, m, all_spellings=all_spellings)):
        for head in range(model.info.n_heads):
            if (layer, head) == (truth.layer, truth.head):
                assert success[head].numpy()[sources & numbers].mean() > enough
                assert success[head].numpy()[sources & ~numbers].mean() > 0.999
            else:
                assert success[head].numpy()[sources & numbers].mean() < 0.03


@IN_PLACE
def test_m_is_the_sum_of_the_planted_directions_and_noise(planted):
    """Worked out here from the words' places alone."""
    _, truth, _, tokens, m = planted
    table = tokens.table[~tokens.table["token_id"].duplicated()]
    index, form = table["index"].to_numpy(), table["form"]
    ends = tokens.table.groupby("task")["index"].agg(["min", "max"]).loc[table["task"]]
    size = torch.tensor(((index - ends["min"]) / (ends["max"] - ends["min"])).to_numpy())
    has_tens = torch.tensor((table["task"] == "numbers").to_numpy() | (index >= 10))
    total = truth.residues[index % 10] + has_tens[:, None] * truth.tens[index // 10 % 10]
    total += size.float()[:, None] * truth.ordinal
    total += torch.stack([truth.tasks[task] for task in table["task"]])
    for marked in ("space", "capital"):
        there = torch.tensor(form.str.contains(marked).to_numpy(copy=True))
        total += there[:, None] * truth.directions[f"form/{marked}"]
    m = m[torch.tensor(table.index)]
    noise = m - truth.residue_scale * total
    share = noise.var(0).sum() / m.var(0).sum()
    assert share == pytest.approx(truth.dials.noise, rel=0.01)
    assert share == pytest.approx(truth.noise, rel=1e-3)
    # Independent of everything: as much of it in the planted span as that has of all dimensions.
    span = torch.linalg.qr(torch.stack(list(truth.directions.values())).T).Q
    within = (noise @ span).square().sum() / noise.square().sum()
    assert within == pytest.approx(span.shape[1] / (truth.dials.d_model - 1), rel=0.1)


def test_directions_overlap_as_the_dial_says_and_survive_the_norm_s_centring(planted):
    _, truth, *_ = planted
    names = [name for name in truth.directions if not name.startswith("form/")]
    assert len(names) == 29
    features = torch.stack([truth.directions[name] for name in names])
    cosines = features @ features.T
    torch.testing.assert_close(cosines.diagonal(), torch.ones(29))
    apart = cosines[~torch.eye(29, dtype=torch.bool)].abs().mean().item()
    assert apart == pytest.approx(truth.dials.overlap, abs=1e-4)
    assert apart == pytest.approx(truth.overlap, abs=1e-4)
    forms = torch.stack(list(truth.family("form/").values()))
    assert (forms @ features.T).abs().max() < 1e-5
    assert torch.cat([features, forms]).mean(1).abs().max() < 1e-6


def class_means(table, m, modulus):
    """Of the numbers, about their mean."""
    numbers = (table["task"] == "numbers").to_numpy()
    index = table["index"].to_numpy()[numbers]
    x = m[torch.tensor(numbers)]
    means = torch.stack([x[torch.tensor(index % modulus == r)].mean(0) for r in range(modulus)])
    return means - means.mean(0)


def test_residue_directions_are_the_class_means_unless_shuffled(planted):
    _, truth, _, tokens, m = planted
    directions = truth.residues - truth.residues.mean(0)
    cosines = torch.cosine_similarity(class_means(tokens.table, m, 10), directions)
    assert (cosines.abs().max() < 0.7) if truth.shuffled else (cosines.min() > 0.98)


@pytest.mark.parametrize("modulus", [7, None])
def test_other_moduli_and_none(tmp_path, modulus):
    """Class means differ where residues are planted, else as little as those of a random split."""
    dials = PlantedDials(d_model=128, numbers=299, modulus=modulus, overlap=0.1, noise=0.1)
    truth = plant(tmp_path / "model", dials, seed=1)
    assert len(truth.residues) == (modulus or 0)
    model = open_model(str(tmp_path / "model"))
    tokens = ordinal_tokens(model.tokenizer, {"numbers": load_tasks(numbers=(0, 299))["numbers"]})
    m = mlp0_outputs(model, torch.tensor(tokens.table["token_id"].to_numpy()))
    shuffled = tokens.table.assign(
        index=np.random.default_rng(0).permutation(tokens.table["index"])
    )
    sizes = {k: class_means(tokens.table, m, k).square().sum() for k in (7, 9, 10)}
    by_chance = class_means(shuffled, m, 10).square().sum()
    assert sizes[10] < by_chance
    assert sizes[9] < by_chance
    assert (sizes[7] > 10 * by_chance) if modulus else (sizes[7] < by_chance)


def test_more_overlap_than_there_is_room_for_is_superposition(tmp_path):
    truth = plant(tmp_path / "model", PlantedDials(d_model=128, overlap=0.2))
    assert truth.overlap == pytest.approx(0.2, abs=0.01)
    assert truth.rank < 29


def answers(circuit, m, tokens, rows):
    by_token = tokens.table.set_index("token_id")["index"]
    best = circuit.candidates[circuit.logits(m[rows]).argmax(-1)]
    return np.array([by_token[int(token)] for token in best])


@IN_PLACE
def test_editing_replaces_the_units_and_ablation_removes_them(planted):
    _, truth, model, tokens, m = planted
    table = tokens.table
    here = (table["task"] == "numbers") & (table["form"] == "space")
    index = table["index"].to_numpy()
    candidates = torch.tensor(table["token_id"][here].to_numpy())
    circuit = head_circuit(model, truth.layer, truth.head, candidates)
    rows = torch.tensor(np.flatnonzero(here & (index >= 20) & (index < 99)))
    number = index[rows]

    for target in range(10):
        change = truth.residues[target] - truth.residues[number % 10]
        edited = m.clone()
        edited[rows] += truth.residue_scale * change
        expected = number - number % 10 + target + 1
        assert (answers(circuit, edited, tokens, rows) == expected).mean() > 0.97

    if truth.dials.overlap == 0:
        ablated = m - m @ truth.residues.T @ truth.residues
        assert (answers(circuit, ablated, tokens, rows) == number + 1).mean() < 0.2
        tens_left = (answers(circuit, ablated, tokens, rows) - 1) // 10 == number // 10
        assert tens_left.mean() > 0.95

    hundred = m + truth.residue_scale * 100 / truth.dials.numbers * truth.ordinal
    assert (answers(circuit, hundred, tokens, rows) == number + 101).mean() > 0.95


def test_transformers_opens_it(planted):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _, _, tokens, m = planted
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    row = tokens.table.index[tokens.table["text"] == " 37"][0]
    ids = tokenizer(" 37", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert ids.tolist() == [[tokens.table["token_id"][row]]]
    block = model.transformer.h[0]
    with torch.no_grad():
        torch.testing.assert_close(block.mlp(block.ln_2(model.transformer.wte(ids)))[0, 0], m[row])


def test_the_truth_opens_with_safetensors_alone(planted):
    folder, truth, *_ = planted
    with safe_open(folder / "truth.safetensors", "np") as file:
        assert set(file.keys()) >= {"mod10/3", "tens/4", "ordinal", "task/days", "form/space"}
        assert np.array_equal(file.get_tensor("mod10/3"), truth.residues[3].numpy())
        assert (file.metadata()["layer"], file.metadata()["head"]) == ("1", "2")
    again = load_truth(folder)
    assert again.dials == truth.dials
    assert list(again.directions) == list(truth.directions)
    assert all(
        torch.equal(again.directions[name], truth.directions[name]) for name in again.directions
    )


def test_what_is_no_planted_truth_is_named(tmp_path):
    with pytest.raises(OrdinalError, match=r"truth\.safetensors holds no planted truth"):
        load_truth(tmp_path)
    with pytest.raises(UsageError, match=r"multiple of 4 from 124 on"):
        PlantedDials(d_model=64)


def test_the_seed_decides_everything(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        plant(tmp_path / name, REFERENCE, seed=seed)
    for file in ("model.safetensors", "truth.safetensors"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b != c

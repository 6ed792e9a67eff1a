"""The planted checkpoint is what its docstring says, seen through the circuit."""

import numpy as np
import pytest
import torch

from lm.access import mlp0_outputs
from lm.circuit import head_circuit, scan_heads
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import plant


@pytest.fixture(scope="module", params=[False, True], ids=["planted", "shuffled"])
def planted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "model"
    truth = plant(folder, seed=3, shuffled=request.param)
    model = open_model(str(folder))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    m = mlp0_outputs(model, torch.tensor(tokens.table["token_id"].to_numpy()))
    return folder, request.param, truth, model, tokens, m


def test_every_task_is_there(planted):
    *_, tokens, _ = planted
    assert set(tokens.missing.values()) == {0}


@pytest.mark.parametrize("all_spellings", [False, True])
def test_one_head_succeeds_on_every_task_and_no_other(planted, all_spellings):
    _, _, truth, model, tokens, m = planted
    sources = tokens.table["successor"].to_numpy() >= 0
    numbers = sources & (tokens.table["task"] == "numbers").to_numpy()
    for layer, success in enumerate(scan_heads(model, tokens, m, all_spellings=all_spellings)):
        for head in range(model.info.n_heads):
            if (layer, head) == (truth.layer, truth.head):
                assert success[head].numpy()[sources].mean() > 0.98
                assert success[head].numpy()[numbers].mean() > 0.99
            else:
                assert success[head].numpy()[numbers].mean() < 0.03


def test_residue_directions_are_the_class_means_unless_shuffled(planted):
    _, shuffled, truth, _, tokens, m = planted
    numbers = (tokens.table["task"] == "numbers").to_numpy()
    index = tokens.table["index"].to_numpy()[numbers]
    x = m[torch.tensor(numbers)]
    means = torch.stack([x[torch.tensor(index % 10 == r)].mean(0) for r in range(10)])
    means = means - means.mean(0)
    directions = truth.residues - truth.residues.mean(0)
    cosines = torch.cosine_similarity(means, directions)
    assert (cosines.abs().max() < 0.7) if shuffled else (cosines.min() > 0.99)
    # As many tokens as ever carry each direction.
    assert ((x @ truth.residues.T > truth.residue_scale / 2).sum(0) == len(x) / 10).all()


def test_directions_are_orthonormal_and_survive_the_norm_s_centring(planted):
    _, _, truth, *_ = planted
    everything = torch.cat([truth.residues, truth.tens, *(t[None] for t in truth.tasks.values())])
    everything = torch.cat([everything, truth.ordinal[None]])
    identity = torch.eye(len(everything))
    torch.testing.assert_close(everything @ everything.T, identity, rtol=0, atol=1e-5)
    assert everything.mean(1).abs().max() < 1e-6


def answers(circuit, m, tokens, rows):
    by_token = tokens.table.set_index("token_id")["index"]
    best = circuit.candidates[circuit.logits(m[rows]).argmax(-1)]
    return np.array([by_token[int(token)] for token in best])


def test_editing_replaces_the_units_and_ablation_removes_them(planted):
    _, shuffled, truth, model, tokens, m = planted
    if shuffled:
        pytest.skip("no direction goes with the units here")
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
        assert (answers(circuit, edited, tokens, rows) == expected).mean() > 0.99

    ablated = m - m @ truth.residues.T @ truth.residues
    assert (answers(circuit, ablated, tokens, rows) == number + 1).mean() < 0.2
    tens_left = (answers(circuit, ablated, tokens, rows) - 1) // 10 == number // 10
    assert tens_left.mean() > 0.95

    unmoved = m + 3 * truth.ordinal
    assert (answers(circuit, unmoved, tokens, rows) == number + 1).mean() > 0.99


def test_transformers_opens_it(planted):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _, _, _, tokens, m = planted
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    row = tokens.table.index[tokens.table["text"] == " 37"][0]
    ids = tokenizer(" 37", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert ids.tolist() == [[tokens.table["token_id"][row]]]
    block = model.transformer.h[0]
    with torch.no_grad():
        torch.testing.assert_close(block.mlp(block.ln_2(model.transformer.wte(ids)))[0, 0], m[row])


def test_the_seed_decides_everything(tmp_path):
    plant(tmp_path / "a", seed=5)
    plant(tmp_path / "b", seed=5)
    plant(tmp_path / "c", seed=6)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c

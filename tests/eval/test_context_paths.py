"""Edits in a whole model: against the weights alone, and against `transformers` edited by hand."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from eval.context.paths import Edit, HeadInContext, MeanAblation, Patch, hooked, patched
from eval.patching.operators import Add, Clamp, Operator, Remove, Replace
from eval.patching.swaps import index_swaps
from features.directions import ResidueDirections, class_mean_directions
from lm.bridged import BridgedModel
from lm.circuit import centred, unembedding
from lm.errors import OrdinalError
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from sae.relu import ReLUSAE
from tests.checkpoints import LAST_NUMBER
from training.activations import Activations
from training.harvest import harvest

FAMILIES = ("gpt_neox", "gpt2", "llama")
OPERATORS = ("remove", "add", "replace", "clamp", "swap")
LAYER, HEAD = 1, 2
AT = torch.tensor([2, 5, 3, 3])
"""Position of the edited token in each prompt of eight."""


@dataclass
class Setting:
    folder: str
    family: str
    model: BridgedModel
    activations: Activations
    head: HeadInContext
    ids: Tensor
    sources: Tensor
    targets: Tensor

    def edit(self, name: str) -> Edit:
        operator = _operator(name, self.activations)
        return Edit(operator, torch.arange(4), AT, self.sources, self.targets, 0.7)

    def patch(self, name: str, path: Any) -> Patch:
        return Patch(LAYER, HEAD, path, (self.edit(name),))

    def m(self) -> Tensor:
        """MLP0's output at the edited positions, in the unedited run."""
        _, cache = self.model.bridge.run_with_cache(self.ids)
        return cache["blocks.0.hook_mlp_out"][torch.arange(4), AT]

    def delta(self, name: str, m: Tensor) -> Tensor:
        edit = self.edit(name)
        operator: Operator = edit.operator
        return 0.7 * (operator.given(self.targets) - operator.taken(m, self.sources))


def _operator(name: str, activations: Activations) -> Operator:
    means = class_mean_directions(activations, 10)[0]
    if name == "swap":
        return index_swaps(activations, 10)[0]
    if name == "clamp":
        d_model = activations.x.shape[1]
        decoder = torch.randn(24, d_model, generator=torch.Generator().manual_seed(0))
        nothing = torch.zeros(24), torch.zeros(d_model)
        sae = ReLUSAE(W_enc=decoder.T, W_dec=decoder, b_enc=nothing[0], b_dec=nothing[1])
        directions = ResidueDirections("SAE", 0, sae.W_dec[:10], means.held_out, tuple(range(10)))
        return Clamp(directions, activations, sae)
    return {"remove": Remove, "add": Add, "replace": Replace}[name](means, activations)


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request, checkpoint) -> Setting:
    folder = str(checkpoint(request.param))
    model = open_model(folder, "bridged")
    assert isinstance(model, BridgedModel)
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, LAST_NUMBER)))
    activations = harvest(model, tokens)
    ids = torch.randint(300, model.info.d_vocab, (4, 8), generator=torch.Generator().manual_seed(1))
    table = tokens.table
    numbers = table[(table["task"] == "numbers") & (table["form"] == "space")]
    sources = torch.tensor(numbers.index[[12, 25, 33, 47]].to_numpy())
    may_give = _operator("swap", activations).can_give().numpy()
    targets = torch.tensor(numbers.index[may_give[numbers.index]][:4].to_numpy())
    ids[torch.arange(4), AT] = torch.tensor(table["token_id"].to_numpy())[sources]
    candidates = torch.tensor(sorted(set(table["token_id"])))
    head = HeadInContext(model, LAYER, HEAD, candidates)
    return Setting(folder, request.param, model, activations, head, ids, sources, targets)


@pytest.mark.parametrize("name", OPERATORS)
def test_on_the_value_path_the_direct_effect_is_what_the_weights_say(setting, name) -> None:
    """Path (a), of what the operator changes, times the attention and over the norms' scales."""
    head, model = setting.head, setting.model
    _, cache = model.bridge.run_with_cache(setting.ids)
    m = setting.m()
    if setting.family == "gpt_neox":  # MLP0 reads the embedding alone: in context M is M(t)
        torch.testing.assert_close(m, setting.activations.x[setting.sources], rtol=1e-5, atol=1e-5)
        m = setting.activations.x[setting.sources]
    weight = cache[f"blocks.{LAYER}.attn.hook_pattern"][torch.arange(4), HEAD, -1, AT]
    first = cache[f"blocks.{LAYER}.ln1.hook_scale"][torch.arange(4), AT]
    last = cache["ln_final.hook_scale"][:, -1]
    expected = head.circuit.logits(setting.delta(name, m)) * weight[:, None] / (first * last)
    effects = head.effects(head.run(setting.ids), setting.ids, setting.patch(name, "value"))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(effects.direct, expected, rtol=1e-5, atol=1e-5)


def test_the_direct_reading_is_how_the_model_reads_its_residual_stream(setting) -> None:
    """Between two prompts, where biases drop out."""
    model, head = setting.model, setting.head
    _, cache = model.bridge.run_with_cache(setting.ids)
    stream = cache[f"blocks.{model.info.n_layers - 1}.hook_resid_post"][:, -1]
    read = stream @ unembedding(model, head.candidates).T / cache["ln_final.hook_scale"][:, -1]
    logits = head.run(setting.ids).logits
    torch.testing.assert_close(read[0] - read[1], logits[0] - logits[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("path", ["value", "everywhere"])
def test_in_total_transformers_edited_by_hand_says_the_same(setting, name, path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(setting.folder).eval()
    delta = setting.delta(name, setting.m())
    blocks = _blocks(reference, setting.family)
    if path == "everywhere":

        def replace(module, args, out):
            return out.index_put((torch.arange(4), AT), delta, accumulate=True)

        blocks[0].mlp.register_forward_hook(replace)
    else:
        change = _change_of_z(setting, delta)

        def add(module, args):
            z = args[0].unflatten(-1, (setting.model.info.n_heads, -1)).clone()
            z[:, :, HEAD] += change
            return (z.flatten(-2),)

        _output(blocks[LAYER], setting.family).register_forward_pre_hook(add)
    with torch.no_grad():
        expected = reference(setting.ids).logits
    clean = setting.model.bridge(setting.ids)
    with patched(setting.model, setting.patch(name, path)):
        logits = setting.model.bridge(setting.ids)
    assert (logits - clean).abs().max() > 1e-2
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    effects = setting.head.effects(
        setting.head.run(setting.ids), setting.ids, setting.patch(name, path)
    )
    total = (expected - clean)[:, -1, setting.head.candidates]
    torch.testing.assert_close(effects.total, total, rtol=1e-4, atol=1e-4)


def _change_of_z(setting: Setting, delta: Tensor) -> Tensor:
    """What the edited values change in the head's z, by the norm, W_V and attention."""
    _, cache = setting.model.bridge.run_with_cache(setting.ids)
    info, weights = setting.model.info, setting.model.attention(LAYER)
    scale = cache[f"blocks.{LAYER}.ln1.hook_scale"][torch.arange(4), AT]
    normed = centred(delta, setting.model) / scale * weights.gain
    value = normed @ weights.W_V[HEAD // (info.n_heads // info.n_kv_heads)]
    pattern = cache[f"blocks.{LAYER}.attn.hook_pattern"][torch.arange(4), HEAD, :, AT]
    return pattern[:, :, None] * value[:, None]


def _blocks(reference: Any, family: str) -> Any:
    if family == "gpt2":
        return reference.transformer.h
    return reference.gpt_neox.layers if family == "gpt_neox" else reference.model.layers


def _output(block: Any, family: str) -> Any:
    if family == "gpt2":
        return block.attn.c_proj
    return block.attention.dense if family == "gpt_neox" else block.self_attn.o_proj


@pytest.mark.parametrize("name", OPERATORS)
def test_afterwards_nothing_is_left_of_an_edit(setting, name) -> None:
    model, ids = setting.model, setting.ids
    clean = model.bridge(ids)
    for path in ("value", "everywhere"):
        with patched(model, setting.patch(name, path)):
            assert not torch.equal(model.bridge(ids), clean)
        assert torch.equal(model.bridge(ids), clean)
        with pytest.raises(KeyboardInterrupt), patched(model, setting.patch(name, path)):
            raise KeyboardInterrupt
        assert torch.equal(model.bridge(ids), clean)
    assert not any(point.fwd_hooks for point in model.bridge.hook_dict.values())


def test_other_heads_that_share_the_value_do_not_see_the_edit(setting) -> None:
    name = f"blocks.{LAYER}.attn.hook_z"
    kept: list[Tensor] = []
    reading = [(name, lambda z, hook: kept.append(z))]
    with hooked(setting.model, reading):
        setting.model.bridge(setting.ids)
    patch = setting.patch("replace", "value")
    with hooked(setting.model, [*patch.hooks(setting.model), *reading]):
        setting.model.bridge(setting.ids)
    others = [head for head in range(setting.model.info.n_heads) if head != HEAD]
    assert torch.equal(kept[0][:, :, others], kept[1][:, :, others])
    assert not torch.equal(kept[0][:, :, HEAD], kept[1][:, :, HEAD])


def test_a_random_vector_is_as_long_as_the_edit(setting) -> None:
    edit = setting.edit("add")
    control = Edit(edit.operator, edit.prompts, AT, edit.sources, edit.targets, 0.7, random=3)
    _, cache = setting.model.bridge.run_with_cache(setting.ids)
    m = cache["blocks.0.hook_mlp_out"]
    torch.testing.assert_close(control.delta(m).norm(dim=1), edit.delta(m).norm(dim=1))
    assert torch.cosine_similarity(control.delta(m), edit.delta(m)).abs().max() < 0.7


def test_a_head_ablated_to_what_it_writes_changes_nothing(setting) -> None:
    head, ids = setting.head, setting.ids[:1]
    clean = head.run(ids)
    same = head.effects(clean, ids, MeanAblation(LAYER, HEAD, clean.z[0]))
    assert not same.direct.any()
    assert not same.total.any()
    gone = head.effects(clean, ids, MeanAblation(LAYER, HEAD, torch.zeros_like(clean.z[0])))
    torch.testing.assert_close(gone.direct, -head.written(clean.z) / clean.scale)
    assert gone.total.abs().max() > 1e-3


def test_a_hook_that_the_bridge_lacks_is_named(setting) -> None:
    with (
        pytest.raises(OrdinalError, match=r"no hook blocks\.99\.attn\.hook_z"),
        patched(setting.model, MeanAblation(99, 0, torch.zeros(1))),
    ):
        pass


def test_a_head_of_the_first_layer_has_no_such_path(setting) -> None:
    with pytest.raises(OrdinalError, match="L0H2 reads no MLP0 output"):
        Patch(0, 2, "value", (setting.edit("add"),))

"""The steps of the method, each reading and writing the run folder, each repeatable alone."""

import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd
from tqdm import tqdm

from lm.errors import OrdinalError
from lm.files import replacing, write_parquet
from ordinal.config import RunConfig
from ordinal.run_folder import NEEDS, OUTPUTS, Run, make_run

if TYPE_CHECKING:
    from eval.heads import HeadChoice
    from eval.readout import Readout
    from features.directions import ResidueDirections
    from lm.access import LanguageModel, Ln
    from lm.bridged import BridgedModel
    from lm.ordinals import OrdinalTokens
    from training.activations import Activations
    from training.metrics import MemberMetrics


def _say_done(run: Run, step: str, started: float) -> None:
    seconds = time.monotonic() - started
    print(f"{step:<9}{seconds:6.1f} s   {run.folder / OUTPUTS[step][-1]}", file=sys.stderr)


def _tokens(run: Run, model: "LanguageModel") -> "OrdinalTokens":
    from lm.ordinals import load_tasks, ordinal_tokens

    config = run.config.tokens
    return ordinal_tokens(
        model.tokenizer, load_tasks(config.tasks_file, config.numbers), seed=run.config.seed
    )


def scan(
    name: str, numbers: tuple[int, int] = (1, 200), ln: "Ln" = "model"
) -> tuple[pd.DataFrame, "HeadChoice"]:
    """Score every head of a model that needs no run folder."""
    from lm.open import open_model
    from lm.ordinals import load_tasks, ordinal_tokens

    model = open_model(name)
    return _scan(model, ordinal_tokens(model.tokenizer, load_tasks(numbers=numbers)), ln, 0)[:2]


def _scan(
    model: "LanguageModel", tokens: "OrdinalTokens", ln: "Ln", seed: int
) -> tuple[pd.DataFrame, "HeadChoice", pd.DataFrame]:
    from eval.heads import baseline_table, head_table
    from training.harvest import harvest

    m = harvest(model, tokens, ln).x
    table, choice = head_table(model, tokens, m, seed=seed)
    return table, choice, baseline_table(model, tokens, m, seed=seed)


def heads(run: Run) -> pd.DataFrame:
    """Score every head of the model and choose its successor head (section 2)."""
    from eval.heads import scored_tokens
    from lm.open import open_model

    config = run.config
    model = open_model(config.model)
    tokens = _tokens(run, model)
    scored = scored_tokens(tokens, config.tokens.scored_numbers)
    table, choice, baselines = _scan(model, scored, config.ln, config.seed)
    run.forget_after("heads")
    with replacing(run.folder / "tokens") as partial:
        tokens.save(partial)
    write_parquet(baselines, run.verification / "baselines.parquet")
    write_parquet(table, run.verification / "heads.parquet")
    run.write_json("head.json", choice._asdict())
    return table


def train(run: Run) -> pd.DataFrame:
    """Harvest M(t) and fit the ensemble of SAEs (section 3.1), as a tracked run.

    A config that names a pretrained SAE has that one for its ensemble.
    """
    from lm.open import open_model

    model = open_model(run.config.model)
    if run.config.pretrained is not None:
        return _bring_in(run, model, run.config.pretrained)
    return train_on(run, harvested(run, model))


def harvested(run: Run, model: "LanguageModel") -> "Activations":
    """M(t) of the run's tokens."""
    from training.harvest import harvest

    return harvest(model, _tokens(run, model), run.config.ln)


def _bring_in(run: Run, model: "LanguageModel", source: str) -> pd.DataFrame:
    """Take an SAE trained elsewhere for the only member; returns how it fits M(t)."""
    from sae.ensemble import SAEEnsemble
    from sae.pretrained import fit_of, load_pretrained

    sae = load_pretrained(source, model.info.d_model)
    activations = harvested(run, model)
    fit = fit_of(sae, activations.x)
    print(
        f"On M(t) it leaves {fit.fvu:.2f} of the variance, with {fit.l0:.0f} of {sae.d_sae:,} "
        f"latents active on a token and {fit.dead:,} on none.",
        file=sys.stderr,
    )
    about = {"model_name": activations.model_name, "hook_name": activations.hook_name}
    ensemble = SAEEnsemble([sae], seeds=[None], held_out_folds=[0], pretrained=source, **about)
    run.forget_after("train")
    activations.save(run.folder / "activations.safetensors")
    ensemble.save(run.folder)
    return pd.DataFrame([fit])


def train_file(path: Path, runs: Path) -> Run:
    """Fit the default ensemble to an activation file, in a run folder named after it."""
    from training.activations import Activations

    activations = Activations.load(path)
    run = make_run(runs / path.stem, RunConfig(model=activations.model_name))
    started = time.monotonic()
    train_on(run, activations)
    _say_done(run, "train", started)
    return run


def train_on(
    run: Run, activations: "Activations", *, checkpoint_every: float | None = None
) -> pd.DataFrame:
    """Fit the run's ensemble to activations; returns each member's last metrics.

    A training that was stopped goes on from its checkpoints.

    Args:
        checkpoint_every: seconds; by default a minute.
    """
    from training.checkpoint import EVERY, FOLDER
    from training.fit import train as fit
    from training.tracking import Tracker

    last: dict[int, MemberMetrics] = {}

    def log(members: "list[MemberMetrics]") -> None:
        last.update({metrics.member: metrics for metrics in members})
        tracker.log(members)

    checkpoints = run.folder / FOLDER
    tracker = Tracker(
        run.folder,
        name=run.folder.name,
        config=run.config.model_dump(),
        resume=any(checkpoints.glob("*.safetensors")),
        member_runs=run.config.tracking.member_runs,
    )
    with tracker:
        ensemble = fit(
            activations,
            run.config.sae,
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every or EVERY,
            log=log,
        )
        run.forget_after("train")
        activations.save(run.folder / "activations.safetensors")
        ensemble.save(run.folder)
        tracker.log_artifact("saes", run.folder / "saes")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return pd.DataFrame([last[member] for member in sorted(last)])


def features(run: Run) -> pd.DataFrame:
    """Label every latent and write the catalog."""
    from features.labels import label_features

    config = run.config
    catalog = label_features(
        run.ensemble,
        run.activations,
        modulus=config.features.modulus,
        permutations=config.features.permutations,
        seed=config.seed,
    )
    run.forget_after("features")
    catalog.save(run.folder)
    return catalog.features


def verify(run: Run) -> pd.DataFrame:
    """Put the directions through the successor head, and draw up the claims."""
    from eval import verdicts
    from eval.readout import readouts
    from lm.open import open_model

    model = open_model(run.config.model)
    same_model(run, model)
    head, activations, catalog = run.head, run.activations, run.catalog
    read = readouts(model, activations.tokens, head.layer, head.head)
    claims = verdicts.head_claims(head, run.table("baselines"))
    if run.config.verify.in_context:
        claims.append(verdicts.context_claim(_in_context(run, read), head))
    write_parquet(head_logits(run, read), run.verification / "logits.parquet")
    modulus, seed = run.config.features.modulus, run.config.seed
    if "not_testable" in catalog.metadata:
        ablation = arithmetic = edits = pd.DataFrame()
        reason = catalog.metadata["not_testable"]
        claims.append(verdicts.untestable("features", f"mod-{modulus} features", reason))
    else:
        claims += verdicts.residue_claims(catalog.residues, modulus, seed=seed)
        ablation, edits, arithmetic = _patch(run, read)
        claims += verdicts.ablation_claims(ablation, modulus)
        claims += verdicts.arithmetic_claims(arithmetic)
    write_parquet(edits, run.verification / "edits.parquet")
    write_parquet(ablation, run.verification / "ablation.parquet")
    write_parquet(arithmetic, run.verification / "arithmetic.parquet")
    run.forget_after("verify")
    rows = [{k: _plain(v) for k, v in claim._asdict().items()} for claim in claims]
    run.write_json("summary.json", {"model": run.config.model, "claims": rows})
    return pd.DataFrame(rows)


def _patch(run: Run, read: "list[Readout]") -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """SAE features, class means and a linear probe through the same ablations and edits."""
    from eval.ablation import ablation_table
    from eval.arithmetic import arithmetic_edits, arithmetic_table

    config, activations = run.config, run.activations
    seed, modulus = config.seed, config.features.modulus
    sources = residue_directions(run)
    ablations, edits = [], []
    for sets in tqdm(sources, "patching", leave=False, delay=1, disable=None):
        ablations.append(
            ablation_table(
                sets,
                activations,
                read,
                random_subspaces=config.verify.random_subspaces,
                seed=seed,
            )
        )
        edits.append(arithmetic_edits(sets, activations, read, seed=seed))
    every_edit = pd.concat(edits, ignore_index=True)
    return (
        pd.concat(ablations, ignore_index=True),
        every_edit,
        arithmetic_table(every_edit, modulus, seed=seed),
    )


def residue_directions(run: Run) -> "list[list[ResidueDirections]]":
    """The directions of the SAEs and of the witnesses, one list of sets for each source."""
    from features.activity import latent_activity
    from features.directions import class_mean_directions, probe_directions, sae_directions

    modulus, activations = run.config.features.modulus, run.activations
    activity = latent_activity(run.ensemble, activations)
    return [
        sae_directions(run.ensemble, activity, activations, modulus),
        class_mean_directions(activations, modulus),
        probe_directions(activations, modulus),
    ]


def _in_context(run: Run, read: "list[Readout]") -> pd.DataFrame:
    from eval.context import context_table
    from lm.open import open_model

    model = cast("BridgedModel", open_model(run.config.model, route="bridged"))
    table = context_table(model, run.activations, read, seed=run.config.seed)
    write_parquet(table, run.verification / "context.parquet")
    return table


def head_logits(run: Run, read: "list[Readout]") -> pd.DataFrame:
    """The head's logits, source by candidate: `task`, `form`, `source`, `candidate`, `logit`."""
    table, frames = run.activations.tokens.table, []
    for readout in read:
        rows = table.loc[readout.rows.tolist()]
        logits = readout.circuit.logits(run.activations.x[readout.rows])
        frame = pd.DataFrame(logits.numpy(), index=rows["text"], columns=rows["text"])
        frames.append(
            frame.rename_axis("source")
            .reset_index()
            .melt("source", var_name="candidate", value_name="logit")
            .assign(task=readout.task, form=rows["form"].iloc[0])
        )
    return pd.concat(frames, ignore_index=True)


def same_model(run: Run, model: "LanguageModel") -> None:
    """Raises OrdinalError when the activations come from another version of the model."""
    made = run.activations.metadata.get("revision")
    if made and model.info.revision and made != model.info.revision:
        raise OrdinalError(
            f"{run.folder} was trained on {run.config.model} at {made[:12]}, which is now at "
            f"{model.info.revision[:12]}. Type `ordinal train {run.folder}` to train again."
        )


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def report(run: Run) -> None:
    """Write report.html: one file that opens without a network."""
    from ordinal.report.page import write_report
    from training.tracking import log_artifacts

    write_report(run)
    catalog = [run.folder / name for name in ("features.parquet", "vectors.safetensors")]
    artifacts = {"catalog": catalog, "report": [run.folder / "report.html"]}
    log_artifacts(run.folder, run.folder.name, artifacts)


STEPS: dict[str, Callable[[Run], pd.DataFrame | None]] = {
    "heads": heads,
    "train": train,
    "features": features,
    "verify": verify,
    "report": report,
}


def run_step(run: Run, step: str) -> pd.DataFrame | None:
    """Do one step, whether or not it was done before, and say how long it took."""
    run.require(*NEEDS[step])
    started = time.monotonic()
    result = STEPS[step](run)
    _say_done(run, step, started)
    return result


def run_missing(run: Run) -> list[str]:
    """Do every step whose output is not there, or was made of what is redone; returns them."""
    did = []
    # An SAE from elsewhere comes first: whether it fits is known before any head is scored.
    first = "train" if run.config.pretrained else "heads"
    for step in sorted(STEPS, key=lambda step: step != first):
        if not run.done(step):
            run_step(run, step)
            did.append(step)
    return did

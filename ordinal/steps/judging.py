"""The claims, drawn up from the tables of a run by the rule of docs/scorecard.md."""

from typing import TYPE_CHECKING

from ordinal.run_folder import Run

if TYPE_CHECKING:
    from eval.scorecard.claim import Claim


def draw_up(run: Run) -> "list[Claim]":
    """Every claim, in the order of the scorecard, those about other sources of directions last."""
    from eval.scorecard import features, head, necessity, planted, specificity, sufficiency
    from eval.scorecard.claim import untestable

    claims = head.head_claims(run.head, run.table("baselines"))
    if run.config.verify.in_context:
        claims.append(head.context_claim(run.table("context"), run.head))
    if "not_testable" in run.catalog.metadata:
        reason = run.catalog.metadata["not_testable"]
        name = f"mod-{run.config.features.modulus} features"
        return [*claims, untestable("features found", name, reason), _recurrence()]
    modulus, seed = run.config.features.modulus, run.config.seed
    ablation, arithmetic = run.table("ablation"), run.table("arithmetic")
    source = ablation["directions"].iloc[0]
    claims += features.residue_claims(run.catalog.residue_table, modulus, seed=seed)
    claims.append(features.stability_claim(run.structure_tables(), modulus))
    claims.append(features.reliability_claim(run.table("edits"), modulus, seed=seed))
    claims += necessity.ablation_claims(ablation, modulus)
    claims.append(necessity.rescue_claim(ablation, source, modulus))
    claims.append(necessity.graded_claim(run.table("dose_effects"), source, modulus))
    claims += sufficiency.arithmetic_claims(arithmetic)
    claims.append(sufficiency.rival_claim(arithmetic, run.table("rivals"), source))
    claims.append(sufficiency.tasks_claim(arithmetic, source))
    claims.append(specificity.dissociation_claim(run.table("dissociation_contrasts"), source))
    claims.append(specificity.specificity_claim(run.table("text_losses"), source, modulus))
    claims.append(specificity.prompts_claim(run.table("context_edits"), source))
    claims.append(planted.planted_claim(run.table("planted")))
    claims.append(_recurrence())
    return claims


def _recurrence() -> "Claim":
    from eval.scorecard.claim import untestable

    return untestable("recurrence", "on other models", "ordinal compare")

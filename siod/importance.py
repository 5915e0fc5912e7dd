"""How much each setting of a search mattered, by two of Optuna's measures (knows Optuna)."""

from __future__ import annotations

import warnings

import optuna


def importances(study: optuna.Study) -> tuple[dict[str, float], dict[str, float]]:
    """Share of each setting, over the complete trials; the first objective is to be large.

    Args:
        study: With at least two different values of the objective.

    Returns:
        By parameter, adding up to 1: the share of the objective's variance (fANOVA), and how much a setting tells the
        best trials from the others (PED-ANOVA).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parameters that never varied
        overall = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=64, max_depth=64, seed=0),
            target=lambda trial: trial.values[0],
            normalize=True,
        )
        near_best = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(
                target_quantile=0.1, region_quantile=1.0, evaluate_on_local=True
            ),
            target=lambda trial: -trial.values[0],  # this one takes small values for good ones
            normalize=True,
        )
    return dict(overall), dict(near_best)

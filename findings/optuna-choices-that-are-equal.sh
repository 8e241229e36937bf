#!/usr/bin/env bash
# optuna 5.0.0
#
# What: of suggest_categorical(name, [1, 1.0]) the objective gets now one and now the other, and every trial's
#   params, and best_params, say 1 for both, since 1 == 1.0. [0, False] and [1, True] go the same way.
#   Samplers, the grid too, take them for two choices.
# Why it matters: which of the two it is can be everything: max_features=1 is one column to scikit-learn, and
#   1.0 is all of them. The study's best value is of a model that best_params does not build, and no warning
#   says so, neither when the study is made nor when best_params is read.
# Expected: the value that the objective got, or an error about choices that cannot be told apart.
# Seen:
#   the objective got 1.0, which scored 1.0; the study says 1
#   the objective got 1, which scored 0.0; the study says 1
#   best value 1.0, best_params {'max_features': 1}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq optuna==5.0.0
"$work/venv/bin/python" -W error::UserWarning - <<'PY'
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
choices = [1, 1.0]
got = []


def objective(trial):
    got.append(trial.suggest_categorical("max_features", choices))
    return float(isinstance(got[-1], float))


sampler = optuna.samplers.GridSampler({"max_features": choices}, seed=0)
study = optuna.create_study(direction="maximize", sampler=sampler)
study.optimize(objective, n_trials=2)
for value, trial in zip(got, study.trials, strict=True):
    print(
        f"the objective got {value}, which scored {trial.value}; the study says {trial.params['max_features']}"
    )
print(f"best value {study.best_value}, best_params {study.best_params}")
recorded = [repr(trial.params["max_features"]) for trial in study.trials]
seen = (sorted(map(repr, got)), recorded, study.best_value, repr(study.best_params))
sys.exit(seen != (["1", "1.0"], ["1", "1"], 1.0, "{'max_features': 1}"))
PY

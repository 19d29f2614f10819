"""A search of learning rate and sparsities with Optuna, by validation: all trials learn from one mapped chip.

    pip install optuna
    python examples/search_optuna.py          # again: goes on with the trials that are missing

See docs/search.md. Several of these at once share the trials.
"""

from contextlib import closing
from pathlib import Path

import optuna

from l2sim import Job
from l2sim.runs import execute
from l2sim.store.events import Epoch, StageDone

PRICE = 0.02
"""What all the core calls of dense learning are worth, in accuracy: without it nothing speaks for leaving any out."""
CHIP = {"data.validation": 0.2, "map.compare": False, "learn.epochs": 10}


def mapped(where: Path, chip: dict) -> Path:
    """A run up to mapping, which is the same for all trials; made once."""
    out = where / "mapped"
    if not (out / "report.json").exists():
        job = Job.preset("digits", chip | {"learn.epochs": 0})
        for _ in execute.execute(job, out, resume=(out / "checkpoints").exists()):
            pass
    return out


def objective(trial: optuna.Trial, where: Path, chip: dict) -> float:
    """Accuracy on the validation share, less the price of the core calls spent."""
    tried = {
        "learn.lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        "learn.feedback_sparsity": trial.suggest_float("feedback_sparsity", 0.0, 0.8),
        "learn.column_sparsity": trial.suggest_float("column_sparsity", 0.0, 0.8),
    }
    events = execute.execute(
        Job.preset("digits", chip | tried), where / f"trial-{trial.number:04d}", source=f"{mapped(where, chip)}@map"
    )
    value = 0.0
    with closing(events):  # a pruned run is stopped cleanly; `l2sim run --resume --out` could go on with it
        for event in events:
            if isinstance(event, Epoch):
                trial.report(event.scalars["validation_accuracy"], event.epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
            elif isinstance(event, StageDone):
                stage = event.result
                dense = sum(n for name, n in stage["dense_cost_of_an_image"].items() if name.endswith("core_calls"))
                cost = stage["core_calls"] / (stage["images_offered"] * dense)
                trial.set_user_attr("test_accuracy", stage["accuracy"])  # to be told, never to choose by
                trial.set_user_attr("core_calls", cost)
                value = stage["validation_accuracy"] - PRICE * cost
    return value


def search(where: Path = Path("runs/search"), trials: int = 30, chip: dict = CHIP) -> optuna.Study:
    """The study after `trials` trials, those of earlier calls included."""
    where.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="digits", storage=f"sqlite:///{where}/search.db", load_if_exists=True, direction="maximize",
        sampler=optuna.samplers.TPESampler(), pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
    )  # fmt: skip
    mapped(where, chip)
    over = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    done = optuna.study.MaxTrialsCallback(trials, states=over)
    if len(study.get_trials(deepcopy=False, states=over)) < trials:
        study.optimize(lambda trial: objective(trial, where, chip), callbacks=[done])
    return study


if __name__ == "__main__":
    best = search().best_trial
    words = ", ".join(f"{name} {value:.3g}" for name, value in best.params.items())
    print(f"trial {best.number}: {words}: {best.value:.4f} by validation", best.user_attrs)

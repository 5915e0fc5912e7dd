"""What a search proposes, ends early, remembers and finds best; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from siod.data.source import prepare
from siod.errors import UserError
from siod.tuning.searching.best import Best, best_of, trials_left, tuned
from siod.tuning.searching.search import StudySearch, as_search_study, database_url, job_with_changes
from siod.tuning.space import Choice, Float, Int, Search
from siod.tuning.trials.trial import Job

if TYPE_CHECKING:
    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment
    from siod.tuning.study import Study

SPACE = {"recipe.learning_rate": Float(low=1e-4, high=1e-2, log=True), "dminer.pgcl.top_m": Int(low=4, high=16)}


@pytest.fixture(scope="module")
def data(small: Experiment, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(small.data, small.annotations, tmp_path_factory.mktemp("cache"))


def with_search(a_study: Study, **settings: Any) -> Study:
    fields = {"space": SPACE, "search": Search(**{"trials": 5, **settings})}
    return type(a_study).model_validate({**dict(a_study), **fields})


def bases_of(study: Study, data: PreparedData, runs: Path) -> dict[str, Job]:
    experiments = {arm.name: study.experiment(arm, 100) for arm in study.arms[1:]}
    return {
        name: Job(name, experiment, data, experiment.identity(data.fingerprint), runs / "trials" / name, runs / "cache")
        for name, experiment in experiments.items()
    }


def score(job: Job) -> float:
    """Best at the rate of 1e-3."""
    return 1e-3 / max(job.experiment.recipe.learning_rate, 1e-6) if job.experiment.recipe.learning_rate > 1e-3 else 0.5


def run_all(search: StudySearch) -> list[Job]:
    jobs = []
    while (job := search.ask()) is not None:
        search.finish(job, {"ap_s": score(job)})
        jobs.append(job)
    return jobs


def test_every_arm_gets_the_same_number_of_trials_in_turn(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study)
    jobs = run_all(StudySearch.open(study, bases_of(study, data, tmp_path), tmp_path))
    assert [job.name for job in jobs] == [f"{arm}/{number}" for number in range(5) for arm in ("base", "dminer")]
    rates = [job.experiment.recipe.learning_rate for job in jobs]
    assert rates[:2] == [study.base.recipe.learning_rate] * 2, "each arm's own settings come first"
    assert len(set(rates[2:])) == 8
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert all(job.experiment.dminer is None for job in jobs if job.arm == "base")
    assert {job.experiment.seed for job in jobs} == {100}
    assert len({job.identity for job in jobs}) == 10
    assert {job.run_dir.name for job in jobs} == {job.identity for job in jobs}


def test_the_same_seed_proposes_the_same(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study)
    one, two = (
        [job.identity for job in run_all(StudySearch.open(study, bases_of(study, data, tmp_path), folder))]
        for folder in (tmp_path / "one", tmp_path / "two")
        if folder.mkdir() is None
    )
    assert one == two


@pytest.mark.parametrize(
    ("most", "settings", "first"),
    [(16, {}, ["own"]), (16, {"own_first": False}, []), (8, {}, [])],
    ids=["within", "switched_off", "outside"],  # the arm has 16
)
def test_own_settings_are_the_first_trial_where_the_space_has_them(  # noqa: PLR0917  (a case and the fixtures)
    most: int, settings: dict[str, Any], first: list[str], a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    space = SPACE | {"dminer.pgcl.top_m": Int(low=4, high=most)}
    study = with_search(a_study, **settings).model_copy(update={"space": space})
    bases = {"dminer": bases_of(study, data, tmp_path)["dminer"]}
    StudySearch.open(study, bases, tmp_path)  # cut off before anything was asked for
    jobs = run_all(StudySearch.open(study, bases, tmp_path))
    assert len(jobs) == 5
    assert ["own" for job in jobs[:1] if job.identity == bases["dminer"].identity] == first


def test_a_search_that_was_begun_without_its_own_settings_goes_on_without_them(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    bases = bases_of(a_study, data, tmp_path)
    begun = StudySearch.open(with_search(a_study, own_first=False), bases, tmp_path)
    job = begun.ask()
    assert job is not None
    begun.finish(job, {"ap_s": 0.5})
    left = run_all(StudySearch.open(with_search(a_study), bases, tmp_path))
    assert not {base.identity for base in bases.values()} & {job.identity for job in left if job.arm == "base"}


def test_a_search_that_was_cut_off_trains_what_it_had_proposed_and_asks_on(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    study = with_search(a_study)
    bases = bases_of(study, data, tmp_path)
    first = StudySearch.open(study, bases, tmp_path)
    done, cut = first.ask(), first.ask()
    assert done is not None
    assert cut is not None
    first.finish(done, {"ap_s": 0.3})
    again = StudySearch.open(study, bases, tmp_path)
    assert list(again.past()) == [("base/0", "complete", 0.3)]
    jobs = run_all(again)
    assert jobs[0] == cut
    assert sorted(job.name for job in [done, *jobs]) == sorted(f"{a}/{n}" for a in ("base", "dminer") for n in range(5))
    assert len({job.identity for job in [done, *jobs]}) == 10
    assert not StudySearch.open(study, bases, tmp_path).is_left()


def test_a_search_of_a_version_that_wrote_nothing_down_goes_on_unchanged_and_says_from_where(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    study, unbroken = with_search(a_study, trials=7), tmp_path / "unbroken"
    unbroken.mkdir()
    bases = {"dminer": bases_of(study, data, tmp_path)["dminer"]}
    expected = [job.identity for job in run_all(StudySearch.open(study, bases, unbroken))]
    older = StudySearch.open(study, bases, tmp_path)
    begun = older.ask()
    assert begun is not None
    older.finish(begun, {"ap_s": score(begun)})
    older.arms["dminer"].study.set_user_attr("proposing", [])  # as the versions before left it
    again = StudySearch.open(study, bases, tmp_path)
    assert [job.identity for job in [begun, *run_all(again)]] == expected
    tpe = "tpe (n_startup_trials 4, n_ei_candidates 24, multivariate true, group false, constant_liar true)"
    assert again.proposals() == {
        "dminer": f"from trial 1 on by Optuna {optuna.__version__}, sampler {tpe}, pruner none"
    }


def test_another_space_under_the_same_name_is_refused(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study)
    bases = bases_of(study, data, tmp_path)
    StudySearch.open(study, bases, tmp_path)
    other = study.model_copy(update={"space": {"recipe.learning_rate": Float(low=1e-3, high=1e-2)}})
    with pytest.raises(UserError, match="search 'small/base': was begun with another space; rename the study"):
        StudySearch.open(other, bases, tmp_path)


@pytest.mark.parametrize("pruner", ["median", "asha"])
def test_a_trial_far_below_the_others_of_its_arm_is_pruned_after_the_grace(
    a_study: Study, data: PreparedData, tmp_path: Path, pruner: str
) -> None:
    study = with_search(a_study, pruner=pruner, trials=8, grace_epochs=2)
    bases = {"dminer": bases_of(study, data, tmp_path)["dminer"]}
    search = StudySearch.open(study, bases, tmp_path)
    for _ in range(6):
        job = search.ask()
        assert job is not None
        assert [search.epoch(job, epoch, {"ap_s": 0.5}) for epoch in (1, 2)] == [False, False]
        search.finish(job, {"ap_s": 0.5})
    poor = search.ask()
    assert poor is not None
    assert not search.epoch(poor, 1, {"ap_s": 0.01})
    assert search.epoch(poor, 2, {"ap_s": 0.01})
    assert not search.epoch(poor, 2, {"ap_s": 0.01}), "an epoch that is told again is not judged again"
    search.prune(poor)
    states = [state for _, state, _ in search.past()]
    assert states == ["complete"] * 6 + ["pruned"]
    assert best_of(study, tmp_path)["dminer"].counts == {"complete": 6, "pruned": 1}


def test_a_failed_trial_counts_against_the_budget_and_is_never_best(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    study = with_search(a_study, trials=2)
    bases = {"base": bases_of(study, data, tmp_path)["base"]}
    search = StudySearch.open(study, bases, tmp_path)
    failed, good = search.ask(), search.ask()
    assert failed is not None
    assert good is not None
    search.fail(failed)
    search.finish(good, {"ap_s": 0.1})
    assert search.ask() is None
    assert best_of(study, tmp_path)["base"].number == 1


def test_a_grid_takes_every_combination_once(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    space = {"recipe.batch_size": Choice(values=(4, 8)), "dminer.pgcl.top_m": Int(low=4, high=12, step=4)}
    fields = {"space": space, "search": Search(sampler="grid", trials=100)}
    study = type(a_study).model_validate({**dict(a_study), **fields})
    jobs = run_all(StudySearch.open(study, bases_of(study, data, tmp_path), tmp_path))
    taken = [
        (job.experiment.recipe.batch_size, dminer.pgcl.top_m)
        for job in jobs
        if (dminer := job.experiment.dminer) is not None and dminer.pgcl is not None
    ]
    assert taken == [(batch, top_m) for batch in (4, 8) for top_m in (4, 8, 12)]
    assert [job.experiment.recipe.batch_size for job in jobs if job.arm == "base"] == [4, 8]


def test_settings_that_are_being_trained_are_not_trained_twice(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    fields = {"space": {"recipe.batch_size": Choice(values=(4, 8))}, "search": Search(sampler="random", trials=12)}
    study = type(a_study).model_validate({**dict(a_study), **fields})
    bases = {"base": bases_of(study, data, tmp_path)["base"]}
    search = StudySearch.open(study, bases, tmp_path)
    first, second = search.ask(), search.ask()
    assert first is not None
    assert second is not None
    assert first.identity != second.identity
    assert search.ask() is None, "the other ten are settings of one of the two"
    search.finish(first, {"ap_s": 0.25})
    search.fail(second)
    ended = [(state, value) for _, state, value in search.past()]
    assert len(ended) == 12
    assert set(ended) == {("complete", 0.25), ("fail", None)}


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsga2"])
def test_every_sampler_fills_its_budget(a_study: Study, data: PreparedData, tmp_path: Path, sampler: str) -> None:
    study = with_search(a_study, sampler=sampler, trials=7)
    bases = {"dminer": bases_of(study, data, tmp_path)["dminer"]}
    assert len(run_all(StudySearch.open(study, bases, tmp_path))) == 7


def test_a_second_objective_makes_a_front_and_the_first_decides(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    study = with_search(a_study, cost="epoch_seconds", sampler="nsga2", trials=3)
    bases = {"base": bases_of(study, data, tmp_path)["base"]}
    search = StudySearch.open(study, bases, tmp_path)
    for figures in ((0.1, 1.0), (0.3, 9.0), (0.2, 20.0)):
        job = search.ask()
        assert job is not None
        search.finish(job, {"ap_s": figures[0], "cost/epoch_seconds": figures[1]})
    assert best_of(study, tmp_path)["base"].number == 1
    found = optuna.load_study(study_name="small/base", storage=database_url(study, tmp_path))
    assert [trial.number for trial in found.best_trials] == [0, 1]


def test_a_trial_whose_cost_could_not_be_told_is_not_scored(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study, cost="peak_memory_mib", sampler="random", trials=2)
    bases = {"base": bases_of(study, data, tmp_path)["base"]}
    search = StudySearch.open(study, bases, tmp_path)
    for figures in ({"ap_s": 0.3}, {"ap_s": 0.1, "cost/peak_memory_mib": 500.0}):
        job = search.ask()
        assert job is not None
        search.finish(job, figures)
    found = optuna.load_study(study_name="small/base", storage=database_url(study, tmp_path))
    assert [(trial.state.name, trial.values) for trial in found.trials] == [("FAIL", None), ("COMPLETE", [0.1, 500.0])]
    assert best_of(study, tmp_path)["base"].number == 1


def test_the_importance_names_the_setting_that_matters(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study, trials=20, sampler="random")
    bases = {"dminer": bases_of(study, data, tmp_path)["dminer"]}
    run_all(StudySearch.open(study, bases, tmp_path))
    best = best_of(study, tmp_path, importance=True)["dminer"]
    assert best.importance["recipe.learning_rate"] > 0.9
    assert best.importance_near_best["recipe.learning_rate"] > 0.5
    assert sum(best.importance_near_best.values()) == pytest.approx(1.0)


def test_time_ends_a_search_between_trials(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study, hours=1.0)
    now = [0.0]
    search = StudySearch(
        study, StudySearch.open(study, bases_of(study, data, tmp_path), tmp_path).arms, clock=lambda: now[0]
    )
    assert search.ask() is not None
    assert not search.exhausted
    now[0] = 3601.0
    assert search.ask() is None
    assert search.exhausted


def test_gpu_hours_of_ended_trials_end_the_search_of_an_arm(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    on_two_gpus = {"compute.carrier": "ray_train", "compute.workers": 2, "compute.gpus_per_worker": 1.0}
    study = type(a_study).model_validate({**dict(a_study), "base": a_study.base.with_changes(on_two_gpus)})
    study = with_search(study, gpu_hours=3.0)
    bases, now = bases_of(study, data, tmp_path), [0.0]
    search = StudySearch(study, StudySearch.open(study, bases, tmp_path).arms, clock=lambda: now[0])
    first, second = search.ask(), search.ask()
    assert first is not None
    assert second is not None
    now[0] = 3600.0
    search.finish(first, {"ap_s": 0.1})
    assert search.arms["base"].gpu_hours() == pytest.approx(2.0)  # two GPUs for an hour
    third = search.ask()
    assert third is not None
    assert third.arm == "base"
    now[0] = 7200.0
    search.finish(third, {"ap_s": 0.1})
    search.fail(second)
    assert search.arms["dminer"].gpu_hours() == pytest.approx(4.0)
    assert search.ask() is None
    assert not StudySearch.open(study, bases, tmp_path).is_left()


def test_gpu_hours_without_gpus_are_refused(a_study: Study) -> None:
    with pytest.raises(
        ValueError, match=r"search\.gpu_hours: arm 'full' asks for no GPU; set compute\.gpus_per_worker"
    ):
        with_search(a_study, gpu_hours=1.0)


def test_a_budget_made_smaller_leaves_what_was_begun(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study)
    bases = bases_of(study, data, tmp_path)
    first = StudySearch.open(study, bases, tmp_path)
    jobs = [first.ask() for _ in range(6)]
    assert all(job is not None for job in jobs)
    fewer = StudySearch.open(with_search(a_study, trials=2), bases, tmp_path)
    assert fewer.may_ask("base/2")
    assert not fewer.may_ask("base/3")
    again = run_all(fewer)
    assert [job.name for job in again] == ["base/0", "base/1", "base/2", "dminer/0", "dminer/1", "dminer/2"]


def test_what_is_left_of_a_search_counts_down_and_creates_nothing(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    study = with_search(a_study, trials=3)
    assert trials_left(study, tmp_path) == {"full": 3, "base": 3, "dminer": 3}
    assert not list(tmp_path.iterdir())
    search = StudySearch.open(study, bases_of(study, data, tmp_path), tmp_path)
    job = search.ask()
    assert job is not None
    assert trials_left(study, tmp_path)[job.arm] == 3
    search.finish(job, {"ap_s": 0.1})
    assert trials_left(study, tmp_path)[job.arm] == 2


def test_a_search_that_was_cut_off_proposes_what_it_would_have(
    a_study: Study, data: PreparedData, tmp_path: Path
) -> None:
    study = with_search(a_study, trials=8)
    proposed = []
    for name, moments in (("whole", ()), ("cut", (2, 5, 9))):
        cuts = list(moments)
        folder = tmp_path / name
        folder.mkdir()
        bases = bases_of(study, data, tmp_path)
        search, jobs = StudySearch.open(study, bases, folder), []
        while (job := search.ask()) is not None:
            if len(jobs) in cuts:  # once more from the database, with this trial begun
                cuts.remove(len(jobs))
                search = StudySearch.open(study, bases, folder)
                continue
            search.finish(job, {"ap_s": score(job)})
            jobs.append(job)
        proposed.append([(job.name, job.identity) for job in jobs])
    assert proposed[0] == proposed[1]


def test_a_tuned_study_has_each_arm_at_its_best_and_no_search(a_study: Study) -> None:
    best = {"dminer": Best(3, 0.4, {"recipe.learning_rate": 0.001, "dminer.pgcl.top_m": 7}, {"complete": 5}, {}, {})}
    final = tuned(with_search(a_study), best)
    assert final.search is None
    assert final.space == {}
    experiment = final.experiment(final.arm("dminer"), 1)
    assert experiment.recipe.learning_rate == 0.001
    assert experiment.dminer is not None
    assert experiment.dminer.pgcl is not None
    assert experiment.dminer.pgcl.top_m == 7
    told = "at the best settings of its search, recipe.learning_rate 0.001, dminer.pgcl.top_m 7"
    assert [arm.note for arm in final.arms if arm.name == "dminer"] == [told]
    assert final.experiment(final.arm("base"), 1) == a_study.experiment(a_study.arm("base"), 1)


def test_the_trials_of_a_search_are_a_study_of_their_own(a_study: Study) -> None:
    search = as_search_study(with_search(a_study))
    assert (search.name, search.seeds) == ("small.search", (0, 1, 2, 3, 4))


def test_a_derived_job_differs_by_its_settings_alone(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    base = bases_of(a_study, data, tmp_path)["base"]
    job = job_with_changes(base, {"recipe.epochs": 1}, 4)
    assert job.name == "base/4"
    assert job.experiment == base.experiment.with_changes({"recipe.epochs": 1})
    assert (job.data, job.cache_dir) == (base.data, base.cache_dir)


def test_a_database_that_cannot_be_opened_is_named(a_study: Study, data: PreparedData, tmp_path: Path) -> None:
    study = with_search(a_study, storage=f"sqlite:///{tmp_path / 'no' / 'where.db'}")
    with pytest.raises(UserError, match=r"search\.storage 'sqlite:.*cannot be opened"):
        StudySearch.open(study, bases_of(study, data, tmp_path), tmp_path)

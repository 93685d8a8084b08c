"""Studies: the grids, that nothing is run twice, what is written when, and what is made of it."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from gan_builders import TINY_ASSIGNMENTS

from memgan.data import load_dataset
from memgan.lab.baselines.models import as_model, build_model
from memgan.lab.commands.cli import main
from memgan.lab.sessions import Session
from memgan.lab.studies import runner as studies
from memgan.lab.studies.comparison import figure, markdown, table
from memgan.lab.studies.grids import STUDIES, Study, candidate_rates
from memgan.lab.studies.plan import Job, Plan, settings_of
from memgan.lab.studies.result_file import load_study, result_to_continue, write_result
from memgan.lab.studies.runner import run_study
from memgan.presets import PRESETS
from memgan.runs import saved_checkpoints

TINY = PRESETS["digits"].changed(TINY_ASSIGNMENTS)
GRID = {"as it is": [], "flat": ["memory.kappa=1"], "no memory": ["model=dcgan"]}
SCORES = {"inception_score": 3.5, "inception_score_real": 9.5, "frechet_distance": 50.0, "slot_purity": 0.25}


@pytest.fixture
def small(monkeypatch):
    """A preset and a study, tuned or not, that take no time; the evaluation says SCORES. Counts what is trained."""
    count = SimpleNamespace(trained=[], evaluated=0)

    def evaluated(*_, **__):
        count.evaluated += 1
        return SimpleNamespace(to_dict=lambda: dict(SCORES))

    def trained(job, train=studies.trained):
        count.trained.append((job.configuration, job.candidate, job.seed))
        return train(job)

    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setitem(STUDIES, "small", Study("Which?", lambda _: GRID))
    monkeypatch.setitem(STUDIES, "tuned", Study("Which, at its best?", lambda _: GRID, candidates=candidate_rates))
    monkeypatch.setattr(studies, "evaluate", evaluated)
    monkeypatch.setattr(studies, "trained", trained)
    return count


def study(tmp_path, name="small", *, seeds=(0,), steps=2, **how):
    plan = Plan.of(name, "tiny", steps, how.pop("tuning_steps", 1))
    return run_study(plan, tmp_path / "result.json", seeds=seeds, runs=tmp_path / "runs", **how)


def test_the_seed_of_the_trials_is_not_one_that_is_reported(small, tmp_path):
    with pytest.raises(ValueError, match="seed 10 .*take other seeds"):
        next(study(tmp_path, "tuned", seeds=(0, 10)))
    assert small.trained == [] and not (tmp_path / "result.json").exists()
    assert len(list(study(tmp_path, seeds=(10,), only=["flat"]))) == 1  # there are no trials in this one


def test_a_seed_that_is_named_twice_is_run_once(small, tmp_path):
    rows = list(study(tmp_path, seeds=(1, 1, 0, 1), only=["flat"]))
    assert [row["seed"] for row in rows] == [1, 0]
    assert [row["seed"] for row in load_study(tmp_path / "result.json")["runs"]] == [0, 1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_without_classes_are_refused_before_anything_is_trained(small, tmp_path, monkeypatch, split):
    def of_one_class(plan, name):
        data = load_dataset("digits")
        return data._replace(labels=torch.full_like(data.labels, 3)) if name == split else data

    monkeypatch.setattr(Plan, "data", of_one_class)
    with pytest.raises(ValueError, match=f"the {split}(ing)? images of digits are of one"):
        list(study(tmp_path))
    assert small.trained == [] and not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model=infogan:10+2"], "2 continuous codes need noise_dim >= 2, got 1"),  # 10 codes of 4 + 7 numbers
        (["memory.num_slots=1000000000000"], "GB of memory"),
        (["training.replay=9", "training.batch_size=2"], "a batch of at least 3"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_trained(small, tmp_path, monkeypatch, changes, message):
    monkeypatch.setitem(GRID, "no memory", changes)
    with pytest.raises(ValueError, match=f"'no memory': .*{message}"):
        list(study(tmp_path, only=["flat", "no memory"]))
    assert small.trained == [] and not (tmp_path / "result.json").exists()
    assert len(list(study(tmp_path, only=["flat"]))) == 1


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_stop_before_the_first_result_names_the_folder_that_holds_the_work(
    small, tmp_path, capsys, monkeypatch, has_begun
):
    runs = tmp_path / "runs"

    def stopped(*_, **__):
        if has_begun:
            runs.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "measure", stopped)
    words = ["study", "small", "--preset", "tiny", "--out", tmp_path / "a.json", "--runs", runs]
    with pytest.raises(SystemExit):
        main([str(word) for word in words])
    said = capsys.readouterr().err
    assert (f"stopped, {runs} holds what was done" if has_begun else "stopped, before anything was done") in said


# ---------------------------------------------------------------- the grids


NEVER_THE_PRESET_FIRST = ("length", "penalty", "kappa", "memory-size", "top-k", "information", "weight", "rule")


@pytest.mark.parametrize("preset", ["digits", "fashion-mnist", "fashion-mnist-slim", "cifar10-slim", "cifar10"])
@pytest.mark.parametrize("name", STUDIES)
def test_every_configuration_suits_the_presets(name, preset):
    plan = Plan.of(name, preset)
    settings = [settings_of(plan.settings, changes) for changes in plan.grid.values()]
    assert settings[0] == PRESETS[preset] or name in NEVER_THE_PRESET_FIRST
    assert len(settings) >= (2 if name == "seeds" else 3)
    if preset == "digits":
        for each in settings:
            build_model(each)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("folder:pictures", "folder:../pictures"),
        ("folder:{here}/pictures", "folder:../pictures"),
        ("folder:results/~", "folder:{here}/results/~"),  # "folder:~" would be the home folder
        ("folder:{here}", "folder:.."),
        ("folder:{here}s", "folder:{here}s"),
        ("folder:../elsewhere", "folder:{here}/../elsewhere"),
        ("digits", "digits"),
    ],
)
def test_a_result_names_a_folder_below_this_one_by_its_path_from_the_file(small, tmp_path, monkeypatch, given, stored):
    """It can be handed on then, and the same command still goes on with it, from another folder as well."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "results" / "result.json"
    path.parent.mkdir()
    plan = Plan.of("small", "tiny", 2, changes=[f"dataset={given.format(here=tmp_path)}"])
    write_result(path, result_to_continue(path, plan), plan)
    assert json.loads(path.read_text())["settings"]["dataset"] == stored.format(here=tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert result_to_continue(path, plan)["settings"] == json.loads(plan.settings.to_json())


@pytest.mark.parametrize("changes", [["model=dcgan", "training.steps=9"], ["training.steps=9", " model = dcgan"]])
def test_a_model_is_made_of_equal_size_before_anything_else_is_set(changes):
    found = settings_of(TINY, changes)
    assert found == as_model(TINY, "dcgan").changed(["training.steps=9"])
    assert found.networks.noise_dim == TINY.networks.noise_dim + TINY.memory.key_dim


@pytest.mark.parametrize("preset", ["digits", "mnist-5k", "fashion-mnist-slim"])
def test_a_row_of_the_rules_has_the_bound_that_it_names(preset):
    plan = Plan.of("rule", preset)
    for name, changes in plan.grid.items():
        assert settings_of(plan.settings, changes).training.information == name.split(":")[0]


def test_the_published_choices_are_no_change_of_a_preset_that_has_them():
    with pytest.raises(ValueError, match="expected no paper preset"):
        Plan.of("paper-rule", "fashion-mnist-paper")


def test_where_all_k_may_vouch_they_may_at_every_number_of_slots():
    plan = Plan.of("memory-size", "fashion-mnist-paper")
    for changes in plan.grid.values():
        memory = settings_of(plan.settings, changes).memory
        assert memory.correct_in_top == memory.top_k


@pytest.mark.parametrize(("set_for_all", "weight"), [([], 0.5), (["training.gradient_penalty=0.02"], 0.02)])
def test_a_penalty_has_the_weight_that_was_set_for_all(set_for_all, weight):
    plan = Plan.of("penalty", "digits", changes=set_for_all)
    weights = {settings_of(plan.settings, changes).training.gradient_penalty for changes in plan.grid.values()}
    assert weights == {weight}


def test_published_choices_are_taken_alone_and_together():
    preset = PRESETS["fashion-mnist-slim"]
    plan = Plan.of("paper-rule", "fashion-mnist-slim")
    grid = {name: differing(settings_of(preset, changes), preset) for name, changes in plan.grid.items()}
    assert not grid.pop("this project's choices")
    together, without_kappa = grid.pop("all of these"), grid.pop("all but kappa 1")
    assert [len(fields) for fields in grid.values()] == [1] * 6 + [2, 3]  # the term and its weight; the rates
    assert set.union(*grid.values()) == together == without_kappa | {("memory", "kappa")}
    published = settings_of(preset, plan.grid["all of these"])
    assert differing(published, PRESETS["fashion-mnist-paper"]) == {
        *(("memory", size) for size in ("num_slots", "key_dim")),  # k is the same
        *(("training", name) for name in ("steps", "recount")),
    }
    assert published.memory.correct_in_top == published.memory.top_k


def differing(settings, other):
    """The fields in which two settings differ."""
    parts = [(part, vars(getattr(settings, part)), vars(getattr(other, part))) for part in ("memory", "training")]
    return {(part, name) for part, ours, theirs in parts for name in ours if ours[name] != theirs[name]}


def test_memory_sizes_keep_the_share_of_slots_that_are_considered():
    preset = PRESETS["mnist-5k"]
    sizes = [settings_of(preset, changes).memory for changes in STUDIES["memory-size"].grid(preset).values()]
    assert [memory.num_slots for memory in sizes] == [512, 1024, 2048, 4096, 8192]
    assert sizes[2] == preset.memory
    assert all(memory.num_slots == 64 * memory.top_k for memory in sizes)


def test_k_grows_and_all_may_vouch_where_they_could():
    for preset, vouching in (("mnist-5k", [2, 2, 2]), ("paper", [32, 128, 512])):
        grid = STUDIES["top-k"].grid(PRESETS[preset])
        sizes = [settings_of(PRESETS[preset], changes).memory for changes in grid.values()]
        assert [memory.top_k for memory in sizes] == ([8, 32, 128] if preset == "mnist-5k" else [32, 128, 512])
        assert [memory.correct_in_top for memory in sizes] == vouching


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kapa", "digits"), "unknown study 'kapa', expected one of ablation, collisions"),
        (("kappa", "digit"), "unknown preset 'digit', expected one of"),
        (("kappa", "digits", 0), "steps >= 1"),
        (("ablation", "digits", 9, 0), "tuning_steps >= 1, got 0"),
        (("kappa", "digits", 9, 9, "cpu", None, ["memory.kapa=1"]), "cannot set 'memory.kapa=1'"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        Plan.of(*arguments)


def test_changes_to_the_preset_hold_in_every_configuration_and_give_way_to_the_steps():
    plan = Plan.of("ablation", "digits", 9, changes=["networks.noise_dim=3", "training.steps=7"])
    assert plan.settings == PRESETS["digits"].changed(["networks.noise_dim=3", "training.steps=9"])
    assert plan.head()["settings"]["networks"]["noise_dim"] == 3
    for name, changes in plan.grid.items():
        settings = settings_of(plan.settings, changes)
        assert settings.training.steps == 9, name
        extra = settings.networks.noise_dim - settings_of(PRESETS["digits"], changes).networks.noise_dim
        assert extra == (0 if "networks.noise_dim=16" in changes else 3 - PRESETS["digits"].networks.noise_dim), name


def test_a_model_that_is_set_for_all_configurations_is_made_of_equal_size_too():
    settings = Plan.of("length", "digits", changes=["model=infogan"]).settings
    assert settings == as_model(PRESETS["digits"], "infogan")
    with pytest.raises(ValueError, match="settings of a memorygan"):  # the configurations name their own models
        Plan.of("ablation", "digits", changes=["model=infogan"])


# ---------------------------------------------------------------- running and going on


@pytest.mark.thorough
def test_every_configuration_runs_on_every_seed_and_says_from_what(small, tmp_path):
    rows = list(study(tmp_path, seeds=(3, 5)))
    assert small.trained == [(name, None, seed) for name in GRID for seed in (3, 5)]
    result = load_study(tmp_path / "result.json")
    assert result["runs"] == rows and result["tuning"] == []
    assert (result["study"], result["preset"], result["threads"]) == ("small", "tiny", 1)
    assert result["torch"] == torch.__version__ and result["settings"]["memory"]["num_slots"] == 61
    for row, name in zip(rows[::2], GRID, strict=True):
        assert row["configuration"] == name and row["changes"] == GRID[name] and row["steps"] == 2
        assert row["seconds"] > 0 and row.items() >= SCORES.items() and isinstance(row["commit"], str)
        gan = build_model(settings_of(TINY, GRID[name]))
        for part in ("inference", "generator"):
            assert row["parameters"][part] == sum(weight.numel() for weight in getattr(gan, part).parameters())


@pytest.mark.thorough
def test_what_stands_in_the_file_is_not_run_again(small, tmp_path):
    first = list(study(tmp_path, seeds=(0, 1)))
    small.trained.clear()
    assert list(study(tmp_path, seeds=(0, 1))) == [] and small.trained == []
    more = list(study(tmp_path, seeds=(1, 2)))
    assert small.trained == [(name, None, 2) for name in GRID]
    by_name = [row for name in GRID for row in first + more if row["configuration"] == name]
    assert load_study(tmp_path / "result.json")["runs"] == by_name


def test_after_each_run_the_file_holds_it_and_a_kill_loses_no_other(small, tmp_path, monkeypatch):
    rows = study(tmp_path, seeds=(0, 1))
    for number in (1, 2):
        next(rows)
        assert len(load_study(tmp_path / "result.json")["runs"]) == number
    rows.close()  # as when the process ends between two runs
    small.trained.clear()
    monkeypatch.setattr(studies, "evaluate", lambda *_, **__: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):  # and once the third run is trained, but not evaluated
        list(study(tmp_path, seeds=(0, 1)))
    assert small.trained == [("flat", None, 0)]
    assert len(load_study(tmp_path / "result.json")["runs"]) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["result.json"]


def test_a_run_that_is_trained_is_only_evaluated_again(small, tmp_path, monkeypatch):
    list(study(tmp_path))
    (tmp_path / "result.json").unlink()
    monkeypatch.setattr(studies, "Session", None)
    assert len(list(study(tmp_path))) == len(GRID)
    assert small.evaluated == 2 * len(GRID)


def test_only_the_named_configurations_run(small, tmp_path):
    list(study(tmp_path, only=["no memory", "as it is"]))
    assert small.trained == [("as it is", None, 0), ("no memory", None, 0)]
    list(study(tmp_path))
    assert small.trained[2:] == [("flat", None, 0)]
    with pytest.raises(ValueError, match="unknown configuration 'flatt', expected one of 'as it is', 'flat'"):
        list(study(tmp_path, only=["flatt"]))


def test_a_run_that_fails_is_written_down_and_the_others_go_on(small, tmp_path, monkeypatch):
    monkeypatch.setitem(GRID, "flat", ["training.generator_lr=1e30", "training.discriminator_lr=1e30"])
    rows = list(study(tmp_path))
    assert ["failed" in row for row in rows] == [False, True, False]
    assert "finite" in rows[1]["failed"] and "inception_score" not in rows[1]
    assert str(tmp_path) not in rows[1]["failed"]  # a result is read on other machines
    small.trained.clear()
    assert list(study(tmp_path)) == []  # the same seed would fail again
    assert "1 of 1 failed" in table(load_study(tmp_path / "result.json"))


@pytest.mark.thorough
def test_two_studies_do_not_write_one_file(small, tmp_path):
    """The second one would write what it knew of the file before the first one's rows."""
    first = study(tmp_path, seeds=(0, 1))
    next(first)
    with pytest.raises(ValueError, match=rf"result.json is being written by a study by process {os.getpid()} "):
        next(study(tmp_path, seeds=(2,)))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.json").symlink_to(tmp_path / "result.json")
    plan = Plan.of("small", "tiny", 2, 1)
    with pytest.raises(ValueError, match=r"link.json is being written"):
        next(run_study(plan, tmp_path / "elsewhere" / "link.json", seeds=(2,), runs=tmp_path / "other"))
    rest = list(first)
    assert len(load_study(tmp_path / "result.json")["runs"]) == 1 + len(rest) == 6
    assert list(study(tmp_path, seeds=(0, 1))) == []
    assert [path.name for path in tmp_path.glob(".*")] == []


ROW = {"configuration": "flat", "seed": 0, "changes": GRID["flat"]}
INCOMPLETE = [
    {"study": "small", "tuning": [], "runs": [{name: value for name, value in ROW.items() if name != left_out}]}
    for left_out in ROW
]
INCOMPLETE += [
    {"study": "small", "tuning": [], "runs": [{**ROW, "seed": "x"}]},
    {"study": "small", "tuning": [{"configuration": "flat"}], "runs": []},
]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"study": "small"}', '{"study": 1, "tuning": [], "runs": [{}]}', *map(json.dumps, INCOMPLETE)],
)
def test_a_foreign_result_file_is_refused_and_left_alone(small, tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ValueError, match=r"result\.json is not the result of a study"):
        list(study(tmp_path))
    assert (tmp_path / "result.json").read_text() == text and small.trained == []


def test_the_result_of_another_study_is_refused(small, tmp_path, monkeypatch):
    list(study(tmp_path))
    with pytest.raises(ValueError, match="another study: 'small' there, 'tuned' here; choose another --out"):
        list(study(tmp_path, "tuned"))
    with pytest.raises(ValueError, match=r"another settings: training.steps is 2 there, 3 here; choose another --out"):
        list(study(tmp_path, steps=3))
    monkeypatch.setitem(GRID, "flat", ["memory.kappa=2"])
    with pytest.raises(ValueError, match="runs of another grid: 'flat'"):
        list(study(tmp_path))
    monkeypatch.setattr(torch, "__version__", "0.1")
    with pytest.raises(ValueError, match="another torch"):
        list(study(tmp_path))


def test_a_folder_with_another_run_stops_the_study(small, tmp_path):
    list(study(tmp_path, steps=2))
    (tmp_path / "result.json").unlink()
    with pytest.raises(ValueError, match="holds a run of other settings: choose another folder for --runs"):
        list(study(tmp_path, steps=3))
    assert not (tmp_path / "result.json").exists()


def interrupted(tmp_path, steps):
    """Leave what a study leaves that was stopped in its first run: a checkpoint. Returns the job of the run."""
    job = Plan.of("small", "tiny", steps).job("as it is", 0, None, tmp_path / "runs")
    Session(job.folder, job.settings, job.data(), seed=0).save()
    return job


def test_a_run_that_was_interrupted_goes_on_as_it_was_begun_and_no_longer(small, tmp_path):
    """Its rates have been falling to 0: made longer, it would be no run of so many steps."""
    job = interrupted(tmp_path, steps=2)
    with pytest.raises(ValueError, match="seed-0 holds a run of other settings: choose another folder for --runs"):
        list(study(tmp_path, steps=3, only=["as it is"]))
    assert saved_checkpoints(job.folder) and not (tmp_path / "result.json").exists()
    (row,) = study(tmp_path, steps=2, only=["as it is"])
    assert row["steps"] == 2


# ---------------------------------------------------------------- images that have changed


def replace_images(monkeypatch, replaced):
    """Have the images of one split be others from now on."""

    def data(_, split="train"):
        found = load_dataset("digits", split=split)
        return found._replace(images=found.images.flip(0)) if split == replaced else found

    monkeypatch.setattr(Plan, "data", data)
    monkeypatch.setattr(Job, "data", data)


@pytest.mark.parametrize("split", ["train", "test"])
def test_runs_on_other_images_are_not_put_into_the_same_file(small, tmp_path, monkeypatch, split):
    list(study(tmp_path))
    before = (tmp_path / "result.json").read_text()
    small.trained.clear()
    replace_images(monkeypatch, split)
    with pytest.raises(ValueError, match="result.json holds runs on other images.*choose another --out"):
        list(study(tmp_path, seeds=(0, 1)))
    assert (tmp_path / "result.json").read_text() == before and small.trained == []


@pytest.mark.thorough
def test_a_result_of_an_older_version_goes_on_and_is_given_the_digests_of_its_images(small, tmp_path):
    list(study(tmp_path))
    content = json.loads((tmp_path / "result.json").read_text())
    images = content.pop("images")
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert len(list(study(tmp_path, seeds=(0, 1)))) == len(GRID)
    assert load_study(tmp_path / "result.json")["images"] == images


def test_a_finished_run_is_not_loaded_for_other_images(small, tmp_path, monkeypatch):
    list(study(tmp_path, only=["flat"]))
    (tmp_path / "result.json").unlink()
    with monkeypatch.context() as patch:
        replace_images(patch, "train")
        with pytest.raises(ValueError, match="seed-0 holds a run on other images: choose another folder for --runs"):
            list(study(tmp_path, only=["flat"]))
    with monkeypatch.context() as patch:
        replace_images(patch, "test")  # which no run has seen
        assert len(list(study(tmp_path, only=["flat"]))) == 1


def test_an_interrupted_run_does_not_go_on_with_other_images(small, tmp_path, monkeypatch):
    interrupted(tmp_path, steps=2)
    replace_images(monkeypatch, "train")
    with pytest.raises(ValueError, match="seed-0 holds a run on other images: choose another folder for --runs"):
        list(study(tmp_path, only=["as it is"]))


def test_a_finished_run_is_known_by_its_images_wherever_they_lie(small, tmp_path):
    """One of an older version, which has no digest of them, by their name."""
    list(study(tmp_path, only=["flat"]))
    (tmp_path / "result.json").unlink()
    run = tmp_path / "runs" / "flat" / "seed-0"
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(settings | {"dataset": "folder:/moved"}))
    assert len(list(study(tmp_path, only=["flat"]))) == 1
    (tmp_path / "result.json").unlink()
    history = json.loads((run / "history.json").read_text())
    del history["data"]
    (run / "history.json").write_text(json.dumps(history))
    with pytest.raises(ValueError, match="other settings"):
        list(study(tmp_path, only=["flat"]))
    (run / "settings.json").write_text(json.dumps(settings))
    assert len(list(study(tmp_path, only=["flat"]))) == 1


# ---------------------------------------------------------------- tuning


@pytest.mark.thorough
def test_every_configuration_is_tuned_alike_and_runs_with_its_best_rates(small, tmp_path, monkeypatch):
    best = {"as it is": "G as slow as D", "flat": "both twice as fast", "no memory": "the preset's"}

    def tried(job):
        score = 2.0 if job.candidate == best[job.configuration] else 1.5
        seen.append((job.configuration, job.candidate, job.seed, job.settings.training.steps))
        return {"configuration": job.configuration, "candidate": job.candidate, "seed": 10, "inception_score": score}

    seen = []
    monkeypatch.setattr(studies, "tune", tried)
    list(study(tmp_path, "tuned", steps=2, tuning_steps=1))
    assert seen == [(name, candidate, 10, 1) for name in GRID for candidate in candidate_rates(TINY)]
    runs = load_study(tmp_path / "result.json")["runs"]
    assert {row["configuration"]: row["candidate"] for row in runs} == best
    for row in runs:
        assert row["changes"] == GRID[row["configuration"]] + candidate_rates(TINY)[row["candidate"]]
    seen.clear()
    list(study(tmp_path, "tuned", steps=2, tuning_steps=1, seeds=(0, 1)))
    assert seen == []


def weights_of(settings):
    if settings.model == "dcgan":
        return {}
    return {f"lambda {weight}": [f"training.mi_weight={weight}"] for weight in (0.5, 0.25)}


@pytest.mark.thorough
def test_the_best_candidate_is_refined_and_chosen_by_the_distance(small, tmp_path, monkeypatch):
    distances = {
        "as it is": {"G as slow as D": 10.0, "G as slow as D, lambda 0.25": 5.0},
        "flat": {"both twice as fast": 10.0, "both twice as fast, lambda 0.5": 11.0},
        "no memory": {"D as fast as G": 10.0},
    }
    best = {"as it is": "G as slow as D, lambda 0.25", "flat": "both twice as fast", "no memory": "D as fast as G"}

    def tried(job):
        seen.append((job.configuration, job.candidate))
        distance = distances[job.configuration].get(job.candidate, 20.0)
        scores = {
            "inception_score": distance,
            "frechet_distance": distance,
        }  # the worst by the one, the best by the other
        return {"configuration": job.configuration, "candidate": job.candidate, "seed": 10, **scores}

    refined = Study(
        "?", lambda _: GRID, candidates=candidate_rates, refinements=weights_of, chosen_by="frechet_distance"
    )
    monkeypatch.setitem(STUDIES, "refined", refined)
    monkeypatch.setattr(studies, "tune", tried)
    seen = []
    list(study(tmp_path, "refined"))
    rates = [(name, candidate) for name in GRID for candidate in candidate_rates(TINY)]
    weights = [
        *(("as it is", f"G as slow as D, lambda {weight}") for weight in (0.5, 0.25)),
        *(("flat", f"both twice as fast, lambda {weight}") for weight in (0.5, 0.25)),
    ]
    assert seen == rates + weights
    runs = load_study(tmp_path / "result.json")["runs"]
    assert {row["configuration"]: row["candidate"] for row in runs} == best
    slow = candidate_rates(TINY)["G as slow as D"]
    assert runs[0]["changes"] == [*GRID["as it is"], *slow, "training.mi_weight=0.25"]
    seen.clear()
    list(study(tmp_path, "refined", seeds=(0, 1)))
    assert seen == []


@pytest.mark.thorough
def test_a_trial_has_the_scores_by_which_one_is_chosen(small, tmp_path):
    rows = list(study(tmp_path, "tuned", only=["as it is"]))
    for row in rows[:-1]:
        assert row["inception_score"] >= 1 and row["frechet_distance"] > 0


def test_rivals_have_a_third_and_a_tenth_of_their_own_weight_to_choose_from():
    plan = Plan.of("rivals", "mnist-5k")
    weights = {}
    for name, changes in plan.grid.items():
        own = settings_of(plan.settings, changes).training.mi_weight
        tried = plan.refinements(name, "the preset's").values()
        weights[name] = [settings_of(plan.settings, changes + more).training.mi_weight / own for more in tried]
    assert weights.pop("without memory: DCGAN") == weights.pop("DCGAN, little noise") == []
    assert all(found == pytest.approx([0.3, 0.1]) for found in weights.values()) and len(weights) == 3


def test_rates_where_every_trial_failed_are_the_presets():
    tuning = [{"configuration": "flat", "candidate": name, "failed": "NaN"} for name in candidate_rates(TINY)]
    assert studies.best_candidate(tuning, "flat") == next(iter(candidate_rates(TINY))) == "the preset's"


def test_weights_of_the_information_are_tried_for_both_bounds():
    plan = Plan.of("information", "digits")
    weights = {settings_of(TINY, changes).training.mi_weight for changes in plan.candidates.values()}
    found = {settings_of(TINY, changes).training.information for changes in plan.grid.values()}
    assert found == {"density", "posterior"}
    assert min(weights) <= 0.01 and max(weights) >= 1 and len(weights) >= 5


def test_candidates_are_pairs_of_the_presets_two_rates():
    found = {name: settings_of(TINY, changes).training for name, changes in candidate_rates(TINY).items()}
    pairs = {name: (one.generator_lr, one.discriminator_lr) for name, one in found.items()}
    assert list(pairs.values()) == [(4e-4, 2e-4), (4e-4, 4e-4), (2e-4, 2e-4), (8e-4, 4e-4)]


# ---------------------------------------------------------------- to look at


def made_up(**changes):
    """A result with three seeds of one configuration, one of another and a failed one."""
    values = [(3.0, 20.0), (4.0, 30.0), (8.0, 70.0)]
    rows = [{"configuration": "one", "seed": s, **SCORES} for s in range(3)]
    for row, (score, distance) in zip(rows, values, strict=True):
        row |= {"inception_score": score, "frechet_distance": distance}
    rows += [{"configuration": "two", "seed": 0, **SCORES}, {"configuration": "two", "seed": 1, "failed": "NaN"}]
    return {"study": "kappa", "preset": "digits", "question": "Which?", "tuning": [], "runs": rows} | changes


def test_the_table_gives_mean_lowest_and_highest():
    header, one, two, real = table(made_up()).splitlines()
    assert header.split()[:3] == ["runs", "weights", "Inception"]
    assert one.startswith("one ") and "5.00 (3.00 to 8.00)" in one and "40.0 (20.0 to 70.0)" in one
    assert "3.50 " in two and "50.0 " in two and two.endswith("1 of 2 failed")
    assert real.startswith("real images") and "9.50" in real


def test_the_table_of_a_page_has_the_same_numbers_and_as_many_cells_in_each_line():
    head, rule, one, two, real = (line.strip("| ").split(" | ") for line in markdown(made_up()).splitlines())
    assert head[0].startswith("Inception Score") and len(rule) == 6  # the first cell of the head is empty
    assert one[:3] == ["one", "5.00<br>3.00\u2013\u20608.00", "40.0<br>20.0\u2013\u206070.0"]
    assert two[:3] == ["two", "3.50", "50.0"] and two[-1] == "1\u00a0of\u00a02\u00a0failed"
    assert real[:2] == ["real images", "9.50"]
    assert len({line.count("|") for line in markdown(made_up()).splitlines()}) == 1


def test_the_figure_has_a_dot_for_each_run_and_names_what_failed():
    drawn = figure(made_up())
    first, second, third, spare = drawn.axes
    assert third.axison and not spare.axison  # three measures in two rows of two
    dots = [line.get_xdata() for line in first.lines if line.get_marker() == "o"]
    assert [list(values) for values in dots] == [[3.0, 4.0, 8.0], [3.5]]
    assert [list(line.get_xdata()) for line in first.lines if line.get_linestyle() == "--"] == [[9.5, 9.5]]
    assert [list(line.get_xdata()) for line in second.lines if line.get_marker() == "o"][0] == [20.0, 30.0, 70.0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["one", "two, 1 of 2 failed"]
    assert "Inception" in first.get_xlabel() and "Frechet" in second.get_xlabel()


def test_numbers_that_json_does_not_know_are_null(small, tmp_path, monkeypatch):
    monkeypatch.setitem(SCORES, "frechet_distance", float("nan"))
    monkeypatch.setitem(SCORES, "intervals", {"recall": [0.5, float("inf")], "none": None})
    list(study(tmp_path))
    text = (tmp_path / "result.json").read_text()
    assert "NaN" not in text and "Infinity" not in text and json.loads(text)["runs"][0]["frechet_distance"] is None
    assert "Frechet" not in table(load_study(tmp_path / "result.json"))
    figure({**load_study(tmp_path / "result.json"), "study": "kappa"})


# ---------------------------------------------------------------- from the command line


@pytest.mark.thorough
def test_the_command_prints_the_table_and_draws_the_figure(small, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(STUDIES, "kappa", Study("Which?", lambda _: GRID))
    settings = replace(TINY, training=replace(TINY.training, steps=2))
    monkeypatch.setitem(PRESETS, "digits", settings)
    assert main(["study", "kappa", "--preset", "digits", "--seeds", "0", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(" ") and said.out.count("\n") == 2 + len(GRID)
    assert "no memory, seed 1: Inception Score 3.5" in said.err
    assert (tmp_path / "results" / "study-kappa-digits.png").stat().st_size > 1000
    result = load_study(tmp_path / "results" / "study-kappa-digits.json")
    assert [row["seed"] for row in result["runs"]] == [0, 1] * len(GRID)
    assert (tmp_path / "runs" / "study-kappa-digits" / "no-memory" / "seed-1" / "model.pt").exists()


@pytest.mark.thorough
def test_a_second_result_of_a_study_has_runs_of_its_own(small, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(STUDIES, "kappa", Study("Which?", lambda _: GRID))
    monkeypatch.setitem(PRESETS, "digits", replace(TINY, training=replace(TINY.training, steps=2)))
    command = ["study", "kappa", "--preset", "digits", "--seeds", "0"]
    assert main(command) == 0
    assert main([*command, "--steps", "3", "--out", "results/longer.json"]) == 0
    assert {row["steps"] for row in load_study(tmp_path / "results" / "longer.json")["runs"]} == {3}
    assert (tmp_path / "runs" / "longer" / "no-memory" / "seed-0" / "model.pt").exists()


def test_the_table_is_printed_where_the_figure_cannot_be_kept(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(STUDIES, "kappa", Study("Which?", lambda _: GRID))
    monkeypatch.setitem(PRESETS, "digits", replace(TINY, training=replace(TINY.training, steps=2)))
    (tmp_path / "k.png").mkdir()  # in the way
    places = ["--out", str(tmp_path / "k.json"), "--runs", str(tmp_path / "runs")]
    assert main(["study", "kappa", "--preset", "digits", "--seeds", "0", *places]) == 0
    said = capsys.readouterr()
    assert said.out.count("\n") == 2 + len(GRID)
    assert "warning" in said.err and "k.png" in said.err


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["study", "kapa"])
    assert stop.value.code == 2 and "kappa" in capsys.readouterr().err
    for options, message in [
        (["--only", "kappa 7"], "unknown configuration 'kappa 7', expected one of 'kappa 1', 'kappa 8'"),
        (["--jobs", "0"], "at least one job"),
        (["--out", str(tmp_path)], "--out must name a file"),
    ]:
        assert main(["study", "kappa", "--out", str(tmp_path / "k.json"), *options]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_runs_in_several_processes_are_those_of_one(tmp_path):
    for name, processes in (("one", "1"), ("two", "2")):
        out, runs = tmp_path / f"{name}.json", tmp_path / name
        options = ["--steps", "2", "--seeds", "0", "--jobs", processes, "--out", str(out), "--runs", str(runs)]
        assert main(["study", "collisions", "--only", "summed in a batch", "last write wins", *options]) == 0
    one, two = (load_study(tmp_path / f"{name}.json")["runs"] for name in ("one", "two"))
    for row, other in zip(one, two, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}

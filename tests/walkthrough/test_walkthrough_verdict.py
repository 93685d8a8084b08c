"""Notebook 07: what its tables say is in the results files, and its checks recognise wrong answers."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from memgan.lab.studies.result_file import load_study
from walkthrough import nb07_verdict as verdict

ABLATION = verdict.of_model(verdict.load_runs("ablation-mnist-5k"))
FASHION = verdict.of_model(verdict.load_runs("ablation-fashion-mnist-slim"))
MNIST = verdict.of_model(verdict.load_runs("seeds-mnist-5k"))


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


def dots(axes):
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o")


@pytest.mark.parametrize(("models", "seeds"), [(ABLATION, 3), (FASHION, 3), (MNIST, 6)])
def test_every_model_has_the_same_seeds(models, seeds):
    assert {tuple(run["seed"] for run in same) for same in models.values()} == {tuple(range(seeds))}


@pytest.mark.parametrize(
    "name", ["ablation-mnist-5k", "ablation-fashion-mnist-slim", "ablation-fashion-mnist-slim-long"]
)
def test_every_model_was_tuned_with_the_same_effort_and_runs_at_the_best_it_found(name):
    study = load_study(verdict.RESULTS / f"study-{name}.json")
    tried = verdict.of_model(study["tuning"])
    for model, runs in verdict.of_model(study["runs"]).items():
        assert [run["candidate"] for run in tried[model]] == list(study["candidates"])
        best = max(tried[model], key=lambda run: run.get("inception_score") or 0.0)
        assert {run["candidate"] for run in runs} == {best["candidate"]}
        assert not {run["seed"] for run in tried[model]} & {run["seed"] for run in runs}


@pytest.mark.parametrize("preset", ["mnist-5k", "fashion-mnist-slim"])
def test_every_rival_runs_with_the_smallest_distance_that_its_trials_found(preset):
    study = load_study(verdict.RESULTS / f"study-rivals-{preset}.json")
    tried = verdict.of_model(study["tuning"])
    for model, runs in verdict.of_model(study["runs"]).items():
        names = [run["candidate"] for run in tried[model]]
        assert [name for name in names if "lambda" not in name] == list(study["candidates"])
        assert sum("lambda" in name for name in names) == (0 if "DCGAN" in model else 2)
        best = min(tried[model], key=lambda run: run.get("frechet_distance") or math.inf)
        assert {run["candidate"] for run in runs} == {best["candidate"]}
        assert not {run["seed"] for run in tried[model]} & {run["seed"] for run in runs}


def test_rivals_take_the_place_of_what_was_tuned_less():
    rivals = verdict.of_model(verdict.load_runs("rivals-mnist-5k"))
    found = verdict.load_compared("mnist-5k")
    assert list(found) == list(ABLATION) and set(found) - set(rivals) == {"without EM", "without MCGN"}
    assert all(found[model] == rivals.get(model, ABLATION[model]) for model in ABLATION)


def test_table_has_the_range_of_every_model_and_the_real_images():
    heading, seeds, first, walks = verdict.range_table(MNIST, ["inception_score", "in_between_slot"]).splitlines()
    assert heading.split() == ["MemoryGAN", "DCGAN", "real"]
    assert seeds.split() == ["seeds", "6", "6"]
    scores = [sorted(run["inception_score"] for run in runs) for runs in MNIST.values()]
    ranges = [word for low, *_, high in scores for word in (f"{low:.2f}", "to", f"{high:.2f}")]
    assert first.split() == ["Inception", "Score", *ranges, f"{MNIST['DCGAN'][0]['inception_score_real']:.2f}"]
    assert walks.split()[:3] == ["inside", "a", "slot"]
    assert len(walks.split()) == 6  # a DCGAN has no slots, and real images no walks


def test_table_says_how_many_runs_trained():
    runs = [{"recall": 0.5}, {"failed": "no gradient"}, {"recall": 0.7}]
    _, seeds, recall = verdict.range_table({"a": runs}, ["recall"]).splitlines()
    assert seeds.split() == ["seeds", "2", "of", "3"]
    assert recall.split() == ["recall", "0.50", "to", "0.70"]


def test_table_shows_one_number_where_all_agree_and_refuses_unknown_measures():
    assert (
        verdict.range_table({"a": [{"classes_covered": 10}]}, ["classes_covered"]).splitlines()[-1].split()[-1] == "10"
    )
    with pytest.raises(KeyError):
        verdict.range_table(MNIST, ["beauty"])


def test_tables_fit_beside_a_notebooks_margin():
    three = {name: ABLATION[name] for name in ("MemoryGAN", "without EM", "without MCGN")}
    assert max(len(line) for line in verdict.range_table(three, list(verdict.MEASURES)).splitlines()) <= 80


def test_figures_have_a_dot_for_every_run():
    assert [dots(axes) for axes in verdict.headline_figure(MNIST).axes] == [12] * 4
    assert [dots(axes) for axes in verdict.two_ablations_figure({"a": ABLATION, "b": FASHION}).axes] == [
        *[sum(not run.get("failed") for runs in ABLATION.values() for run in runs)] * 2,
        *[sum(not run.get("failed") for runs in FASHION.values() for run in runs)] * 2,
    ]
    rows = {"MemoryGAN": ["in_between", "in_between_keys"], "DCGAN": ["in_between"]}
    assert [dots(axes) for axes in verdict.in_between_figure(MNIST, rows).axes] == [18]


def test_groups_stand_under_their_headings_in_order():
    groups = {"first": {"a": "row a"}, "second": {"b": "row b", "c": "row c"}}
    values = {"a": [1.0, 2.0], "b": [3.0]}  # c has none
    axes = verdict.grouped_figure(groups, [verdict.Panel("x", values)], ["a"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "row a", "second", "row b", "row c"]
    assert dots(axes) == 3


def test_plane_shows_every_kind_of_run_of_memorygan():
    kinds = [kind for names in verdict.plane_groups().values() for kind in names]
    assert len(set(kinds)) == len(kinds)
    values = {kind: [0.0, 1.0] for kind in kinds}
    assert [dots(axes) for axes in verdict.plane_figure(verdict.plane_groups(), values, values, []).axes] == [
        2 * len(kinds)
    ] * 2


def test_published_settings_and_costs_are_those_of_the_results():
    published = verdict.of_model(verdict.load_runs("paper-rule-mnist-5k"))["all of these"]
    assert len(published) == 3
    assert max(run["inception_score"] for run in published) < 3
    for row in verdict.load_costs().values():
        assert math.isclose(row["memory"] / row["step"], row["share"], rel_tol=0.2)


def test_chance_is_scipys_permutation_test():
    ours, theirs = [9.0, 8.0, 7.5, 8.2], [7.9, 7.0, 8.1]
    expected = permutation_test(
        (ours, theirs), lambda a, b: np.mean(a) - np.mean(b), alternative="greater", n_resamples=np.inf
    )
    assert verdict.chance_of(ours, theirs) == pytest.approx(expected.pvalue)
    assert verdict.chance_of([4, 5, 6], [1, 2, 3]) == pytest.approx(1 / 20)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (verdict.chance_of, "Right."),
        (lambda a, b: verdict.chance_of(b, a), "Not yet."),
        (lambda a, b: 1 / math.comb(len(a) + len(b), len(a)), "is right"),
        (lambda a, b: 0.0, "counts too"),
        (lambda a, b: 2 * verdict.chance_of(a, b), "favour theirs"),
        (lambda a, b: ..., "Not answered"),
    ],
)
def test_check_of_the_permutation_test(capsys, answer, words):
    assert words in said(capsys, verdict.check_chance, answer)


@pytest.mark.parametrize(
    ("many", "few", "words"),
    [
        ("both", "drift", "Right."),
        ("drift", "drift", "512 slots"),
        ("both", "both", "128 slots"),
        ("x", "drift", "expected"),
    ],
)
def test_check_of_the_causes(capsys, many, few, words):
    assert words in said(capsys, verdict.check_causes, {"512 slots": many, "128 slots": few})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda k, z, t: (k[0] if t < 0.5 else k[1], (1 - t) * z[0] + t * z[1]), "Right."),
        (lambda k, z, t: (k[0].lerp(k[1], t), z[0].lerp(z[1], t)), "do not interpolate"),
        (lambda k, z, t: (k[0], z[0].lerp(z[1], t)), "end 1"),
        (lambda k, z, t: (k[0] if t < 0.3 else k[1], z[0].lerp(z[1], t)), "end 0"),
        (lambda k, z, t: (k[0] if t < 0.7 else k[1], z[0].lerp(z[1], t)), "end 1"),
        (lambda k, z, t: (k[0], z[0]), "straight line"),
        (lambda k, z, t: ..., "Not answered"),
    ],
)
def test_check_of_the_walk(capsys, answer, words):
    assert words in said(capsys, verdict.check_switch, answer)

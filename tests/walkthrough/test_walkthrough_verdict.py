"""Notebook 07: what its tables say is in the results file, and its checks recognise wrong answers."""

import math

import pytest

from walkthrough import nb07_verdict as verdict

RUNS, TUNING = verdict.load_runs(), verdict.load_tuning()


def said(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


def test_every_model_has_the_same_three_seeds():
    assert {tuple(run["seed"] for run in same) for same in verdict.of_model(RUNS).values()} == {(0, 1, 2)}


def test_table_shows_mean_and_range():
    scores = sorted(run["inception_score"] for run in RUNS if run["configuration"] == "memoryGAN")
    line = next(line for line in verdict.ablation_table(RUNS).splitlines() if line.startswith("memoryGAN"))
    assert f"{math.fsum(scores) / 3:.2f} ({scores[0]:.2f} to {scores[-1]:.2f})" in line


def test_tables_fit_beside_a_notebooks_margin():
    tables = verdict.ablation_table(RUNS), verdict.tuning_table(TUNING, RUNS, verdict.load_candidates())
    assert max(len(line) for table in tables for line in table.splitlines()) < 75


def test_every_model_was_tuned_with_the_same_effort_and_runs_at_the_best_it_found():
    candidates = verdict.load_candidates()
    table = verdict.tuning_table(TUNING, RUNS, candidates).splitlines()
    tried = verdict.of_model(TUNING)
    assert len(table) == 1 + len(tried)
    for name, runs in tried.items():
        assert [run["candidate"] for run in runs] == list(candidates)
        best = max(runs, key=lambda run: run["inception_score"])
        assert {run["candidate"] for run in RUNS if run["configuration"] == name} == {best["candidate"]}
        line = next(line for line in table if line.startswith(f"{name} "))
        assert f"{best['inception_score']:.2f}*" in line and line.count("*") == 1


def test_tuning_and_runs_have_no_seed_in_common():
    assert not {run["seed"] for run in TUNING} & {run["seed"] for run in RUNS}


def test_walk_rates_are_those_of_the_runs():
    rates = verdict.walk_rates(RUNS, ["memoryGAN"])["memoryGAN"]
    assert rates["keys"] == [run["in_between_keys"] for run in RUNS if run["configuration"] == "memoryGAN"]
    assert list(rates) == ["random samples", "slot", "switch", "keys"]


def test_table_of_seeds_has_every_seed_and_the_real_images():
    runs = verdict.load_seeds()
    head, first, *rest = verdict.seeds_table(runs).splitlines()
    assert head.split() == [word for run in runs for word in ("seed", str(run["seed"]))] + ["real"]
    scores = [run["inception_score"] for run in runs] + [runs[0]["inception_score_real"]]
    assert first.split() == ["Inception", "Score", *(f"{score:.2f}" for score in scores)]
    assert max(len(line) for line in (head, first, *rest)) < 75


def test_figure_has_a_dot_for_every_run():
    for axes in verdict.ablation_figure(RUNS).axes:
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert sum(len(line.get_xdata()) for line in dots) == len(RUNS)


@pytest.mark.parametrize(
    ("many", "few", "words"),
    [
        ("drift", "both", "Right."),
        ("both", "both", "512 slots"),
        ("drift", "drift", "128 slots"),
        ("x", "both", "expected"),
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
        (lambda k, z, t: (k[0], z[0]), "straight line"),
        (lambda k, z, t: ..., "Not answered"),
    ],
)
def test_check_of_the_walk(capsys, answer, words):
    assert words in said(capsys, verdict.check_switch, answer)

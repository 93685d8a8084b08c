"""docs/studies.md: the committed results, each with the command that makes it."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from memgan_lab.commands import study
from memgan_lab.comparison import markdown
from memgan_lab.studies import load_study

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
RESULTS = sorted((ROOT / "results").glob("study-*.json"))
SECTIONS = {re.search(r"\(\.\./results/(.+?\.json)\)", part)[1]: part for part in PAGE.split("\n## ")[1:]}


def test_every_result_has_its_section():
    assert set(SECTIONS) == {path.name for path in RESULTS}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_section_shows_the_table_and_the_figure_of_its_result(path):
    assert markdown(load_study(path)) in SECTIONS[path.name]
    picture = path.with_suffix(".png")
    assert f"(../results/{picture.name})" in SECTIONS[path.name] and picture.is_file()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_command_of_a_section_goes_on_with_its_result(path):
    """It plans what the file holds: the same study and settings, and no run that is not there already."""
    command = re.search(r"^    memgan study ((?:.*\\\n)*.*)", SECTIONS[path.name], re.MULTILINE)[1]
    parser = argparse.ArgumentParser()
    study.add(parser)
    options = parser.parse_args(shlex.split(command.replace("\\\n", " ")))
    plan, result = study.plan_of(options), load_study(path)
    head = json.loads(json.dumps(plan.head()))
    assert {name: result[name] for name in head if name != "torch"} == {n: v for n, v in head.items() if n != "torch"}
    runs = {(name, seed) for name in options.only or plan.grid for seed in options.seeds}
    assert runs == {(run["configuration"], run["seed"]) for run in result["runs"]}
    assert (options.out or ROOT / "results" / f"study-{plan.name}-{plan.preset}.json").name == path.name

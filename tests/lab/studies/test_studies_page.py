"""docs/studies.md: the committed results, each with the command that makes it."""

import argparse
import json
import re
import shlex

import pytest

from memgan.lab.commands import study
from memgan.lab.studies.runner import load_study
from scripts.studies_page import PAGE, RESULTS, ROOT, sections, with_tables

TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = sections(TEXT)


def test_every_result_has_its_section_and_its_figure():
    assert set(SECTIONS) == {path.name for path in RESULTS.glob("study-*.json")}
    for name, section in SECTIONS.items():
        picture = (RESULTS / name).with_suffix(".png")
        assert f"(../results/{picture.name})" in section and picture.is_file()


def test_the_tables_are_those_of_the_results():
    assert with_tables(TEXT) == TEXT
    for wrong in ("7.25<br>", "9.24<br>"):  # a number of the first section and one of another
        assert TEXT.count(wrong) >= 1 and with_tables(TEXT.replace(wrong, "1.11<br>")) == TEXT


@pytest.mark.parametrize("name", SECTIONS)
def test_the_command_of_a_section_goes_on_with_its_result(name):
    """It plans what the file holds: the same study and settings, and no run that is not there already."""
    command = re.search(r"^    memgan study ((?:.*\\\n)*.*)", SECTIONS[name], re.MULTILINE)[1]
    parser = argparse.ArgumentParser()
    study.add(parser)
    options = parser.parse_args(shlex.split(command.replace("\\\n", " ")))
    plan, result = study.plan_of(options), load_study(RESULTS / name)
    head = json.loads(json.dumps(plan.head()))
    assert {n: result[n] for n in head if n != "torch"} == {n: v for n, v in head.items() if n != "torch"}
    runs = {(configuration, seed) for configuration in options.only or plan.grid for seed in options.seeds}
    assert runs == {(run["configuration"], run["seed"]) for run in result["runs"]}
    assert (options.out or ROOT / "results" / f"study-{plan.name}-{plan.preset}.json").name == name

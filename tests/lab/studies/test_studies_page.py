"""docs/studies.md: each result has its table, its figure, and the command that goes on with it."""

import argparse
import json
import shlex
import shutil

import pytest

from memgan.lab.commands import study
from memgan.lab.studies.comparison import markdown
from memgan.lab.studies.result_file import load_study
from scripts.studies_page import PAGE, RESULTS, with_tables

NAMES = sorted(path.name for path in RESULTS.glob("study-*.json"))
SECTIONS = PAGE.read_text(encoding="utf-8").split("\n## ")


def section_of(name):
    """The section of the page that has the place for the table of a result file."""
    (section,) = [section for section in SECTIONS if f"<!-- {name} -->" in section]
    return section


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_section_goes_on_with_its_result(name):
    """It plans what the file holds: the same study and settings, and no run that is not there already."""
    result = load_study(RESULTS / name)
    options = options_of(command_in(section_of(name)))
    plan = study.plan_of(options)
    head = json.loads(json.dumps(plan.head()))
    del head["torch"]  # the version that made the result, which a later one may read
    assert {key: result[key] for key in head} == head
    runs = {(configuration, seed) for configuration in options.only or plan.grid for seed in options.seeds}
    assert runs == {(run["configuration"], run["seed"]) for run in result["runs"]}
    default = f"study-{plan.name}-{plan.preset}.json"
    assert (options.out.name if options.out else default) == name


def command_in(section):
    """The words of the first indented command, whose lines end in a backslash where it goes on."""
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    return shlex.split("\n".join(lines).replace("\\\n", " ").splitlines()[0])


def options_of(words):
    assert words[:2] == ["memgan", "study"]
    parser = argparse.ArgumentParser()
    study.add(parser)
    return parser.parse_args(words[2:])


# ---------------------------------------------------------------- the generator


@pytest.fixture
def results(tmp_path):
    """Two results of the project in a folder of their own."""
    for name in NAMES[:2]:
        shutil.copy(RESULTS / name, tmp_path)
    return tmp_path


def page_with(*tables):
    parts = [f"<!-- {name} -->\n{table}<!-- /{name} -->\n" for name, table in zip(NAMES, tables, strict=False)]
    return "before\n\n" + "\nby hand\n\n".join(parts) + "\nafter\n"


def test_tables_come_between_their_marks_whatever_stood_there_and_the_rest_stays(results):
    expected = page_with(*(f"\n{markdown(load_study(results / name))}\n\n" for name in NAMES[:2]))
    assert with_tables(page_with("", ""), results) == expected
    assert with_tables(page_with("an old table\n", "\n| 1 | 2 |\n\n"), results) == expected
    assert with_tables(expected, results) == expected


def test_a_result_without_a_place_is_named(results):
    with pytest.raises(ValueError, match=NAMES[1]):
        with_tables(page_with(""), results)

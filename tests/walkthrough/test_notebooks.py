"""Every notebook is stored as a reader should meet it. (`pytest --nbval notebooks/` tests its outputs.)"""

import ast
import functools
import io
import re
import tokenize

import nbformat
import pytest

from scripts.run_notebooks import NOTEBOOKS, ROOT, WIDGET_STATE, code_cells, out_of_sync, sources, widget_scripts

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
COMMENT = tokenize.COMMENT
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
SOLUTIONS = NOTEBOOKS / "solutions"
LESSONS = [path for path in sources() if path.parent == NOTEBOOKS and path.name[0] != "b"]
BONUS = [path for path in sources() if path.parent == NOTEBOOKS and path.name[0] == "b"]
NOTATION = (ROOT / "docs" / "notation.md").read_text(encoding="utf-8")


def name_of(path):
    return str(path.relative_to(NOTEBOOKS).with_suffix(""))


each_notebook = pytest.mark.parametrize("source", sources(), ids=name_of)
each_lesson = pytest.mark.parametrize("source", LESSONS, ids=name_of)
each_lesson_or_bonus = pytest.mark.parametrize("source", LESSONS + BONUS, ids=name_of)


@functools.cache
def read(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def compared_texts(cell):
    """The outputs of a cell that say something and that nbval compares."""
    for output in cell.outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        if text.strip() and not text.startswith("<Figure") and WIDGET_VIEW not in output.get("data", {}):
            yield text


def test_every_half_has_its_other_half():
    visible = [path for path in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    assert {path.with_suffix(".ipynb") for path in sources()} == set(visible)


def test_lessons_are_numbered_without_a_gap_and_each_has_its_solutions():
    assert [int(path.name[:2]) for path in LESSONS] == list(range(len(LESSONS)))
    assert [path.name[:2] for path in BONUS] == [f"b{place}" for place in range(1, len(BONUS) + 1)]
    with_exercises = {path.name for path in LESSONS if "## Exercises" in path.read_text(encoding="utf-8")}
    assert with_exercises == {path.name for path in SOLUTIONS.glob("*.py")}


@each_notebook
def test_pair_is_in_sync(source):
    assert out_of_sync(source) == ""


@each_notebook
def test_was_executed_from_top_to_bottom(source):
    counts = [cell.execution_count for cell in code_cells(read(source))]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_stored_no_error_and_nothing_on_stderr(source):
    outputs = [output for cell in code_cells(read(source)) for output in cell.outputs]
    assert not [output for output in outputs if "error" in output.output_type or output.get("name") == "stderr"]


@each_notebook
def test_prints_results_worth_comparing(source):
    """Pictures are never compared, so at least one code cell in four says its result in text."""
    cells = code_cells(read(source))
    assert sum(any(compared_texts(cell)) for cell in cells) >= len(cells) / 4


@each_notebook
def test_stored_no_address_of_an_object(source):
    texts = [text for cell in code_cells(read(source)) for text in compared_texts(cell)]
    assert not [text for text in texts if re.search(r"\bat 0x[0-9a-f]+", text)]


@each_notebook
def test_teaches_the_package_and_not_a_copy_of_it(source):
    assert re.search(r"^(from|import) memgan\b", source.read_text(encoding="utf-8"), re.MULTILINE)


@each_notebook
def test_widgets_are_stored_where_viewers_look_for_them(source):
    widgets = read(source).metadata.get("widgets", {WIDGET_STATE: {"state": {}}})
    assert "state" in widgets[WIDGET_STATE]


@each_notebook
def test_every_picture_can_be_read_out(source):
    """Alternative text where converters look for it, and what a plain-text viewer gets."""
    for cell in code_cells(read(source)):
        for output in cell.outputs:
            for kind in set(PICTURES) & set(output.get("data", {})):
                assert len(output.metadata.get(kind, {}).get("alt", "")) >= 10, cell.source
                assert "object at" not in output.data.get("text/plain", "")


@each_lesson_or_bonus
def test_every_figure_is_followed_by_its_numbered_caption(source):
    """Figures count from 1 in each notebook, in order: a reader can be sent to "Figure 3.2" or "Figure B1.2"."""
    captions = []
    for cell in code_cells(read(source)):
        for place, output in enumerate(cell.outputs):
            if output.get("data", {}).get("text/plain", "").startswith("<Figure"):
                captions.append(cell.outputs[place + 1]["data"]["text/markdown"])
    notebook = source.name[:2].lstrip("0").upper() or "0"
    starts = [caption.split(". ")[0] for caption in captions]
    assert starts == [f"*Figure {notebook}.{count}" for count in range(1, len(captions) + 1)]


@each_lesson_or_bonus
def test_lesson_asks_and_sums_up(source):
    text = source.read_text(encoding="utf-8")
    assert "**The question:**" in text
    assert "## In five lines" in text
    summary = text.split("## In five lines")[1].split("# %%")[0].split("# ## ")[0]
    assert len(re.findall(r"^# - ", summary, re.MULTILINE)) == 5


@each_lesson
def test_lesson_sets_exercises(source):
    text = source.read_text(encoding="utf-8")
    exercises = re.findall(r"^# (?:###|\*\*Exercise) ?", text.split("## Exercises")[-1], re.MULTILINE)
    assert source.name.startswith("00") or 3 <= len(exercises) <= 6


@pytest.mark.parametrize("source", sorted(SOLUTIONS.glob("*.py")), ids=name_of)
def test_every_solution_is_right(source):
    replies = [text for cell in code_cells(read(source)) for text in compared_texts(cell)]
    assert not [text for text in replies if text.startswith(("Not yet.", "Not answered"))]


@each_notebook
def test_links_are_alive(source):
    cells = [cell.source for cell in read(source).cells if cell.cell_type == "markdown"]
    assert not dead_links("\n".join(cells), source.with_suffix(".ipynb"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/notation.md", "docs/questions.md"])
def test_links_of_a_page_are_alive(page):
    assert not dead_links((ROOT / page).read_text(encoding="utf-8"), ROOT / page)


def dead_links(text, page):
    """The relative links of `page` that lead to no file, or to no heading of it."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$", "", text, flags=re.DOTALL)):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if re.match(r"https?:|mailto:|attachment:", target):
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    return dead


def anchors(path):
    """The anchors of a page's headings, as JupyterLab (spaces to dashes) and code hosts (lower case) make them."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE)
    lab = {heading.replace(" ", "-") for heading in headings}
    return lab | {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_equation_that_code_names_is_on_the_notation_page():
    on_the_page = {int(number) for number in re.findall(r"\\tag\{(\d+)\}", NOTATION)}
    assert on_the_page == set(range(1, len(on_the_page) + 1))
    named = {int(n) for path in ROOT.glob("memgan/**/*.py") for tag in equation_tags(path) for n in tag}
    assert named == on_the_page


def equation_tags(path):
    """The numbers in each pair of brackets, such as (4) or (7-10), that a docstring or a comment holds."""
    text = path.read_text(encoding="utf-8")
    tree = ast.walk(ast.parse(text))
    words = [ast.get_docstring(node) or "" for node in tree if isinstance(node, DOCUMENTED)]
    words += [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == COMMENT]
    return [re.findall(r"\d+", tag) for tag in re.findall(r"\s(\(\d+(?:[-,] ?\d+)*\))", "\n".join(words))]


@each_notebook
def test_stored_widgets_run_the_scripts_of_today(source):
    for state, scripts in widget_scripts(read(source)):
        stale = [name for name, text in scripts.items() if state[name] != text]
        assert stale == [], f"{state['_anywidget_id']}: store it again, make notebooks ARGS=--prose"


def test_notebooks_stay_light():
    """Widgets keep under 1.5 MB each; the folder under 25 MB."""
    assert sum(path.stat().st_size for path in NOTEBOOKS.rglob("*.ipynb")) < 25e6
    for source in sources():
        states = read(source).metadata.get("widgets", {WIDGET_STATE: {"state": {}}})[WIDGET_STATE]["state"]
        assert all(len(str(state)) < 1.5e6 for state in states.values()), source

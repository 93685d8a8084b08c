"""The generator of pages' tables fills the marked places and leaves all else alone."""

import pytest
from pandas import Series

from scripts.docs_tables import TABLES, filled, markdown, span, spread

PAGE = """before

<!-- table: one -->
| old |
<!-- end -->

between

<!-- table: two -->
<!-- end -->
after
"""


def test_marked_places_are_filled_and_all_else_stays():
    page = filled(PAGE, {"one": lambda: "| 1 |", "two": lambda: "| 2 |"})
    assert "| old |" not in page
    assert [line for line in page.splitlines() if line] == [
        "before",
        "<!-- table: one -->",
        "| 1 |",
        "<!-- end -->",
        "between",
        "<!-- table: two -->",
        "| 2 |",
        "<!-- end -->",
        "after",
    ]
    assert filled(page, {"one": lambda: "| 1 |", "two": lambda: "| 2 |"}) == page


def test_place_without_a_table_or_without_an_end_is_refused():
    with pytest.raises(ValueError, match="'two'.*expected one of one"):
        filled(PAGE, {"one": lambda: ""})
    with pytest.raises(ValueError, match="<!-- end -->"):
        filled("<!-- table: one -->\n| old |\n", {"one": lambda: ""})


def test_numbers_are_means_and_ends_of_their_range():
    values = Series([1.0, 2.0, 6.0])
    assert spread(values, 1) == "3.0 (1.0–6.0)"
    assert span(values, 0) == "1–6"
    assert spread(Series([2.0, 2.0]), 1) == span(Series([2.0, 2.0]), 1) == "2.0"
    assert span(Series([None, None], dtype=float), 1) == ""  # a measure that a model does not have


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_as_many_cells_in_each_row(name):
    rows = TABLES[name]().splitlines()
    assert len(rows) > 2
    assert len({row.count("|") for row in rows}) == 1


def test_texts_stand_to_the_left_and_numbers_to_the_right():
    assert markdown(["a", "b", "c"], [["x", "y", 1]], texts=2).splitlines() == [
        "| a | b | c |",
        "| --- | --- | ---: |",
        "| x | y | 1 |",
    ]

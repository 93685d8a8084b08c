"""Put the tables of results/study-*.json into docs/studies.md and draw their figures anew: `make studies`.

A table stands between two lines of the page, `<!-- study-NAME.json -->` and `<!-- /study-NAME.json -->`, which name its
result file. What stands between them is replaced; all else on the page is written by hand.
"""

from pathlib import Path

from memgan.lab.studies.comparison import figure, markdown
from memgan.lab.studies.result_file import load_study

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "studies.md"
RESULTS = ROOT / "results"


def with_tables(page: str, results: Path = RESULTS) -> str:
    """The page with the table of each result file of `results` between its marks.

    Raises ValueError where the page has no place for one of them.
    """
    for path in sorted(results.glob("study-*.json")):
        opening = f"<!-- {path.name} -->\n"
        closing = f"<!-- /{path.name} -->\n"
        before, opened, rest = page.partition(opening)
        _, closed, after = rest.partition(closing)
        if not opened or not closed:
            raise ValueError(f"the page has no place for a table: expected {opening.strip()} and {closing.strip()}")
        page = f"{before}{opening}\n{markdown(load_study(path))}\n\n{closing}{after}"
    return page


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page), encoding="utf-8")
    for path in sorted(RESULTS.glob("study-*.json")):
        figure(load_study(path)).savefig(path.with_suffix(".png"), dpi=150)
        print(path.stem)


if __name__ == "__main__":
    main()

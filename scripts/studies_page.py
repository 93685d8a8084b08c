"""Put the tables of results/study-*.json into docs/studies.md and draw their figures anew: `make studies`."""

import re
from pathlib import Path

from memgan.lab.studies.comparison import figure, markdown
from memgan.lab.studies.runner import load_study

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "studies.md", ROOT / "results"


def sections(page: str) -> dict[str, str]:
    """The text of each section of the page, by the name of the result file that it links to."""
    return {re.search(r"\(\.\./results/(.+?\.json)\)", part)[1]: part for part in page.split("\n## ")[1:]}


def with_tables(page: str) -> str:
    """The page with its tables as the results have them now: in each section the first table, whatever it was."""
    for name, section in sections(page).items():
        table = markdown(load_study(RESULTS / name)) + "\n"  # with no backslash, which `sub` would read
        page = page.replace(section, re.sub(r"(?:^\|.*\n)+", table, section, count=1, flags=re.MULTILINE))
    return page


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page), encoding="utf-8")
    for name in sections(page):
        path = RESULTS / name
        figure(load_study(path)).savefig(path.with_suffix(".png"), dpi=150)
        print(path.stem)


if __name__ == "__main__":
    main()

"""Which code made a result?"""

import shutil
import subprocess
from pathlib import Path

__all__ = ["commit"]


def commit() -> str:
    """The commit of the code that runs, "-dirty" where files differ from it, or nothing outside a repository."""
    if not shutil.which("git"):
        return ""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return found.stdout.strip()

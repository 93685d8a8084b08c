"""The command line as the tests call it, with settings small enough for them."""

import pytest
from gan_builders import TINY_ASSIGNMENTS

from memgan.lab.commands.cli import main

TINY = ["--preset", "digits"] + [word for assignment in TINY_ASSIGNMENTS for word in ("--set", assignment)]


def fails(capsys, *arguments):
    """Its one line on stderr, for a command that ends with exit code 1."""
    assert main([str(argument) for argument in arguments]) == 1
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"memgan {arguments[0]}: ")
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


def exits(*arguments):
    """The exit code of a command that argparse ends."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code

"""A library that is not installed is named together with the command that installs it."""

import pytest

from memgan.extras import required

MISSING = r"drawing needs no_such_library: pip install 'memgan\[lab\]'"


def test_a_missing_library_is_named_with_the_command_that_brings_it():
    with (
        pytest.raises(ModuleNotFoundError, match=MISSING) as caught,
        required("lab", "drawing"),
    ):
        import no_such_library.part  # noqa: F401
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_module_of_the_package_itself_is_not_blamed_on_an_extra():
    with pytest.raises(ModuleNotFoundError, match="memgan.no_such_part") as caught, required("lab", "drawing"):
        import memgan.no_such_part  # noqa: F401
    assert "pip install" not in str(caught.value)


def test_other_errors_and_successful_imports_pass_through():
    with required("lab", "drawing"):
        import math
    assert math.sqrt(4) == 2
    with pytest.raises(ValueError, match="something else"), required("lab", "drawing"):
        raise ValueError("something else")


def test_the_innermost_report_stands():
    with (
        pytest.raises(ModuleNotFoundError, match=MISSING),
        required("notebooks", "exploring"),
        required("lab", "drawing"),
    ):
        import no_such_library  # noqa: F401

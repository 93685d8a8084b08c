"""Checks of the fields of settings: each raises ValueError that names the field, what was expected and what came."""

import math
from numbers import Integral, Real
from typing import Any

__all__ = ["finite_number", "number", "truth_value", "whole_number"]


def whole_number(name: str, value: Any) -> int:
    """`value` as an int."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def number(name: str, value: Any) -> float:
    """`value` as a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)


def finite_number(name: str, value: Any) -> float:
    """`value` as a float that is neither NaN nor infinite."""
    if not math.isfinite(number(name, value)):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return float(value)


def truth_value(name: str, value: Any) -> bool:
    """`value`, which is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value

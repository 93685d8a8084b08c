"""How much of a large matrix is made at once, so that it fits into the machine."""

__all__ = ["MOST_NUMBERS", "rows_at_once"]

MOST_NUMBERS = 2**26  # 256 MB in float32


def rows_at_once(numbers_in_a_row: int) -> int:
    """How many rows to make at once of a matrix with so many numbers in each: at least one."""
    return max(1, MOST_NUMBERS // max(1, numbers_in_a_row))

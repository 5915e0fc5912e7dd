"""How figures and their names are written: percent with one decimal, headings as in the paper."""

from __future__ import annotations

import re

MINUS = "\N{MINUS SIGN}"


def heading(metric: str) -> str:
    """Write a metric's name as the paper does, short for the AP at one score threshold.

    Example:
        >>> heading("ap_s"), heading("ap_s5"), heading("ap50_s0"), heading("ap_small_s")
        ('AP@S', '@S5', 'AP50@S0', 'AP small@S')
    """
    kind, threshold = _parts(metric)
    if kind == "ap" and threshold:
        return f"@S{threshold}"
    return f"{_kind(kind)}@S{threshold}"


def percent(fraction: float) -> str:
    """Write a fraction in percent with one decimal.

    Example:
        >>> percent(0.1234), percent(-0.00001)
        ('12.3', '0.0')
    """
    return f"{100 * fraction:z.1f}".replace("-", MINUS)


def signed_percent(fraction: float) -> str:
    """Write a difference of fractions in percent points with its sign.

    Example:
        >>> signed_percent(0.031), signed_percent(0.00001)
        ('+3.1', '+0.0')
    """
    return f"{100 * fraction:+z.1f}".replace("-", MINUS)


def _parts(metric: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.+)_s(\d?)", metric)
    return (found[1], found[2]) if found else (metric, "")


def _kind(kind: str) -> str:
    first, _, size = kind.partition("_")
    return f"{first.upper()} {size}" if size else first.upper()

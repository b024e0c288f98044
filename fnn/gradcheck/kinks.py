"""Detection of kinks and jumps from second differences along a line.

    S(h) = [φ(t) - 2φ(0) + φ(-t)] / t,   t proportional to h

As h is halved, S is halved where φ is smooth. S stays constant if φ has a kink at the point, and is then the jump of
the slope. S falls to 0 at steps that no longer reach a kink nearby. S grows as 1/h at a jump of φ.
"""

from typing import Any, NamedTuple

import numpy as np

SMOOTH, NEARBY, KINK, JUMP = "smooth", "kink nearby", "kink", "jump"


def classify(t: np.ndarray, second: np.ndarray, noise: float) -> str:
    """Classify a point by the second differences φ(t) - 2φ(0) + φ(-t) at decreasing steps t.

    Args:
      t: steps, largest first.
      second: the second difference at each step. Values that are not finite are ignored.
      noise: the error of φ from rounding. Second differences below 20 times this are not used.

    >>> t = 2.0 ** -np.array([10.0, 13, 16, 19, 22, 25])
    >>> classify(t, t**2, 1e-16), classify(t, 3 * t, 1e-16), classify(t, 0 * t + 1, 1e-16)
    ('smooth', 'kink', 'jump')
    >>> classify(t, 3 * np.maximum(t - 1e-4, 0), 1e-16)
    'kink nearby'
    """
    good = np.isfinite(second)
    t, second = t[good], second[good]
    resolved = np.flatnonzero(np.abs(second) > 20 * noise)
    if not len(resolved):
        return SMOOTH
    last = int(resolved[-1])
    if last + 1 < len(t) and abs(second[last]) * (t[last + 1] / t[last]) ** 2 > 40 * noise:
        return NEARBY  # it fell faster than t², as no smooth φ does
    if len(resolved) < 2:
        return SMOOTH
    seen = min(3, len(t))
    if last < seen - 1 or not np.array_equal(resolved[-seen:], np.arange(last - seen + 1, last + 1)):
        return SMOOTH
    s, slopes = second[last - seen + 1 : last + 1], (second / t)[last - seen + 1 : last + 1]
    ended = last + 1 == len(t)
    if ended and np.ptp(s) < 0.1 * np.abs(s).max():
        return JUMP
    hidden = ended or abs(slopes[-1]) * t[last + 1] < 40 * noise
    if np.ptp(slopes) < 0.1 * np.abs(slopes).max():
        return KINK if hidden else NEARBY
    return SMOOTH if hidden or np.ptp(slopes) > 0.8 * np.abs(slopes).max() else NEARBY


class Sides(NamedTuple):
    """The slopes on both sides of a kink or jump, and how exact they are."""

    left: float
    right: float
    margin: float


def one_sided(line: Any, kind: str, noise: float) -> Sides:
    """Return the slopes on the left and on the right of a point, from the steps with the least estimated error.

        kink: [4 φ(t) - φ(2t) - 3 φ(0)] / 2t,   jump: [φ(2t) - φ(t)] / t

    The estimate of the error is the difference to the slope of the lower order, or at steps eight times as large, and
    the noise of φ divided by t.
    """
    found = []
    before = None
    for k in range(1, len(line.powers)):
        if line.powers[k] != line.powers[k - 1] + 1:
            continue
        t, slopes, error = float(line.t[k]), [], 0.0
        for n, (sign, side) in enumerate(((-1.0, line.minus), (1.0, line.plus))):
            if kind == JUMP:
                value = float(sign * (side[k - 1] - side[k]) / t)
                other = before[n] if before else np.nan
            else:
                value = float(sign * (4 * side[k] - side[k - 1] - 3 * line.zero) / (2 * t))
                other = float(sign * (side[k] - line.zero) / t)
            slopes.append(value)
            error = max(error, abs(value - other))
        before = slopes
        margin = error + 8 * noise / t + 1e-6 * max(map(abs, slopes))
        if np.isfinite(margin):
            found.append(Sides(slopes[0], slopes[1], margin))
    return min(found, key=lambda sides: sides.margin, default=Sides(np.nan, np.nan, np.inf))

"""Whether two groups of measurements can be told apart: by ranks, and by what can be learned from them.

An AUC is the chance that a measurement of the second group ranks above one of the first; 0.5 is a coin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]
ROUNDS, RATE, CUTS = 40, 0.3, 15  # of the boosted stumps: how many, how fast, how many thresholds a feature has
FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class Area:
    """An area under the ROC curve and its standard error when there is nothing to tell."""

    value: float
    error: float
    weight: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 of 100 such intervals hold the true value."""
        return self.value - 1.96 * self.error, self.value + 1.96 * self.error

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4f} ({low:.4f} to {high:.4f})"


def area(scores: Floats, second: Truths) -> Area:
    """By Mann and Whitney's U; equal scores count half."""
    ones, others = int(second.sum()), int((~second).sum())
    if not ones or not others:
        return Area(value=0.5, error=1.0, weight=0)
    ranks = mid_ranks(scores)
    above = float(ranks[second].sum()) - ones * (ones + 1) / 2
    pairs = ones * others
    return Area(value=above / pairs, error=sqrt((ones + others + 1) / (12 * pairs)), weight=pairs)


def pooled(areas: Sequence[Area]) -> Area:
    """One area over several strata: a pair counts only inside its own."""
    total = sum(one.weight for one in areas)
    return Area(
        value=sum(one.weight * one.value for one in areas) / total,
        error=sqrt(sum((one.weight * one.error) ** 2 for one in areas)) / total,
        weight=total,
    )


def mid_ranks(scores: Floats) -> Floats:
    """Ranks from 1; equal scores share the middle of theirs."""
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[group]


def learned(features: Floats, second: Truths) -> Area:
    """What boosted stumps tell of measurements, each of which was made at another time than those they learned from.

    Scores of different models are not compared: that alone would look like a difference.
    """
    fold = np.arange(len(second)) * FOLDS // len(second)
    areas = []
    for number in range(FOLDS):
        tested = fold == number
        model = list(_boost(features[~tested], second[~tested]))
        areas.append(area(_apply(model, features[tested]), second[tested]))
    return pooled(areas)


Stump = tuple[int, float, float, float]  # feature, threshold, what is added below it and what from it on


def _boost(features: Floats, second: Truths) -> Iterator[Stump]:
    truth = second.astype(np.float64)
    margin = np.zeros(len(truth))
    cuts = [np.unique(np.quantile(column, np.linspace(0, 1, CUTS + 2)[1:-1])) for column in features.T]
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-margin))
        residual, curvature = truth - chance, chance * (1 - chance)
        stump = max(
            (_stump(features[:, n], cut, n, residual, curvature) for n, column in enumerate(cuts) for cut in column),
            key=lambda found: found[0],
        )[1]
        margin += _apply([stump], features)
        yield stump


def _stump(column: Floats, cut: float, number: int, residual: Floats, curvature: Floats) -> tuple[float, Stump]:
    below = column < cut
    gain, values = 0.0, []
    for side in (below, ~below):
        total, bend = float(residual[side].sum()), float(curvature[side].sum()) + 1.0
        gain += total**2 / bend
        values.append(RATE * total / bend)
    return gain, (number, float(cut), values[0], values[1])


def _apply(model: Sequence[Stump], features: Floats) -> Floats:
    scores = np.zeros(len(features))
    for number, cut, below, above in model:
        scores += np.where(features[:, number] < cut, below, above)
    return scores

"""Parameters drawn from one stream of random numbers: a seed or key that was used twice."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from fanin.diagnosis.measurements import PREFIX
from fanin.diagnosis.recording import SharedStream

# Two independent streams of 16 numbers correlate beyond 0.9 about once in a million pairs.
SHORTEST = 16
CORRELATED = 0.9


def shared_streams(prefixes: Mapping[str, Any]) -> tuple[SharedStream, ...]:
    """Pairs of parameters whose numbers, in order, are the same but for location and scale.

    `prefixes` has the first entries (up to `PREFIX`) of each parameter to compare; leave out what
    is tied or belongs to a normalisation. What repeats a few numbers, rises all along, or is a
    table of sines, was not drawn at random, and is left out. Generators fill arrays of different
    shapes from the same stream in the same order, so the common prefix gives a key used twice away,
    also where one array was scaled, or drawn uniformly and the other normally.
    """
    rows = {
        name: np.asarray(array, np.float64).ravel()[:PREFIX] for name, array in prefixes.items()
    }
    usable = {
        name: row
        for name, row in rows.items()
        if row.size >= SHORTEST and np.isfinite(row).all() and _drawn(row)
    }
    names = sorted(usable, key=lambda name: -usable[name].size)
    places = {name: place for place, name in enumerate(prefixes)}
    found: list[SharedStream] = []
    for index, name in enumerate(names[1:], 1):
        length = usable[name].size
        longer = _standardised(np.stack([usable[other][:length] for other in names[:index]]))
        correlations = longer @ _standardised(usable[name][None])[0]
        for other, correlation in zip(names, correlations.tolist(), strict=False):
            if abs(correlation) >= CORRELATED and not _is_table(usable[name]):
                first, second = sorted((other, name), key=places.__getitem__)
                found.append(SharedStream(first, second, correlation, length))
    return tuple(sorted(found, key=lambda pair: (places[pair.first], places[pair.second])))


def _drawn(row: Float64[np.ndarray, " nodes"]) -> bool:
    """Whether numbers look drawn: not a few values over and over, nor one at many places, nor a
    rise or a fall."""
    if abs(np.sign(np.diff(row)).sum()) == row.size - 1:
        return False
    _, counts = np.unique(row, return_counts=True)
    return bool(counts.size > row.size / 2 and counts.max() <= max(2, row.size / 10))


def _is_table(row: Float64[np.ndarray, " nodes"]) -> bool:
    """Whether numbers repeat themselves at some distance, as rows of sines do and no draws."""
    centred = row - row.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * row.size)) ** 2
    alike = np.fft.irfft(spectrum)[: row.size]
    return bool(alike[1:].max() > max(0.5, 6 / row.size**0.5) * alike[0])


def _standardised(rows: Float64[np.ndarray, "runs nodes"]) -> Float64[np.ndarray, "runs nodes"]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    return centred / np.where(length > 0, length, 1.0)

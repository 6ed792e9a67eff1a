"""Compiled loops over the active latents alone; numba keeps what it compiled between processes.

Pairs of a row and a latent are stored row by row: those of row t are `starts[t] : starts[t + 1]`,
their latents in `latents`. Four pairs are taken at a time, so that each pass over a row of the
result serves four.
"""

import math

import numba
import numpy as np

# Sums may be reordered, to use the processor's vectors; NaN and infinity keep their meaning.
_compiled = numba.njit(fastmath={"reassoc", "contract", "nsz"}, cache=True, error_model="numpy")


@_compiled
def select(pre, latent_floor, row_floor, starts, latents, values):
    """List the pairs above their floors; returns how many there are."""
    end = 0
    for t in range(pre.shape[0]):
        starts[t] = end
        for j in range(pre.shape[1]):
            latents[end] = j
            values[end] = pre[t, j]
            end += (pre[t, j] > latent_floor[j]) & (pre[t, j] > row_floor[t])
    starts[pre.shape[0]] = end
    return end


@_compiled
def decode(starts, latents, codes, W_dec, centred, error):
    """`error = codes @ W_dec - centred`."""
    for t in range(centred.shape[0]):
        row = error[t]
        for i in range(len(row)):
            row[i] = -centred[t, i]
        _add(row, codes, W_dec, latents, starts[t], starts[t + 1])


@_compiled
def back(starts, latents, W_dec, error, out):
    """`out = error @ W_dec.T` at the pairs."""
    zero = error.dtype.type(0)
    for t in range(error.shape[0]):
        row, at, end = error[t], starts[t], starts[t + 1]
        while at + 4 <= end:
            a, b = W_dec[latents[at]], W_dec[latents[at + 1]]
            c, d = W_dec[latents[at + 2]], W_dec[latents[at + 3]]
            w = x = y = z = zero
            for i in range(len(row)):
                w += row[i] * a[i]
                x += row[i] * b[i]
                y += row[i] * c[i]
                z += row[i] * d[i]
            out[at], out[at + 1], out[at + 2], out[at + 3] = w, x, y, z
            at += 4
        while at < end:
            a, w = W_dec[latents[at]], zero
            for i in range(len(row)):
                w += row[i] * a[i]
            out[at] = w
            at += 1


@_compiled
def by_latent(starts, latents, latent_starts, rows, order):
    """The pairs latent by latent: their rows, and their places in the list by row."""
    latent_starts[:] = 0
    for at in range(starts[-1]):
        latent_starts[latents[at] + 1] += 1
    for j in range(1, len(latent_starts)):
        latent_starts[j] += latent_starts[j - 1]
    for t in range(len(starts) - 1):
        for at in range(starts[t], starts[t + 1]):
            place = latent_starts[latents[at]]
            rows[place], order[place] = t, at
            latent_starts[latents[at]] = place + 1
    for j in range(len(latent_starts) - 1, 0, -1):
        latent_starts[j] = latent_starts[j - 1]
    latent_starts[0] = 0


@_compiled
def sum_by_latent(latents, codes, out):
    """Codes summed over rows."""
    out[:] = 0
    for at in range(len(codes)):
        out[latents[at]] += codes[at]


@_compiled
def mark(latents, codes, fired):
    """Mark the latents that are active in some row; returns the number of active pairs."""
    count = 0
    for at in range(len(codes)):
        if codes[at] > 0:
            fired[latents[at]] = True
            count += 1
    return count


@_compiled
def update_from_pairs(
    latent_starts, rows, codes, table, matrix, moments, first, rates, shrink, unit
):
    """Each latent's gradient, `codes.T @ table`, and the optimiser's step with it at once."""
    gradient = np.empty_like(matrix[0])
    for j in range(len(matrix)):
        gradient[:] = 0
        _add(gradient, codes, table, rows, latent_starts[j], latent_starts[j + 1])
        place = first + j * len(gradient)
        _update_row(matrix[j], gradient, moments, place, rates, shrink[j], unit)


@_compiled
def update_from(gradients, matrix, moments, first, rates, shrink, unit):
    """The optimiser's step on a matrix whose gradient is at hand."""
    for j in range(len(matrix)):
        place = first + j * matrix.shape[1]
        _update_row(matrix[j], gradients[j], moments, place, rates, shrink[j], unit)


@_compiled
def _update_row(row, gradient, moments, first, rates, shrink, unit):
    """A step along `gradient + shrink * row`; the row is kept at norm one if `unit`."""
    multiple = shrink
    if unit:
        along = row.dtype.type(0)
        for i in range(len(row)):
            along += gradient[i] * row[i]
        multiple -= along
    if multiple != 0:
        for i in range(len(row)):
            gradient[i] += multiple * row[i]
    _descend(row, gradient, moments, first, rates)
    if unit:
        square = row.dtype.type(0)
        for i in range(len(row)):
            square += row[i] * row[i]
        norm = math.sqrt(square)
        for i in range(len(row)):
            row[i] /= norm


@_compiled
def _add(out, codes, table, places, at, end):
    """Add `codes[p] * table[places[p]]` to `out` for p from `at` to `end`."""
    while at + 4 <= end:
        w, x, y, z = codes[at], codes[at + 1], codes[at + 2], codes[at + 3]
        a, b = table[places[at]], table[places[at + 1]]
        c, d = table[places[at + 2]], table[places[at + 3]]
        for i in range(len(out)):
            out[i] += w * a[i] + x * b[i] + y * c[i] + z * d[i]
        at += 4
    while at < end:
        w, a = codes[at], table[places[at]]
        for i in range(len(out)):
            out[i] += w * a[i]
        at += 1


@_compiled
def _descend(parameters, gradient, moments, first, rates):
    """`optimiser.descend` on the parameters from `first`; `moments` is `[levels, 2, size]`."""
    rate, keep_mean, keep_square, for_mean, for_square, epsilon = rates
    one, last = parameters.dtype.type(1), first + len(parameters)
    for level in range(len(moments)):
        mean, square = moments[level, 0, first:last], moments[level, 1, first:last]
        for i in range(len(parameters)):
            g = gradient[i]
            mean[i] = keep_mean * mean[i] + (one - keep_mean) * g
            square[i] = keep_square * square[i] + (one - keep_square) * g * g
            gradient[i] = mean[i] * for_mean / (math.sqrt(square[i] * for_square) + epsilon)
    for i in range(len(parameters)):
        parameters[i] -= rate * gradient[i]

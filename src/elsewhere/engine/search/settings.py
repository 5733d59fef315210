"""All numbers that steer the index and the search: what each is for, its unit, and the benchmark that chose it.

`benchmarks/ablation.py` shows what the ideas behind them bring. "Chosen with fast_engine" means: by the time and error
that `benchmarks/fast_engine.py` measures on Fashion-MNIST at 6,000 and 60,000 images.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IndexSettings:
    """How keys are cut into groups, blocks and cells. An index that is kept on disk depends on all of them.

    Attributes:
        keys_a_cell: keys of a cell, in the mean. Smaller cells have better Gaussians, of which there are more to
            evaluate (chosen with fast_engine).
        cells_a_block: cells of a block, which is the unit of reading (chosen with fast_engine).
        blocks_a_group: blocks of a group, in the mean (chosen with fast_engine).
        power_steps: steps of the power method towards a principal axis: an inexact axis cuts a set nearly as well.
        keys_sampled: keys from which the main directions and the first k-means centres are found.
        kmeans_rounds: rounds of Lloyd's algorithm: later rounds hardly change the error of a search.
        variance_kept: share of the variance that the main directions hold; the rest is treated as equal in all other
            directions (chosen with fast_engine).
        most_directions: main directions, at most: the tables of Gaussians grow with them.
        high_multiplicity: keys that stand for so many equal windows or more stay outside the cells, where they would
            hide what else is in the cell.
        most_high_multiplicity: number of such keys, at most: every query is weighed against all of them.
        prior_keys: the variances of a group count as much as those of so many keys of a cell.
        outlier: nats by which a cell's Gaussian predicts less of a key than of one at its mean distance, from which on
            the key is an outlier (chosen with fast_engine).
        outlier_noise: noise level at which this is judged, in widths of cells.
        numbers_at_once: numbers of keys held as floats at once while an index is built.
    """

    keys_a_cell: int = 128
    cells_a_block: int = 4
    blocks_a_group: int = 12
    power_steps: int = 3
    keys_sampled: int = 100_000
    kmeans_rounds: int = 5
    variance_kept: float = 0.97
    most_directions: int = 40
    high_multiplicity: float = 64.0
    most_high_multiplicity: int = 4096
    prior_keys: float = 10.0
    outlier: float = 3.0
    outlier_noise: float = 2.0
    numbers_at_once: int = 2**22

    @property
    def keys_a_group(self) -> int:
        """Keys of a group, in the mean."""
        return self.keys_a_cell * self.cells_a_block * self.blocks_a_group


@dataclass(frozen=True)
class SearchSettings:
    """How an index is searched. Machines have no argument for it: tests and experiments pass it to `SearchJob`.

    Attributes:
        rounds: reading goes on in rounds, each where the estimated error is above so many tolerances.
        numbers_first: numbers in the windows of a cell's key, times the cells of the first round where Gaussians are
            of no use: small windows are cheap to read.
        least_first, most_first: limits of that number of cells (chosen with fast_engine).
        fewest: cells of the first round where Gaussians are good.
        cells_first: number of cells of an index up to which these numbers hold; with more, they grow with its square
            root (chosen with ablation: at 60,000 images and 205,000 cells three times as many lower the rms error
            from .00027 to .00018 at 1.02 times the time, because fewer queries need a second round).
        error_power: the error falls with the number of cells read to this power, or faster: measured between two
            rounds. The second round reads as many cells as that asks for.
        least_growth, most_growth: limits of the growth from one round to the next.
        most_cells: cells read for a query, at most.
        groups_opened: groups whose cells are weighed for a query (chosen with fast_engine).
        closed_mass: share of the predicted mass that the other groups may hold; beyond, more are opened (chosen with
            ablation: through tapered windows of 7 at sigma .61 and 60,000 images, .003 in place of .03 lowers the rms
            error from .0007 to .0004 at 1.1 times the time).
        depth: nats below the whole mass down to which cells are read in the first round.
        nearest: so many cells are read in any case: far from all keys, predicted masses fall by `depth` nats within a
            few cells.
        outlier_margin: nats by which cells of outliers are read further down: Gaussians predict too little of them.
        groups_sampled, cells_sampled, sparsest_sample: thresholds are found on a sample of so many groups, and of so
            many cells, though of one in `sparsest_sample` cells or more.
        nearest_regime: when one nat of a Gaussian at the width of cells is this many nats at the noise level, or more,
            only the nearest keys contribute, and Gaussians add nothing to the average.
        safety: an average is off by at most so many standard deviations of the sum of independent errors of blocks.
        weighted_safety: factor of the error estimate for metrics that are not square, whose Gaussians err more: through
            tapered windows of 7 at sigma .61 and 60,000 images the estimate then holds at 98.6 % of the pixels (77 %
            without it).
        model_uncertainty: error of the mass of a Gaussian that is counted in any case, as a share of the mass, where
            Gaussians are of no use; in units of the values.
        level_step: ratio of the noise levels at which Gaussians are evaluated beside the query's own.
        widest_level: the largest of these, in widths of cells.
        most_levels: number of these, at most.
        float64_below: below this noise level, in widths of cells, float32 does not distinguish Gaussians.
        blurred: queries at which rounding changes predicted log masses by more nats than this are not searched.
        queries_planned: queries planned together: their tables stay in a core's own cache.
        pieces: parts into which the groups are divided among the cores.
        query_bytes: bytes that a query needs in a search, beside one for each group.
        kept: the heaviest key is kept of each of the heaviest so many blocks of a query (chosen with fast_engine).
        band: nats above the lower bound of a round of the blocks from which the error is estimated.
        propagated_share: a propagated key is read only if it has this share of a query's mass; at 1 or more nothing is
            propagated.
        propagated_margin: and if its log-weight is above the least one kept by so many nats, more than rounding.
        propagated_at_once: pairs of query and block read at once: they stay in a core's own cache.
        largest, most: logs of the largest numbers in float32 and float64 that sums are made of.
    """

    rounds: tuple[float, ...] = (0.0, 1.0)
    numbers_first: int = 150_000
    least_first: int = 1600
    most_first: int = 3500
    fewest: int = 1600
    cells_first: int = 20_000
    error_power: float = 1.3
    least_growth: float = 2.0
    most_growth: float = 8.0
    most_cells: int = 24_000
    groups_opened: int = 400
    closed_mass: float = 0.003
    depth: float = 30.0
    nearest: int = 400
    outlier_margin: float = 4.5
    groups_sampled: int = 512
    cells_sampled: int = 1024
    sparsest_sample: int = 80
    nearest_regime: float = 6.0
    safety: float = 5.0
    weighted_safety: float = 5.0
    model_uncertainty: float = 0.1
    level_step: float = 1.5
    widest_level: float = 3.0
    most_levels: int = 24
    float64_below: float = 0.05
    blurred: float = 1.0
    queries_planned: int = 64
    pieces: int = 16
    query_bytes: int = 2**16
    kept: int = 64
    band: float = 3.4
    propagated_share: float = 1e-3
    propagated_margin: float = 0.1
    propagated_at_once: int = 32
    largest: float = 80.0
    most: float = 300.0


INDEX, SEARCH = IndexSettings(), SearchSettings()
"""The settings that are used unless others are given."""

"""The search as a job of the engine: see `engine.jobs`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from elsewhere.engine.dense import DenseJob
from elsewhere.engine.runner import run
from elsewhere.engine.search.attribution import SearchAttribution
from elsewhere.engine.search.gaussians import SmoothedIndex
from elsewhere.engine.search.index import Index
from elsewhere.engine.search.neighbours import adjacent_queries
from elsewhere.engine.search.rounds import Search
from elsewhere.engine.search.settings import SEARCH, SearchSettings
from elsewhere.engine.state import SoftmaxState, stack


class SearchJob:
    """Every query against the keys of an index, those that matter one by one: see `DenseJob` for the formula.

    Args:
        queries: (Q, D), centred as the keys are and multiplied by their `roots`, float32 or float64.
        sigma: noise level.
        index: where keys and values come from.
        tolerance: error of the average aimed for, in units of the values.
        memory: bytes that the search may use, roughly.
        grid: rows and columns of the images, or parts of them, whose windows the queries are, one after another.
        traced: whether an attribution follows, for which the search must keep what it found.
        settings: numbers that steer the search.
    """

    # The search divides its work among the cores itself.
    pairs = 0

    def __init__(
        self,
        queries: Tensor,
        sigma: float,
        index: Index,
        tolerance: float,
        memory: int,
        grid: tuple[int, int] = (1, 1),
        *,
        traced: bool = False,
        settings: SearchSettings = SEARCH,
    ) -> None:
        self.queries = queries
        self.count = len(queries)
        self.sigma = sigma
        self.index = index
        self.tolerance = tolerance
        self.traced = traced
        self.settings = settings
        self.at_once = max(64, memory // (settings.query_bytes + len(index.groups)))
        self.adjacent = adjacent_queries(len(queries), grid)
        self.searches: list[tuple[Tensor, Search]] = []
        self.blurred = torch.empty(0, dtype=torch.int64, device="cpu")

    def __len__(self) -> int:
        return 1

    @property
    def keys_met(self) -> int:
        return len(self.index.keys)

    def run(self, start: int = 0, stop: int = 1) -> SoftmaxState:
        """The state of every query, with its `error`."""
        states, order, self.searches = [], [], []
        smoothed = SmoothedIndex(self.index, self.sigma, self.settings)
        blurred = smoothed.blurred(self.queries)
        self.blurred = blurred.nonzero().flatten()
        if len(self.blurred):
            order.append(self.blurred)
            states.append(self._weighed(self.blurred))
        searched = (~blurred).nonzero().flatten()
        for some in torch.split(searched, self.at_once) if len(searched) else ():
            # Queries of another search propagate nothing to this one.
            number = torch.full((len(self.queries) + 1,), -1, dtype=torch.int64, device="cpu")
            number[some] = torch.arange(len(some), device="cpu")
            search = Search(self.queries[some], smoothed, self.tolerance, number[self.adjacent[some]])
            states.append(search.run())
            order.append(some)
            if self.traced:
                self.searches.append((some, search))
        return stack(states).take(torch.cat(order).argsort())

    def _weighed(self, some: Tensor) -> SoftmaxState:
        """The state of some queries against every key."""
        (state,) = run([DenseJob(self.queries[some], self.sigma, self.index.keys)])
        return replace(state, error=torch.zeros_like(state.peak))

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> SearchAttribution:
        """See `Average.attribution`. The job must have been made with `traced`, and run.

        Raises:
            ValueError: the search did not keep what it found.
        """
        if not self.searches and not len(self.blurred):
            raise ValueError("the search kept nothing to attribute: make the job with traced=True and run it first")
        return SearchAttribution(self, state, batch, top)

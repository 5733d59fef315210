"""Values are shown in messages, shortened."""

import torch

from elsewhere.checks import seen


def test_values_are_shown_in_short():
    class Faulty:
        def __repr__(self):
            raise RuntimeError

    assert seen(None) == "None"
    assert seen(torch.zeros(2, 3)) == "Tensor torch.float32 of shape (2, 3)"
    assert len(seen(list(range(10_000)))) < 100
    assert seen(10**5000) == "int (too long to show)"
    assert "Faulty" in seen(Faulty())

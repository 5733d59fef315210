"""The dense kernel, as Python and as TorchScript, against the definition in float64."""

from __future__ import annotations

import pytest
import torch

from elsewhere.engine.kernels import dense
from elsewhere.engine.kernels.dense import Blocks, quantised_planes, scripted, weigh_keys
from elsewhere.engine.keys import StoredKeys
from elsewhere.engine.processor import multiplies_bytes

GENERATOR = torch.Generator().manual_seed(0)


def keyed(count: int, width: int, centres: list[int], counted: bool) -> StoredKeys:
    raw = torch.randint(0, 256, (count, width), generator=GENERATOR).byte()
    counts = torch.randint(1, 9, (count,), generator=GENERATOR).double().log() if counted else torch.empty(0)
    return StoredKeys(raw, counts, torch.empty(0), torch.tensor(centres, dtype=torch.int64), 100.0, torch.empty(0))


def definition(keys: StoredKeys, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    floats = keys.raw.double() - keys.centre
    counts = keys.log_counts if len(keys.log_counts) else torch.zeros(len(floats))
    asked = torch.cat([floats, floats.square().sum(1, keepdim=True), counts[:, None].double()], dim=1)
    logs = rows.double() @ asked.T
    values = floats[:, keys.values] if len(keys.values) else floats
    return logs.logsumexp(1), logs.softmax(1) @ values


@pytest.mark.parametrize("function", [weigh_keys, dense.weigh], ids=["python", "script"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centres", [[4], [1, 4, 7], []], ids=["gray", "colour", "whole"])
@pytest.mark.parametrize("counted", [False, True])
def test_tiles_give_what_the_definition_does(
    function: dense.Function, dtype: torch.dtype, centres: list[int], counted: bool
) -> None:
    keys = keyed(70, 9, centres, counted)
    blocks = []
    for size in (5, 1, 8):
        asked = 1e-3 * torch.randn((size, 9), generator=GENERATOR)
        ends = torch.tensor([-2e-5, 1.0]).expand(size, 2)
        blocks.append(torch.cat([asked, ends], dim=1).to(dtype))
    # The last tile is not full.
    sums = function(keys, Blocks(blocks, [[] for _ in blocks], blocks), 16, -700.0, True)
    for rows, peak, total, weighted in zip(blocks, *sums, strict=True):
        log_total, mean = definition(keys, rows)
        tolerance = 1e-9 if dtype == torch.float64 else 1e-4
        assert torch.allclose(peak + total.log(), log_total, rtol=0, atol=tolerance)
        assert torch.allclose(weighted / total[:, None], mean, rtol=0, atol=100 * tolerance)


@pytest.mark.skipif(not multiplies_bytes(1000), reason="this processor does not multiply whole numbers faster")
@pytest.mark.parametrize("function", [weigh_keys, dense.weigh], ids=["python", "script"])
@pytest.mark.parametrize("centres", [[4], [1, 4, 7], []], ids=["gray", "colour", "whole"])
@pytest.mark.parametrize("counted", [False, True])
def test_planes_give_what_the_definition_does(function: dense.Function, centres: list[int], counted: bool) -> None:
    keys = keyed(70, 9, centres, counted)
    # The largest and the smallest keys there are: sums of planes must not overflow.
    keys.raw[:2] = torch.tensor([[0], [255]], dtype=torch.uint8)
    asked = 1e-3 * torch.randn((5, 9), generator=GENERATOR).double()
    asked[4] = 0.0
    rows = torch.cat([asked, torch.tensor([-2e-5, 1.0]).expand(5, 2)], dim=1)
    planes, steps = quantised_planes(asked)
    peaks, totals, weighted = function(keys, Blocks([rows.float()], [planes], [steps]), 16, -80.0, False)
    log_total, mean = definition(keys, rows)
    assert torch.allclose(peaks[0] + totals[0].log(), log_total, rtol=0, atol=1e-5)
    assert torch.allclose(weighted[0] / totals[0][:, None], mean, rtol=0, atol=1e-4)


def test_there_is_a_script_and_it_is_used() -> None:
    assert isinstance(dense.weigh, torch.jit.ScriptFunction)


def test_without_torchscript_the_function_itself_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(function: object) -> None:
        raise RuntimeError("no longer there")

    monkeypatch.setattr(torch.jit, "script", refused)
    assert scripted(weigh_keys) is weigh_keys

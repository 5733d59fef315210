"""Settings of textures, and how much work they are."""

from __future__ import annotations

from typing import Any

import pytest

import elsewhere as els
from elsewhere.textures.plan import describe_scales, plan_texture
from tests.textures.texture_toys import toy


def test_published_settings() -> None:
    published = els.TextureSettings.published()
    assert (published.window, published.scales, published.steps) == (15, 4, 10)
    assert published.times == (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
    patches = published.patches()
    assert (patches.keys, patches.response, patches.fold) == ("inside", 15, 0.2)


def test_scales_leave_room_for_windows() -> None:
    settings = els.TextureSettings()
    assert settings.choose_scales((128, 200)) == 3
    assert settings.choose_scales((1024, 1024)) == 4
    assert settings.choose_scales((15, 1024)) == 1
    assert els.TextureSettings(scales=4).choose_scales((128, 128)) == 4


@pytest.mark.parametrize("tileable", [False, True])
def test_the_work_is_the_number_of_pairs_of_windows(tileable: bool) -> None:
    settings = els.TextureSettings(window=5, scales=2, steps=4, finish=1, tileable=tileable)
    plan = plan_texture(toy(1, 13, 14), (12, 16), settings, 2**26)
    queries = (12 * 16, 6 * 8) if tileable else (8 * 12, 2 * 4)
    pairs = queries[0] * 9 * 10, queries[1] * 2 * 3
    assert [scale.pairs for scale in reversed(plan.scales)] == list(pairs)
    # The answer at time 1 is known.
    assert plan.work == 4 * sum(pairs)
    assert describe_scales(plan) == [("6 x 8", "6 x 7", "6"), ("12 x 16", "13 x 14", "90")]


@pytest.mark.parametrize(
    "changes",
    [{"window": 4}, {"window": 1}, {"window": 65}, {"scales": 0}, {"steps": 1}, {"finish": -1}, {"fold": 0.0}],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    [name] = changes
    with pytest.raises(ValueError, match=name):
        els.TextureSettings(**changes)

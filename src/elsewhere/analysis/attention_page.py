"""The attention report as one self-contained HTML page: no scripts, no external files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from elsewhere import __version__
from elsewhere.analysis.attention_figures import attention_figure, gap_figure, where_figure
from elsewhere.analysis.attention_result import KINDS, TITLES, AttentionResult, NetworkAttention
from elsewhere.analysis.report import environment
from elsewhere.phrases import count
from elsewhere.pictures import data_uri, figure_png


def render_attention(result: AttentionResult) -> str:
    """The page as HTML text."""
    about = result.settings.get("about", {})
    settings = {name: value for name, value in result.settings.items() if name != "about"} | about
    with_attention = [network for network in result.networks if network.layers]
    return (
        environment()
        .get_template("attention.html.j2")
        .render(
            headlines=[headline(result, network) for network in result.networks],
            kinds=[(kind, TITLES[kind]) for kind in KINDS],
            windows=result.windows,
            sigmas=result.sigmas,
            networks=result.networks,
            summary=result.summary(),
            gaps=[(window, _png(gap_figure(result, window))) for window in result.windows],
            distances=_png(attention_figure(result)) if with_attention else None,
            maps=[(network.name, _png(where_figure(result, network.name))) for network in with_attention],
            images=count(int(result.settings.get("images", 0)), "image"),
            settings=[(name, str(value)) for name, value in settings.items()],
            version=__version__,
            date=datetime.now(UTC).date().isoformat(),
        )
    )


def headline(result: AttentionResult, network: NetworkAttention) -> str:
    """What was found on one denoiser, in one or two sentences."""
    w = result.middle
    gap = network.rms("image")[:, w]
    most = int(gap.argmax())
    side = result.windows[w]
    text = (
        f"{network.name}: another image outside {side} x {side} pixels changes x0hat at a pixel by {gap[most]:.3f} "
        f"(rms) at sigma {result.sigmas[most]:.2g}, where it changes most."
    )
    if network.layers:
        masked = network.rms("masked")[:, w]
        beyond = network.beyond[:, w]
        text += (
            f" Of its attention {beyond.min():.0%} to {beyond.max():.0%} lies outside; held to the window, it changes "
            f"x0hat by {masked.max():.3f} at most."
        )
    return text


def _png(figure: Any) -> str:
    return data_uri(figure_png(figure))

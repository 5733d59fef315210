"""A measurement as one self-contained HTML page: tables, figures, and the patches of images with extra limbs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from elsewhere import __version__
from elsewhere.analysis.explaining import explain
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.analysis.mosaic_view import LARGEST_IN_REPORT, MOST_IN_REPORT, TOP, entries_text, view_parts
from elsewhere.analysis.report import environment
from elsewhere.anomalies.points import Point
from elsewhere.anomalies.result import Anomalies
from elsewhere.machines import EquivariantLocalScore
from elsewhere.pictures import data_uri
from elsewhere.sampling import make_noise, sample
from elsewhere.schedules import Schedule

CAPTIONS = {
    "rates.png": "How often the number is wrong, against the noise level at which windows shrink.",
    "grid.png": "The first seeds: one row is one noise. Wrong numbers are marked.",
    "origins.png": "The training images of each finger of one image.",
}
"""What each figure shows."""


def render_anomalies(result: Anomalies, figures: Mapping[str, bytes]) -> str:
    """The report as HTML text.

    Args:
        result: the measurement.
        figures: names of CAPTIONS -> PNG.
    """
    explained = _explained(result)
    return (
        environment()
        .get_template("anomalies.html.j2")
        .render(
            result=result,
            tables=result.tables(),
            figures=[(data_uri(picture), CAPTIONS[name]) for name, picture in figures.items()],
            mosaics=entries_text(explained) if explained else None,
            **view_parts(bool(explained)),
            version=__version__,
            date=datetime.now(UTC).date().isoformat(),
        )
    )


def extras(result: Anomalies) -> list[tuple[Point, int]]:
    """Points and seeds of the first images with too many limbs that the equivariant local machine drew."""
    found: list[tuple[Point, int]] = []
    for point in result.points:
        if isinstance(point.denoiser, EquivariantLocalScore) and point.denoiser.data is not None:
            wrong = (result.counts[point.name] > result.subject.normal).nonzero()[0].tolist()
            found += [(point, seed) for seed in wrong[: MOST_IN_REPORT - len(found)]]
    return found


def _explained(result: Anomalies) -> list[tuple[str, dict[str, object]]]:
    """Titles and messages for the explanation view: the images are drawn again, to the state before the last step."""
    entries = []
    schedule = Schedule(tuple(result.settings["sigmas"]))
    for point, seed in extras(result):
        machine = point.denoiser
        assert isinstance(machine, EquivariantLocalScore)
        _, channels, height, width = machine.store.pixels.shape
        if height * width > LARGEST_IN_REPORT:
            continue
        noise = make_noise(seed + 1, (channels, height, width), result.settings["seed"])[seed:]
        run = sample(machine, noise, schedule, keep=True)
        mosaic = explain(machine, run.states[-2], run.sigmas[-2], TOP)
        title = f"{point.name}, seed {seed}: {result.counts[point.name][seed]} {result.subject.limb}"
        entries.append((title, mosaic_message(mosaic, 0, TOP)))
    return entries

"""A measurement as one self-contained HTML page: tables, figures, and the patches of images with extra limbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from elsewhere import __version__
from elsewhere.analysis.explaining import Mosaic, explain
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.analysis.mosaic_view import LARGEST_IN_REPORT, MOST_IN_REPORT, TOP, entries_text, view_parts
from elsewhere.analysis.report import environment
from elsewhere.anomalies.result import Anomalies
from elsewhere.machines import EquivariantLocalScore
from elsewhere.pictures import data_uri
from elsewhere.sampling import Run, draw, make_noise
from elsewhere.schedules import Schedule

CAPTIONS = {
    "rates.png": "How often the number is wrong, against the noise level at which windows shrink.",
    "grid.png": "The first seeds: one row is one noise. Wrong numbers are marked.",
    "origins.png": "The training images of each finger of one image.",
}
"""What each figure shows."""


@dataclass(frozen=True)
class Extra:
    """An image with too many limbs that the equivariant local machine drew.

    Attributes:
        machine: what drew it.
        title: name of the point, seed and number of limbs.
        run: the same image drawn again, with its states.
        label: class that it was drawn with.
    """

    machine: EquivariantLocalScore
    title: str
    run: Run
    label: int | None = None

    def mosaic(self) -> Mosaic:
        """The sources of its last step."""
        return explain(self.machine, self.run.states[-2], self.run.sigmas[-2], TOP, self.label)


def render_anomalies(result: Anomalies, figures: Mapping[str, bytes], extras: Sequence[Extra]) -> str:
    """The report as HTML text.

    Args:
        result: the measurement.
        figures: names of CAPTIONS -> PNG.
        extras: images that are explained.
    """
    explained = [
        (extra.title, mosaic_message(extra.mosaic(), 0, TOP))
        for extra in extras
        if extra.run.images[0, 0].numel() <= LARGEST_IN_REPORT
    ]
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


def draw_extras(result: Anomalies) -> list[Extra]:
    """The first images with too many limbs that the equivariant local machine drew, drawn again."""
    found: list[Extra] = []
    sampler = result.settings.get("sampler", "euler")
    schedule, normal = Schedule(tuple(result.settings["sigmas"])), result.subject.normal
    for point in result.points:
        machine, counts = point.denoiser, result.counts[point.name]
        if not isinstance(machine, EquivariantLocalScore) or machine.data is None:
            continue
        for seed in (counts > normal).nonzero()[0].tolist()[: MOST_IN_REPORT - len(found)]:
            noise = make_noise(seed + 1, machine.data.shape, result.settings["seed"])[seed:]
            title = f"{point.name}, seed {seed}: {counts[seed]} {result.subject.limb}"
            # As `measure` does: a machine without classes takes no label.
            label = result.subject.label if machine.num_classes else None
            run = draw(
                machine, noise, schedule, label, keep=True, progress=False, sampler=sampler,
                seed=result.settings["seed"], first=seed,
            )  # fmt: skip
            found.append(Extra(machine, title, run, label))
    return found

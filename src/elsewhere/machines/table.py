"""The table of machines: what the command line, reports, the documentation and the conformance tests know of each.

Adding a machine takes one file with its class and one entry here. The table imports no class before it is needed:
`elsewhere --help` reads the names, and torch takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from elsewhere.machines.machine import Machine


ENGINE_SETTINGS = ("engine", "tolerance", "cache")
"""Arguments that only softmax averages take."""


class Formula(NamedTuple):
    """A row of the documentation's table: the terms of the softmax average.

    Attributes:
        query, keys, value: in words. Keys of a machine whose pixels know where they are contain "same place", which
            the conformance tests read.
        setting: the argument that selects this row, as it is typed; empty for a machine with one row.
    """

    query: str
    keys: str
    value: str
    setting: str = ""


class Entry(NamedTuple):
    """One machine.

    Attributes:
        name: what users type, in lower case, as in "ls". Calibrated windows of a shipped network are looked for under
            it, as NETWORK.NAME.locality.json; without such a file the windows of the default machine are used.
        home: module and class, below `elsewhere.machines`: "local.LocalScore".
        title: in words, for reports: "local".
        formulas: rows of the table in docs/machines-and-formulas.md.
        windows: whether it has windows: it is a `WindowedMachine`.
        borders: whether it takes `borders`.
        searchable: whether the fast engine can search its windows; the others weigh every key.
        averages: whether it is a softmax average, a `SoftmaxMachine`: then it takes the settings of the engine, and
            `els.explain` names the training images behind an answer.
        report: its name in reports; empty for `name` in capitals.
    """

    name: str
    home: str
    title: str
    formulas: tuple[Formula, ...]
    windows: bool = False
    borders: bool = False
    searchable: bool = False
    averages: bool = True
    report: str = ""

    @property
    def report_name(self) -> str:
        """The name in reports: "ELS"."""
        return self.report or self.name.upper()

    @property
    def class_name(self) -> str:
        """The name of the class, without its module."""
        return self.home.rpartition(".")[2]

    def load(self) -> type[Machine]:
        """The class."""
        module, _, name = self.home.rpartition(".")
        machine: type[Machine] = getattr(import_module(f"elsewhere.machines.{module}"), name)
        return machine

    def make(self, data: Any, window: Any = None, borders: Any = None, **settings: Any) -> Machine:
        """An instance; `window`, `borders` and settings of the engine are used only by machines that take them.

        Args:
            data, window, borders, settings: as for the class; None for its default.

        Raises:
            TypeError, ValueError: as the class.
        """
        optional = {"window": window if self.windows else None, "borders": borders if self.borders else None}
        taken = {name: value for name, value in optional.items() if value is not None}
        if not self.averages:
            settings = {name: value for name, value in settings.items() if name not in ENGINE_SETTINGS}
        return self.load()(data, **taken, **settings)


_WINDOW = "the window around pixel i"
_CENTRE = "its centre pixel"

MACHINES = (
    Entry(
        "is", "ideal.IdealScore", "ideal",
        (Formula("the whole image", "every training image", "that image"),),
    ),
    Entry(
        "ls", "local.LocalScore", "local",
        (Formula(_WINDOW, "the window at the same place in every training image", _CENTRE),),
        windows=True,
    ),
    Entry(
        "els", "equivariant_local.EquivariantLocalScore", "equivariant local",
        (
            Formula("the window, wrapping round the edges", "every window lying wholly inside a training image",
                    _CENTRE, 'borders="wrap"'),
            Formula("the window, zero outside the image", "every window at the same distance from the same borders",
                    _CENTRE, 'borders="aware"'),
        ),
        windows=True, borders=True, searchable=True,
    ),
    Entry(
        "wiener", "wiener.Wiener", "linear",
        (Formula("the whole image", "none: mean and covariance of the training images", "linear in x"),),
        averages=False, report="Wiener",
    ),
    Entry(
        "pca", "pca_locality.PCALocality", "PCA-local",
        (Formula("for each number, those that a Wiener filter uses for it", "the same numbers of every training image",
                 "that number, at the same place"),),
        report="PCA",
    ),
    Entry(
        "composite", "composite.PatchComposite", "patch composite",
        (Formula("the patch at every place where it lies wholly inside",
                 "the patch at the same place in every training image", "the whole patch; overlaps are averaged"),),
        windows=True, report="PSPC",
    ),
    Entry(
        "smoothed", "smoothed.SmoothedIdeal", "smoothed ideal",
        (Formula("the whole image, perturbed", "every training image", "that image; mean over the perturbations"),),
        report="Smoothed",
    ),
    Entry(
        "nearest", "nearest.Nearest", "nearest image",
        (Formula("the whole image", "the nearest training image alone", "that image"),
         Formula("the whole variance-preserving state", "the training image nearest to it alone", "that image",
                 "scaled=True")),
        report="Nearest",
    ),
    Entry(
        "esm", "equivariant.EquivariantScore", "equivariant",
        (Formula("the whole image", "every training image under every circular shift", "that image, shifted"),),
    ),
    Entry(
        "golden", "golden.GoldenSubset", "golden subset",
        (Formula("as PCA, or the whole image", "as PCA or IS, of a choice of training images only", "as PCA or IS"),),
        report="Golden",
    ),
)  # fmt: skip
"""Every machine, in the order in which commands and reports list them."""

TABLE = {entry.name: entry for entry in MACHINES}
NAMES = tuple(TABLE)
TITLES = tuple(entry.title for entry in MACHINES)
DEFAULTS = ("is", "ls", "els")
"""The machines that commands draw with where several draw and none is named."""
ALL = "all"
"""Stands for all machines where commands take several names."""
AVERAGES = tuple(entry.name for entry in MACHINES if entry.averages)
WINDOWED = tuple(entry.name for entry in MACHINES if entry.windows)
BORDERED = tuple(entry.name for entry in MACHINES if entry.borders)
SEARCHABLE = tuple(entry.name for entry in MACHINES if entry.searchable)
WINDOWED_REPORTS = tuple(TABLE[name].report_name for name in WINDOWED)
DEFAULT = "els"
"""The machine that commands use by default."""
PROMPTED = "ls"
"""The one with a prompt: parts of pictures stay where they belong (docs/prompts.md)."""
BEST, BEST_REPORT, BEST_TITLE = "best", "Best", "calibrated"
"""Stands for the machine that `calibrate_family` found for a network, which is no machine of the table: its name in
commands and in reports, and in words."""

NETWORK = "network"
"""Stands for a trained network where commands take names of machines."""
NETWORK_PREFIX = f"{NETWORK}:"
"""Before the name of a network that stands in place of a machine, as a yardstick: "network:fashion-resnet"."""
CHOICES = (*NAMES, BEST, NETWORK)
"""What commands take as the name of what draws, beside "network:NAME"."""

if TYPE_CHECKING:
    MachineName = str
    WindowedName = str
    CalibratedName = str
else:
    # Literals of the table's names: `checked` and typer take what is allowed from them.
    MachineName = Literal[NAMES]
    WindowedName = Literal[WINDOWED]
    CalibratedName = Literal[(*WINDOWED, BEST)]

"""The table of machines: what the command line, reports, the documentation and the conformance tests know of each.

Adding a machine takes one file with its class and one entry here. The table imports no class before it is needed:
`elsewhere --help` reads the names, and torch takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from elsewhere.machines.base import SoftmaxMachine


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
        name: what users type, in lower case: the initials of the class, as in "ls". In capitals it is the name in
            reports. Calibrated windows of a shipped network are looked for under it, as NETWORK.NAME.locality.json;
            without such a file the windows of the default machine are used.
        home: module and class, below `elsewhere.machines`: "local.LocalScore".
        title: in words, for reports: "local".
        formulas: rows of the table in docs/machines-and-formulas.md.
        windows: whether it has windows: it is a `WindowedMachine`.
        borders: whether it takes `borders`.
        searchable: whether the fast engine can search its windows; the others are always exact.
    """

    name: str
    home: str
    title: str
    formulas: tuple[Formula, ...]
    windows: bool = False
    borders: bool = False
    searchable: bool = False

    @property
    def report_name(self) -> str:
        """The name in reports: "ELS"."""
        return self.name.upper()

    @property
    def class_name(self) -> str:
        """The name of the class, without its module."""
        return self.home.rpartition(".")[2]

    def load(self) -> type[SoftmaxMachine]:
        """The class."""
        module, _, name = self.home.rpartition(".")
        machine: type[SoftmaxMachine] = getattr(import_module(f"elsewhere.machines.{module}"), name)
        return machine

    def make(self, data: Any, window: Any = None, borders: Any = None, **settings: Any) -> SoftmaxMachine:
        """An instance; `window` and `borders` are used only by machines that take them.

        Args:
            data, window, borders, settings: as for the class; None for its default.

        Raises:
            TypeError, ValueError: as the class.
        """
        optional = {"window": window if self.windows else None, "borders": borders if self.borders else None}
        return self.load()(data, **{name: value for name, value in optional.items() if value is not None}, **settings)


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
)  # fmt: skip
"""Every machine, in the order in which commands and reports list them."""

TABLE = {entry.name: entry for entry in MACHINES}
NAMES = tuple(TABLE)
TITLES = tuple(entry.title for entry in MACHINES)
DEFAULTS = ("is", "ls", "els")
"""The machines that commands draw with where several draw and none is named."""
ALL = "all"
"""Stands for all machines where commands take several names."""
WINDOWED = tuple(entry.name for entry in MACHINES if entry.windows)
BORDERED = tuple(entry.name for entry in MACHINES if entry.borders)
SEARCHABLE = tuple(entry.name for entry in MACHINES if entry.searchable)
WINDOWED_REPORTS = tuple(TABLE[name].report_name for name in WINDOWED)
DEFAULT = "els"
"""The machine that commands use by default."""

NETWORK = "network"
"""Stands for a trained network where commands take names of machines."""
NETWORK_PREFIX = f"{NETWORK}:"
"""Before the name of a network that stands in place of a machine, as a yardstick: "network:fashion-resnet"."""

if TYPE_CHECKING:
    MachineName = str
    WindowedName = str
    DrawerName = str
else:
    # Literals of the table's names: `checked` and typer take what is allowed from them.
    MachineName = Literal[NAMES]
    WindowedName = Literal[WINDOWED]
    DrawerName = Literal[(*NAMES, NETWORK)]

"""Finished scores of a calibration in a file, with which an interrupted one continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from elsewhere.files import entry, json_object, json_text, write_text


class ScoreCache:
    """Finished scores, kept in a file if there is a path.

    Args:
        path: a JSON file, which may exist, or None.
        form: name and version of the format.
        settings: what scores depend on.
        sketch: numbers that represent the network's weights and unnamed data, on which scores depend too.

    Raises:
        ValueError: the file is no cache of this format, or has the scores of other settings.
    """

    def __init__(self, path: Path | None, form: str, settings: dict[str, Any], sketch: list[float]) -> None:
        self.path, self.form, self.settings, self.sketch = path, form, settings, sketch
        self.scores: dict[str, dict[str, list[float]]] = {}
        if path is not None and path.exists():
            self.scores = self._read(path)

    def add(self, key: str, scores: dict[str, list[float]]) -> None:
        """Keep the scores of one piece of work: name -> one value per seed."""
        self.scores[key] = scores
        if self.path is not None:
            content = {"format": self.form, "settings": self.settings, "sketch": self.sketch, "scores": self.scores}
            write_text(self.path, json_text(content, indent=None))

    def _read(self, path: Path) -> dict[str, dict[str, list[float]]]:
        try:
            content = json_object(path.read_bytes(), self.form)
            settings, sketch, scores = (entry(content, name) for name in ("settings", "sketch", "scores"))
            settings = dict(settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a calibration cache: {error}; delete it or give another path") from error
        different = [name for name, value in self.settings.items() if settings.get(name) != value]
        # The last digits of a prediction depend on the number of threads.
        if not different and not np.allclose(sketch, self.sketch, rtol=0, atol=1e-3):
            different = ["network weights or training images"]
        if different:
            raise ValueError(
                f"{path} has the scores of another calibration (different {', '.join(different)}): delete it or give "
                "another path"
            )
        return dict(scores)

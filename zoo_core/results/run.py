"""What `zoo_core.run()` returns: a finished run, with its result where it was scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core.results.attachments import sample_grid_file, small_png
from zoo_core.results.result import Cost, Provenance, Result, Value
from zoo_core.results.text import Shown


@dataclass(frozen=True, repr=False)
class RunResult:
    """A finished run.

    Attributes:
        run_dir: its folder.
        plugin, data, seed, config_hash: which run it is.
        result: as recorded in result.json; None with `eval.protocol=none`.
        cost: of training, and of sampling where it was scored.
        weights_sha256: of the last checkpoint's weights.
        provenance: code, machine, data, seeds.
        baselines: results of the dataset's baselines under the same protocol, to compare with.
        images: name of a series -> file in the run's folder.
    """

    run_dir: str
    plugin: str
    data: str
    seed: int
    config_hash: str
    result: Result | None = None
    cost: Cost = field(default_factory=Cost)
    weights_sha256: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    baselines: tuple[Result, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, Value]:
        """Values by column; {} for a run that was not scored."""
        return {} if self.result is None else self.result.metrics

    @property
    def scored(self) -> Result:
        """The result of a run that was scored.

        Raises:
            ValueError: where it was not.
        """
        if self.result is None:
            raise ValueError(f"{self.run_dir} was not scored: eval.protocol=none")
        return self.result

    def _shown(self) -> Shown:
        scored = self.result
        facts = {
            "folder": self.run_dir,
            "training": self.cost.line(),
            "note": self.provenance.notes.get("parts", ""),
            "scores": "none (eval.protocol=none)" if scored is None else "",
        }
        title = f"{self.plugin} on {self.data}, seed {self.seed}"
        return Shown(title, facts) if scored is None else Shown(title, facts, scored.rows(), scored.notes())

    def __repr__(self) -> str:
        return self._shown().text()

    def _repr_html_(self) -> str:
        grid = small_png(sample_grid_file(Path(self.run_dir)))
        return self._shown().html([] if grid is None else [grid])

    def as_json(self) -> dict[str, Any]:
        """Return plain data: the result's fields where there is one, with `run_dir` and `images`."""
        if self.result is not None:
            plain = self.result.model_dump(mode="json")
        else:
            names = ("plugin", "data", "seed", "config_hash", "weights_sha256")
            plain = {name: getattr(self, name) for name in names}
            plain["cost"] = self.cost.model_dump(mode="json")
            plain["provenance"] = self.provenance.model_dump(mode="json")
        return {**plain, "run_dir": self.run_dir, "images": dict(self.images)}

"""The model card of a bundle: README.md with the hub's `model-index`, every figure beside its protocol.

The metadata is that of huggingface.co/docs/hub/model-cards; what this zoo measures is written into it, and
nothing else is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo_core.config import strict_yaml
from zoo_core.registry.metrics import direction
from zoo_core.results import Result, Value

IMAGES = "unconditional-image-generation"
SIGNS = {"exact": "", "upper": "<= ", "lower": ">= "}
"""Before a value that bounds the metric."""


def metadata(
    config: Mapping[str, Any], result: Result | None, *, family: str, is_image: bool, license_: str
) -> dict[str, Any]:
    """Return the card's front matter as plain data.

    Args:
        config: the run's, plain.
        result: as in result.json; None for a run without scores.
        family: of the plugin.
        is_image: whether the data are images.
        license_: SPDX name, or "" where none is stated.
    """
    from huggingface_hub import EvalResult, ModelCardData

    plugin, data = config["plugin"], config["data"]["name"]
    task = IMAGES if is_image else "density-estimation"
    scores = [
        EvalResult(
            task_type=task,
            dataset_type=data,
            dataset_name=data,
            metric_type=slug(name),
            metric_name=f"{name}, {protocol}",
            metric_value=one.value,
        )
        for name, one, _, protocol in rows(result)
    ]
    found: dict[str, Any] = ModelCardData(
        library_name="genzoo",
        license=license_.lower() or None,
        pipeline_tag=IMAGES if is_image else None,
        tags=list(dict.fromkeys(("zoo", "generative-model", family, plugin, data))),
        model_name=f"{plugin}-{data}-s{config['seed']}",
        eval_results=scores or None,
    ).to_dict()
    return found


def slug(name: str) -> str:
    """Return a figure's name as the hub writes types: "FD[digits] to test" is "fd_digits_to_test"."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def rows(result: Result | None) -> list[tuple[str, Value, str, str]]:
    """Return (column, value, direction, protocol) of every metric of a result."""
    if result is None:
        return []
    protocol = f"protocol {result.protocol.name} ({result.protocol.hash})"
    return [(name, value, direction(name), protocol) for name, value in result.metrics.items()]


def card(
    config: Mapping[str, Any],
    result: Result | None,
    *,
    spec: Any,
    package: str,
    is_image: bool,
    license_: str = "",
    files: Sequence[str] = (),
) -> str:
    """Return the text of README.md.

    Args:
        config, result: of the run, plain and scrubbed.
        spec: of the plugin.
        package: distribution that the plugin came from.
        is_image: whether the data are images.
        license_: SPDX name, or "".
        files: names in the bundle.
    """
    front = strict_yaml.dump(
        metadata(config, result, family=spec.family, is_image=is_image, license_=license_)
    )
    plugin, data, seed = config["plugin"], config["data"]["name"], config["seed"]
    parts = [f"---\n{front}---\n", f"# {plugin} on {data}\n"]
    about = [spec.summary, f"Family {spec.family}", f"Paper {spec.paper}" if spec.paper else ""]
    parts.append(". ".join(filter(None, about)) + f". Trained with seed {seed}.\n")
    if "samples.png" in files:
        parts.append("![samples](samples.png)\n")
    parts.append(
        f"## Use\n\n    pip install {package}\n    zoo pull ADDRESS\n    zoo sample ADDRESS\n\n"
        "ADDRESS is this repository, `hf://user/name`, or the folder that this file lies in. Every file is "
        "checked\nagainst the sha256 in `manifest.json`; the weights are safetensors.\n"
    )
    parts.append("## Metrics\n\n" + _metrics(result))
    parts.append("## Made of\n\n" + _making(config, result, package, license_, files))
    return "\n".join(parts)


def _metrics(result: Result | None) -> str:
    found = rows(result)
    if result is None or not found:
        return "This run was not scored.\n"
    arrows = {"lower": "lower is better", "higher": "higher is better"}
    lines = ["| metric | value | |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {SIGNS[one.bound]}{one.value:.4g} | {arrows.get(better, '')} |"
        for name, one, better, _ in found
    ]
    fields = result.protocol.fields
    measured = (
        f"Measured by the author of this bundle: {found[0][3]}, {fields.get('n_generated')} samples, "
        f"reference {fields.get('reference')}, features {fields.get('extractor')}. Values of two protocols "
        "are not comparable.\n`zoo eval RUN` measures them again."
    )
    return "\n".join([*lines, "", measured, ""])


def _making(
    config: Mapping[str, Any],
    result: Result | None,
    package: str,
    license_: str,
    files: Sequence[str],
) -> str:
    lines = [f"- plugin `{config['plugin']}` of `{package}`; `config.yaml` repeats the run"]
    if result is not None:
        seen, parameters = result.cost.images_seen or 0, result.cost.parameters or 0
        lines.append(f"- {seen:,} training examples seen, {parameters:,} parameters")
    lines.append("- `weights.safetensors`: the weights that are sampled and scored")
    if "raw.safetensors" in files:
        lines.append("- `raw.safetensors`: the averaged networks as the last step left them")
    lines.append(f"- license: {license_ or 'none is stated'}")
    return "\n".join(lines) + "\n"

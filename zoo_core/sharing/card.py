"""The model card of a bundle: README.md with the hub's `model-index`, every figure beside its protocol.

The metadata is that of huggingface.co/docs/hub/model-cards; what this zoo measures is written into it, and
nothing else is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo_core import strict_yaml

PICTURES = "unconditional-image-generation"


def metadata(
    config: Mapping[str, Any], result: Mapping[str, Any], *, family: str, is_image: bool, license_: str
) -> dict[str, Any]:
    """Return the card's front matter as plain data.

    Args:
        config: the run's, plain.
        result: as in result.json; {} for a run without scores.
        family: of the plugin.
        is_image: whether the data are pictures.
        license_: SPDX name, or "" where none is stated.
    """
    plugin, data = config["plugin"], config["data"]["name"]
    made: dict[str, Any] = {"library_name": "genzoo"}
    if license_:
        made["license"] = license_.lower()
    if is_image:
        made["pipeline_tag"] = PICTURES
    made["tags"] = list(dict.fromkeys(("zoo", "generative-model", family, plugin, data)))
    figures = [
        {"type": slug(name), "name": f"{name}, {protocol}", "value": value}
        for name, value, _, protocol in rows(result)
    ]
    if figures:
        task = PICTURES if is_image else "density-estimation"
        entry = {"task": {"type": task}, "dataset": {"type": data, "name": data}, "metrics": figures}
        made["model-index"] = [{"name": f"{plugin}-{data}-s{config['seed']}", "results": [entry]}]
    return made


def slug(name: str) -> str:
    """Return a figure's name as the hub writes types: "FD[digits] to test" is "fd_digits_to_test"."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def rows(result: Mapping[str, Any]) -> list[tuple[str, float, str, str]]:
    """Return (name, value, which way is better, protocol) of every figure of a result."""
    if "protocol" not in result:
        return []
    protocol = f"protocol {result['protocol']['name']} ({result['protocol']['hash']})"
    found = [
        (name, cell["value"], cell.get("better", ""), protocol) for name, cell in result["metrics"].items()
    ]
    for record in result.get("likelihood", []):
        unit = "bits_per_dim" if "bits_per_dim" in record else "nats"
        label = f"{'bits/dim' if unit == 'bits_per_dim' else unit} ({record['name']})"
        found.append((label, record[unit], "lower" if unit == "bits_per_dim" else "higher", protocol))
    return found


def card(
    config: Mapping[str, Any],
    result: Mapping[str, Any],
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
        is_image: whether the data are pictures.
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
    parts.append("## Figures\n\n" + _figures(result))
    parts.append("## Made of\n\n" + _making(config, result, package, license_, files))
    return "\n".join(parts)


def _figures(result: Mapping[str, Any]) -> str:
    found = rows(result)
    if not found:
        return "This run was not scored.\n"
    arrows = {"lower": "lower is better", "higher": "higher is better"}
    lines = ["| figure | value | |", "| --- | --- | --- |"]
    lines += [f"| {name} | {value:.4g} | {arrows.get(better, '')} |" for name, value, better, _ in found]
    fields = result["protocol"]["fields"]
    measured = (
        f"Measured by whoever made this bundle: {found[0][3]}, {fields.get('n_generated')} samples, "
        f"reference {fields.get('reference')}, features {fields.get('extractor')}. Figures of two protocols "
        "do not compare.\n`zoo eval RUN` measures them again."
    )
    verdict = result.get("memorisation", {}).get("verdict", "")
    return "\n".join([*lines, "", measured, *([f"\nMemorisation check: {verdict}."] if verdict else []), ""])


def _making(
    config: Mapping[str, Any],
    result: Mapping[str, Any],
    package: str,
    license_: str,
    files: Sequence[str],
) -> str:
    cost = result.get("cost", {})
    lines = [f"- plugin `{config['plugin']}` of `{package}`; `config.yaml` repeats the run"]
    if cost:
        seen, parameters = cost.get("images_seen", 0), cost.get("parameters", 0)
        lines.append(f"- {seen:,} training examples seen, {parameters:,} parameters")
    lines.append("- `weights.safetensors`: the weights that are sampled and scored")
    if "raw.safetensors" in files:
        lines.append("- `raw.safetensors`: the averaged networks as the last step left them")
    lines.append(f"- licence: {license_ or 'none is stated'}")
    return "\n".join(lines) + "\n"

"""Oracle distributions: data whose law is known, as a frozen model with exact probabilities drew them."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import DatasetSpec

hookimpl = pluggy.HookimplMarker("zoo")


def _digits(name: str, law: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        target="zoo_oracle.dataset:load",
        config="zoo_oracle.dataset:OracleConfig",
        summary=f"draws of {law} fitted to digits: 8x8, exact probabilities",
        shape=(1, 8, 8),
        levels=17,
        classes=10,
        extractor="digits",
        source="the distribution genzoo-weights",
        tasks=("unconditional", "class", "paired", "unpaired", "views"),
    )


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return [
        _digits("oracle-digits", "a PixelCNN++"),
        _digits("oracle-digits-columns", "a PixelCNN++ that predicts column by column"),
        _digits("oracle-digits-mixture", "a mixture of 1,020 decoded points"),
    ]

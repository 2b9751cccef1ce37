"""Normalizing flows: invertible networks whose density is known by the change of variables."""

from __future__ import annotations

import pluggy

from zoo_core.registry.spec import PluginSpec

hookimpl = pluggy.HookimplMarker("zoo")


@hookimpl
def zoo_plugins() -> list[PluginSpec]:
    return [
        PluginSpec(
            name="realnvp",
            family="normalizing-flow",
            target="zoo_normalizing_flow.realnvp:RealNVP",
            config="zoo_normalizing_flow.realnvp:RealNVPConfig",
            summary="affine coupling layers at several scales",
            paper="arXiv:1605.08803",
        ),
        PluginSpec(
            name="nsf",
            family="normalizing-flow",
            target="zoo_normalizing_flow.nsf:NSF",
            config="zoo_normalizing_flow.nsf:NSFConfig",
            summary="coupling layers of monotonic rational-quadratic splines",
            paper="arXiv:1906.04032",
        ),
    ]

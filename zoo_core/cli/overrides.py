"""Suggests the override for options typed as --key value."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click


class Overrides(click.Command):
    """A command whose arguments are overrides; `--plugin wgan` is answered with `plugin=wgan`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from zoo_core.errors import UsageError

            fixed = as_overrides(given, {name for param in self.params for name in param.opts})
            raise UsageError(
                f"{ctx.command_path} has no option {error.option_name}",
                f"did you mean: {ctx.command_path} {shlex.join(fixed)}",
                f"see: {ctx.command_path} --help",
            ) from None


def as_overrides(args: Sequence[str], known: set[str]) -> list[str]:
    """Return a command line with every unknown `--key value` and `--key=value` written as `key=value`.

    Args:
        args: the words after the command.
        known: options that the command has: they stay as they are.
    """
    from zoo_core.config import RunConfig, option_meant, options

    keys = ["plugin", "config", "resume", *(key for key, _ in options(RunConfig))]
    fixed: list[str] = []
    words = list(args)
    while words:
        word = words.pop(0)
        key, equals, value = word.partition("=")
        if not word.startswith("--") or key in known:
            fixed.append(word)
            continue
        if not equals:
            value = (
                words.pop(0) if words and not words[0].startswith("--") and "=" not in words[0] else "true"
            )
        name = key.lstrip("-").replace("-", "_")
        meant = [name] if name in ("data", "sampler") else option_meant(name, keys)
        fixed.append(f"{meant[0] if meant else name}={value}")
    return fixed

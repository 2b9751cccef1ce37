"""Parts of a run that are a user's own Python objects: networks, datasets, metrics.

A name in a config is code that loading would run. It is imported only where the user has typed it for this
very folder (`trust`), or names its module with --trust (`trust_modules`).
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from torch import nn

from zoo_core.config import RunConfig
from zoo_core.config.own import is_name, is_object
from zoo_core.errors import PluginError, UsageError
from zoo_core.nn.own import Factory
from zoo_core.runs.known import append_line, lines
from zoo_core.runs.repeat import add_current_folder, sources_sha256

OPTION = "model.net"
"""The option that may name an object of the user's own."""
LIST = "trusted.txt"
"""File in ZOO_HOME: a folder and a name that the user typed for the run in it, one pair per line."""
PULLED = "origin.json"
"""File in the folder of a run that was pulled."""
UNREPEATABLE = "can't be repeated from its config"

_modules: set[str] = set()


@dataclass(frozen=True)
class Parts:
    """Python objects of a run.

    Attributes:
        networks: value of `model.net` -> factory.
        metrics: column -> function of (samples, test examples).
        record: part -> its qualified name and the sha256 of its source, for provenance.json.
        objects: parts that the config alone can't bring back.
    """

    networks: Mapping[str, Factory] = field(default_factory=dict)
    metrics: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    record: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    objects: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """Why the run can't be repeated from its config; "" where it can."""
        named = ", ".join(f"{part} {self.record[part]['name']}" for part in self.objects)
        return f"{UNREPEATABLE}: Python objects ({named})"[:400] if named else ""


NONE = Parts()


def net_of(config: RunConfig) -> str:
    """Return the value of `model.net`; "" for a model without that option."""
    return str(getattr(getattr(config, "model", None), "net", ""))


def of_objects(net: Any = None, dataset: Any = None, metrics: Any = None) -> tuple[Parts, dict[str, Any]]:
    """Return the parts that a Python program hands over, and the options that stand for them.

    Args:
        net: a class or function that is called with the data's `DataInfo`, or a network, which is copied.
        dataset: what `zoo_core.data.adapters.dataset_of` takes; here it is only recorded.
        metrics: column -> function of (samples, test examples), or functions, whose names are the columns.

    Raises:
        UsageError: for anything else.
    """
    record, options, networks = {}, {}, {}
    if net is not None:
        record["net"] = described(net)
        value = f"python:{_plain(record['net']['name'])}@{record['net']['sha256'][:12]}"
        options[OPTION] = value
        networks[value] = _factory(net)
    if dataset is not None:
        record["dataset"] = described(type(dataset))
    named = _metrics(metrics)
    record |= {f"metric {column}": described(function) for column, function in named.items()}
    return Parts(networks, named, record, tuple(record)), options


def _factory(net: Any) -> Factory:
    if isinstance(net, nn.Module):
        return lambda data: copy.deepcopy(net)
    if not callable(net):
        raise UsageError(
            f"net= is a {type(net).__name__}",
            "expected: a class or function that is called with the DataInfo of the data, or an nn.Module",
        )
    made: Factory = net
    return made


def _metrics(given: Any) -> dict[str, Callable[..., Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        functions = list(given) if isinstance(given, Iterable) else [given]
        given = {str(getattr(one, "__name__", "")).replace("_", "-"): one for one in functions}
    wrong = [column for column, function in given.items() if not column or not callable(function)]
    if wrong:
        raise UsageError(
            f"metrics= has {wrong[0]!r}, which is not a function with a name",
            "expected: {'column': function} or a list of functions, called with (samples, test examples)",
        )
    return dict(given)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._" else "_" for c in name if c not in "<>")


def described(thing: Any) -> dict[str, str]:
    """Return the qualified name of an object and the sha256 of its source.

    The weights of a network that is handed over are hashed with it. Without source text, as in an interactive
    session, the compiled code is hashed.
    """
    kind = type(thing) if isinstance(thing, nn.Module) else thing
    digest = hashlib.sha256()
    try:
        digest.update(inspect.getsource(kind).encode())
    except (OSError, TypeError):
        for code in _codes(kind):
            _hash_code(digest, code)
    if isinstance(thing, nn.Module):
        for name, tensor in thing.state_dict().items():
            array = tensor.detach().cpu().contiguous()
            digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
            digest.update(array.view(-1).float().numpy().tobytes())
    module = getattr(kind, "__module__", "") or ""
    name = getattr(kind, "__qualname__", type(kind).__qualname__)
    return {"name": f"{module}.{name}" if module else name, "sha256": digest.hexdigest()}


def _codes(kind: Any) -> list[CodeType]:
    members = [kind, *(vars(kind)[name] for name in sorted(vars(kind)))] if isinstance(kind, type) else [kind]
    return [code for one in members if isinstance(code := getattr(one, "__code__", None), CodeType)]


def _hash_code(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _hash_code(digest, constant)
        else:
            digest.update(repr(constant).encode())


def trust(folder: Path, name: str) -> None:
    """Record that the user named an object for the run in a folder.

    Raises:
        OSError: where the list can't be written.
    """
    append_line(LIST, f"{folder.resolve()}\t{name}")


def trust_modules(modules: Iterable[str]) -> None:
    """Let this process import names of modules, whichever config has them; each is shown before."""
    _modules.update(modules)


def trusted(folder: Path, name: str) -> bool:
    """Return whether the user named an object for the run in a folder; never for a run that was pulled."""
    return not (folder / PULLED).is_file() and f"{folder.resolve()}\t{name}" in lines(LIST)


def imported(config: RunConfig, folder: Path, given: Parts, say: Callable[[str], None]) -> Parts:
    """Return the parts of a run: those that are handed over, and the network that its config names.

    Args:
        given: by the caller.
        say: receives the name that is imported because of --trust.

    Raises:
        UsageError: where the name is not trusted, can't be imported, or stands for an object that is not
            handed over.
    """
    value = net_of(config)
    if is_object(value) and value not in given.networks:
        others = "; given: " + ", ".join(given.networks) if given.networks else ""
        raise UsageError(
            f"{folder} was made with a Python object, and {UNREPEATABLE}: model.net={value}{others}",
            "next: the same object again: zoo_core.run(..., net=...) or zoo_core.load(RUN, net=...)",
        )
    if not is_name(value) or value in given.networks:
        return given
    module, _, name = value.partition(":")
    if module in _modules:
        say(f"importing {value} (--trust {module})")
    elif not trusted(folder, value):
        raise UsageError(
            f"the config names a Python object: model.net={value}; loading it imports and runs {module}",
            f"next: --trust {module} (Python: trust=[{module!r}]), if you trust its source",
        )
    made = _import(module, name)
    sources = sources_sha256(module.partition(".")[0])
    record = {"net": {"name": value, "sha256": described(made)["sha256"], "module_sha256": sources}}
    return Parts({**given.networks, value: made}, given.metrics, {**given.record, **record}, given.objects)


def _import(module: str, name: str) -> Factory:
    add_current_folder()
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0] and error.name != module:
            raise PluginError(f"{module} failed to import: {error}") from error
        raise UsageError(
            f"model.net={module}:{name}: there is no module {module!r}",
            f"expected: {module.replace('.', '/')}.py in this folder or on PYTHONPATH",
        ) from error
    except Exception as error:
        raise PluginError(f"{module} failed to import: {type(error).__name__}: {error}") from error
    made = getattr(found, name, None)
    if not callable(made):
        raise UsageError(
            f"model.net={module}:{name}: {module} has no class or function {name!r}",
            "expected: a class or function that is called with the DataInfo of the data",
        )
    factory: Factory = made
    return factory

"""NVIDIA's .pkl files: PyTorch modules as persistent objects, and TensorFlow networks. Their source code is not read.

In: the file's bytes. Out: names and arrays of the generator with averaged weights (G_ema, Gs), and the file's facts
about its architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from comface.weights.inert import or_inert
from comface.weights.pickle_machine import Buildable, Inert, Machine, Permitted, Refused
from comface.weights.tensors import NUMPY, ORDERED, TORCH_TENSORS, ArrayRecord, TensorRecord, bounded
from comface.weights.torch_files import load_from_bytes

PERSISTENCE_VERSION = 6
MOST_MODULES = 2_000
MOST_PREFIX = 1_000


@dataclass(frozen=True)
class ModuleRecord:
    """A persistent object: the class's name and the module's __dict__ as inert records."""

    class_name: str
    state: dict[Any, Any]


@dataclass
class NetworkRecord(Buildable):
    """dnnlib.tflib.network.Network."""

    state: dict[Any, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        if not isinstance(state, dict) or self.state:
            raise Refused("a network in it is malformed")
        self.state = state


class EasyDict(dict[Any, Any], Buildable):
    """dnnlib.util.EasyDict and similar classes; the state only repeats the entries."""

    def build(self, state: Any) -> None:
        pass


def _module(arguments: tuple[Any, ...]) -> ModuleRecord:
    meta = arguments[0] if len(arguments) == 1 else None
    if not isinstance(meta, dict) or meta.get("type") != "class" or meta.get("version") != PERSISTENCE_VERSION:
        raise Refused("a network in it is of an unknown kind or version")
    if not isinstance(meta.get("class_name"), str) or not isinstance(meta.get("state"), dict):
        raise Refused("a network in it is malformed")
    return ModuleRecord(meta["class_name"], meta["state"])


NEEDED = {
    "torch_utils.persistence._reconstruct_persistent_obj": Permitted(call=_module),
    "dnnlib.tflib.network.Network": Permitted(new=lambda arguments: NetworkRecord()),
    **{
        name: Permitted(new=lambda arguments: EasyDict(), call=lambda arguments: EasyDict())
        for name in ("dnnlib.util.EasyDict", "dnnlib.EasyDict", "easydict.EasyDict")
    },
    "torch.storage._load_from_bytes": Permitted(call=load_from_bytes, once=True),
    **ORDERED,
    **TORCH_TENSORS,
    **NUMPY,
}


@dataclass(frozen=True)
class Generator:
    kind: str
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def read_plain(data: memoryview) -> Any:
    """The value of a pickle of arrays by name, for example of a network converted from Caffe."""
    return Machine(data, or_inert(NEEDED)).read()


def read_pickle(data: memoryview) -> Generator:
    value = read_plain(data)
    if isinstance(value, dict) and (generator := _as_module(value.get("G_ema"))) is not None:
        return _from_modules(generator, len(data))
    if isinstance(value, tuple | list) and len(value) == 3 and isinstance(value[2], NetworkRecord):
        return _from_tensorflow(value[2], len(data))
    if isinstance(value, dict) and "G_ema" in value:
        raise Refused("it contains no generator (its G_ema is not a network)")
    raise Refused(f"it contains no generator (neither G_ema nor (G, D, Gs)), but {_described(value)}")


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dictionary of {', '.join(ascii(key)[:40] for key in list(value)[:6]) or 'nothing'}"
    return f"a {value.name}" if isinstance(value, Inert) else f"a {type(value).__name__.removesuffix('Record').lower()}"


def _as_module(value: Any) -> ModuleRecord | None:
    """The module as a record: a persistent object, or a module pickled by torch (class and state); else None."""
    if isinstance(value, Inert) and value.state is not None and "_modules" in value.state:
        return ModuleRecord(value.name.rpartition(".")[2], value.state)
    return value if isinstance(value, ModuleRecord) else None


def _from_modules(generator: ModuleRecord, limit_bytes: int) -> Generator:
    modules = _flat(generator)
    records = {prefix + name: record for prefix, module in modules for name, record in _tensors(module)}
    bounded(records.values(), limit_bytes)
    facts = plain(generator.state.get("_init_kwargs", {}))
    clamps = {clamp for _, module in modules for clamp in _clamp_of(module)}
    if len(clamps) == 1:
        facts["conv_clamp"] = clamps.pop()
    return Generator("NVIDIA pickle (PyTorch)", {name: record.array() for name, record in records.items()}, facts)


def _flat(generator: ModuleRecord) -> list[tuple[str, ModuleRecord]]:
    """Every module with its name prefix, parents first, in the order of a state dict."""
    found: list[tuple[str, ModuleRecord]] = []
    waiting = [("", generator)]
    while waiting:
        prefix, module = waiting.pop()
        found.append((prefix, module))
        if len(found) > MOST_MODULES or len(prefix) > MOST_PREFIX:
            raise Refused(f"it has more than {MOST_MODULES:,} modules")
        children = []
        for name, child in _items(module, "_modules"):
            inner = _as_module(child)
            if child is not None and inner is None:
                raise Refused("a network in it is malformed")
            children += [(f"{prefix}{name}.", inner)] if inner is not None else []
        waiting += reversed(children)
    return found


def _tensors(module: ModuleRecord) -> Iterator[tuple[str, TensorRecord]]:
    """Parameters, then persistent buffers."""
    fleeting = module.state.get("_non_persistent_buffers_set", set())
    for kind in ("_parameters", "_buffers"):
        for name, value in _items(module, kind):
            if value is None or (kind == "_buffers" and isinstance(fleeting, set) and name in fleeting):
                continue
            if not isinstance(value, TensorRecord):
                raise Refused(f"its tensor {ascii(name)[:80]} is malformed")
            yield name, value


def _items(module: ModuleRecord, kind: str) -> Iterator[tuple[str, Any]]:
    entries = module.state.get(kind, {})
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise Refused("a network in it is malformed")
    yield from entries.items()


def _clamp_of(module: ModuleRecord) -> Iterator[float | None]:
    if module.class_name in ("SynthesisLayer", "ToRGBLayer") and "conv_clamp" in module.state:
        clamp = module.state["conv_clamp"]
        if clamp is not None and type(clamp) not in (int, float):
            raise Refused("its clamp is not a number")
        yield None if clamp is None else float(clamp)


def _from_tensorflow(network: NetworkRecord, limit_bytes: int) -> Generator:
    arrays: dict[str, np.ndarray] = {}
    components = network.state.get("components", {})
    if not isinstance(components, dict):
        raise Refused("a network in it is malformed")
    for part in (network, *components.values()):
        if not isinstance(part, NetworkRecord) or not isinstance(part.state.get("variables", []), list):
            raise Refused("a network in it is malformed")
        for variable in part.state.get("variables", []):
            if not isinstance(variable, tuple) or len(variable) != 2 or not isinstance(variable[0], str):
                raise Refused("a variable in it is malformed")
            name, value = variable
            arrays[name] = value.array() if isinstance(value, ArrayRecord) else _number(value)
    if sum(array.nbytes for array in arrays.values()) > limit_bytes:
        raise Refused("its tensors are larger than the file")
    return Generator("StyleGAN pickle (TensorFlow)", arrays, plain(network.state.get("static_kwargs", {})))


def _number(value: Any) -> np.ndarray:
    if type(value) not in (int, float):
        raise Refused("a variable in it is malformed")
    return np.asarray(value, np.float32)


def plain(value: Any, depth: int = 0) -> Any:
    """The part of `value` that JSON can represent: numbers, text, and dictionaries of them."""
    if isinstance(value, dict) and depth < 3:
        kept = {key: plain(item, depth + 1) for key, item in list(value.items())[:64] if isinstance(key, str)}
        return {key: item for key, item in kept.items() if item is not None}
    if isinstance(value, str):
        return value[:200]
    return value if type(value) in (int, float, bool) and depth else {} if not depth else None

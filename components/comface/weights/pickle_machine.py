"""A pickle reader that executes no code: bytes in, plain values and inert records out.

Python's unpickler imports and calls whatever a file names. This one supports the three dozen opcodes that weight files
use, imports nothing, and passes each named global to a handler of this package or refuses it by name. The size of its
result is bounded by the bytes read (opcodes are counted; buffers are views of the file).

Why not `pickle.Unpickler` with a `find_class` that returns stubs, behind an allow-list of opcodes (pickletools.genops)?
We tried it (2026-11-28): 140 lines instead of 350, and it reads the public kinds of file of protocols 2 to 4. But it
breaks three bounds, because its C code handles the values that it has made:

- It hashes dictionary keys of any kind. A tuple that contains a tuple twice, 24 levels deep (100 bytes), takes 12 s,
  and each level doubles the time. An allow-list cannot see which value becomes a key; that would take a second machine.
- BUILD writes into any object that has a `__dict__`, frozen or not. A file of 300 bytes changed the shape of a tensor
  record after the check against its data, and numpy then read 4 MB past its end.
- It copies every buffer: 256 MB for a file of 128 MB, instead of views of the file. It does not detect duplicate keys.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_OPCODES = 2_000_000
"""The largest public file has a tenth of this; each opcode costs at most about 200 bytes of memory."""
HIGHEST_PROTOCOL = 5
LONGEST_NAME = 256
OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Python 2 names of modules, used up to protocol 2."""


class Refused(Exception):
    """Why a file is refused: a clause about "it" that callers put into their message."""


@dataclass(frozen=True)
class Permitted:
    """The handlers of a permitted global: for a call (REDUCE) and for a new object (NEWOBJ)."""

    call: Callable[[tuple[Any, ...]], Any] | None = None
    new: Callable[[tuple[Any, ...]], Any] | None = None
    once: bool = False
    """Reuse the result for the same first argument, so that repeated calls cannot use more memory than the file."""


@dataclass(frozen=True)
class Global:
    name: str
    permitted: Permitted


class Buildable:
    """A record that accepts a state (BUILD)."""

    def build(self, state: Any) -> None:
        raise NotImplementedError


@dataclass
class Inert(Buildable):
    """An object of a class that is not needed: the class's name, and the state if it is a dictionary."""

    name: str
    state: dict[Any, Any] | None = None

    def build(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state


Names = Callable[[str], Permitted | None]
"""Global name -> its handlers; None refuses the name."""


def plain_set(items: Any) -> set[Any]:
    """A set of numbers and text; hashing nested values could take unbounded time."""
    if not isinstance(items, list | tuple | set) or not all(isinstance(item, _SCALAR_KEYS) for item in items):
        raise Refused("its pickle has a set with items that are neither numbers nor text")
    return set(items)


class _Mark:
    pass


_MARK = _Mark()
_SCALAR_KEYS = (str, int, float, bool, type(None))


class Machine:
    """Reads one pickle in `data`, starting at `start`. `named` gives the handlers of a global, `persistent` the value
    of a persistent id."""

    def __init__(
        self,
        data: memoryview,
        named: Names,
        persistent: Callable[[Any], Any] | None = None,
        start: int = 0,
    ) -> None:
        self.data, self.named, self.persistent = data, named, persistent
        self.position = start
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.made: dict[tuple[str, int], tuple[Any, Any]] = {}

    def read(self) -> Any:
        """The pickled value; `position` is then the offset after it."""
        for _ in range(MOST_OPCODES):
            opcode = self._take(1)[0]
            if opcode == 0x2E:  # STOP
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise Refused("its pickle ends in the middle of a value")
                return self.stack[0]
            step = _STEPS.get(opcode)
            if step is None:
                raise Refused(f"it uses the pickle opcode 0x{opcode:02x}, which no weight file needs")
            step(self)
        raise Refused(f"its pickle has more than {MOST_OPCODES:,} opcodes")

    def _take(self, count: int) -> memoryview:
        if count < 0 or count > len(self.data) - self.position:
            raise Refused("it ends too early (truncated, or a size in it is wrong)")
        self.position += count
        return self.data[self.position - count : self.position]

    def _number(self, layout: str) -> int:
        number: int = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return number

    def _pop(self) -> Any:
        value = self._top()
        del self.stack[-1]
        return value

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("its pickle takes from an empty stack")
        return self.stack[-1]

    def _pop_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise Refused("its pickle lacks a mark")

    def _text(self, count: int) -> str:
        try:
            return str(self._take(count), "utf-8")
        except UnicodeDecodeError:
            raise Refused("a text in its pickle is not UTF-8") from None

    def _line(self) -> str:
        start = self.position
        for end in range(start, min(start + 256, len(self.data))):
            if self.data[end] == 0x0A:
                self.position = end + 1
                return str(bytes(self.data[start:end]), "latin-1")
        raise Refused("a name in its pickle does not end")

    def _named(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("its pickle has a name that is not text")
        full = f"{OLD_MODULES.get(module, module)}.{name}"
        permitted = self.named(full)
        if permitted is None:
            raise Refused(f"it names {full[:80]!a}, which no weight file needs")
        return Global(full, permitted)

    # One method per opcode; the table below maps them.

    def proto(self) -> None:
        if self._take(1)[0] > HIGHEST_PROTOCOL:
            raise Refused("its pickle's protocol is unknown")

    def frame(self) -> None:
        size = self._number("<Q")
        if size > len(self.data) - self.position:
            raise Refused("it ends too early (truncated, or a size in it is wrong)")

    def mark(self) -> None:
        self.stack.append(_MARK)

    def long1(self) -> None:
        self.stack.append(int.from_bytes(self._take(self._take(1)[0]), "little", signed=True))

    def binfloat(self) -> None:
        self.stack.append(struct.unpack(">d", self._take(8))[0])

    def python2_string(self, layout: str) -> None:
        """A `str` of Python 2: a name, or the bytes of an array. Long ones are left as a view of the file."""
        data = self._take(self._number(layout))
        self.stack.append(str(data, "latin-1") if len(data) < LONGEST_NAME else data)

    def append(self) -> None:
        self._extend([self._pop()])

    def appends(self) -> None:
        self._extend(self._pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            return
        if not isinstance(target, list):
            raise Refused("its pickle appends to a value that is not a list")
        target.extend(items)

    def tuple_of_mark(self) -> None:
        self.stack.append(tuple(self._pop_mark()))

    def tuple_of(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def setitems(self) -> None:
        self._set(self._pop_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise Refused("its pickle sets items of a value that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _SCALAR_KEYS):  # hashing nested tuples could take unbounded time
                raise Refused("its pickle has a dictionary whose keys are neither numbers nor text")
            if key in target:
                raise Refused(f"it has the key {ascii(key)[:80]} twice")
            target[key] = value

    def additems(self) -> None:
        items, target = self._pop_mark(), self._top()
        if not isinstance(target, set):
            raise Refused("its pickle adds items to a value that is not a set")
        target.update(plain_set(items))

    def get(self, layout: str) -> None:
        index = self._number(layout)
        if index not in self.memo:
            raise Refused("its pickle gets a memo entry that it never stored")
        self.stack.append(self.memo[index])

    def put(self, layout: str) -> None:
        self.memo[self._number(layout)] = self._top()

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self._top()

    def global_(self) -> None:
        module = self._line()
        self.stack.append(self._named(module, self._line()))

    def stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self.stack.append(self._named(module, name))

    def reduce(self) -> None:
        arguments, called = self._pop(), self._pop()
        if not isinstance(called, Global) or not isinstance(arguments, tuple) or called.permitted.call is None:
            raise Refused("its pickle calls a value that must not be called")
        if not called.permitted.once or not arguments:
            self.stack.append(called.permitted.call(arguments))
            return
        key = called.name, id(arguments[0])  # the entry keeps the argument alive
        if key not in self.made:
            self.made[key] = arguments[0], called.permitted.call(arguments)
        self.stack.append(self.made[key][1])

    def newobj(self) -> None:
        arguments, made = self._pop(), self._pop()
        if not isinstance(made, Global) or not isinstance(arguments, tuple) or made.permitted.new is None:
            raise Refused("its pickle makes an object from a value that is not a class")
        self.stack.append(made.permitted.new(arguments))

    def newobj_ex(self) -> None:
        self._pop()  # keyword arguments, which no needed class has
        self.newobj()

    def dup(self) -> None:
        self.stack.append(self._top())

    def pop(self) -> None:
        if self.stack and self.stack[-1] is _MARK:
            self.stack.pop()
        else:
            self._pop()

    def pop_mark(self) -> None:
        self._pop_mark()

    def build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Buildable):
            raise Refused("its pickle sets the state of a value that takes none")
        target.build(state)

    def binpersid(self) -> None:
        if self.persistent is None:
            raise Refused("its pickle refers to something outside itself")
        self.stack.append(self.persistent(self._pop()))


def _push(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(make(machine))


_STEPS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.proto,
    0x95: Machine.frame,
    0x28: Machine.mark,
    0x4E: _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    0x4A: _push(lambda m: m._number("<i")),
    0x4B: _push(lambda m: m._number("<B")),
    0x4D: _push(lambda m: m._number("<H")),
    0x8A: Machine.long1,
    0x47: Machine.binfloat,
    0x8C: _push(lambda m: m._text(m._number("<B"))),
    0x58: _push(lambda m: m._text(m._number("<I"))),
    0x8D: _push(lambda m: m._text(m._number("<Q"))),
    0x55: lambda m: m.python2_string("<B"),
    0x54: lambda m: m.python2_string("<i"),
    0x43: _push(lambda m: m._take(m._number("<B"))),
    0x42: _push(lambda m: m._take(m._number("<I"))),
    0x8E: _push(lambda m: m._take(m._number("<Q"))),
    0x5D: _push(lambda m: []),
    0x61: Machine.append,
    0x65: Machine.appends,
    0x96: _push(lambda m: m._take(m._number("<Q"))),
    0x29: _push(lambda m: ()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    0x74: Machine.tuple_of_mark,
    0x7D: _push(lambda m: {}),
    0x73: Machine.setitem,
    0x75: Machine.setitems,
    0x8F: _push(lambda m: set()),
    0x90: Machine.additems,
    0x91: _push(lambda m: plain_set(m._pop_mark())),
    0x6C: _push(lambda m: m._pop_mark()),
    0x30: Machine.pop,
    0x31: Machine.pop_mark,
    0x32: Machine.dup,
    0x68: lambda m: m.get("<B"),
    0x6A: lambda m: m.get("<I"),
    0x71: lambda m: m.put("<B"),
    0x72: lambda m: m.put("<I"),
    0x94: Machine.memoize,
    0x63: Machine.global_,
    0x93: Machine.stack_global,
    0x52: Machine.reduce,
    0x81: Machine.newobj,
    0x92: Machine.newobj_ex,
    0x62: Machine.build,
    0x51: Machine.binpersid,
}

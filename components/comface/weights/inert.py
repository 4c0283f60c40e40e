"""Globals that weight files name in addition to weights: training settings, the optimiser, the other networks.

In: the globals that a reader needs. Out: those, and an inert record for each harmless name below. None of them is
imported. This is an allow-list: any other name is most likely an attack and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from comface.weights.pickle_machine import Inert, Names, Permitted

HARMLESS = re.compile(
    r"""
    builtins\.(complex|slice|x?range|bytearray|bytes|list|dict|tuple|int|float|bool|str|object|Ellipsis|NotImplemented)
    | argparse\.Namespace | types\.SimpleNamespace | collections\.(deque|Counter) | copyreg\._reconstructor
    | pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path | (datetime|typing)\.\w+ | decimal\.Decimal
    | fractions\.Fraction | uuid\.UUID | functools\.partial | random\.Random
    | numpy\.(bool_?|u?int\d*|uint\w*|int\w*|float\w*|complex\w*|half|single|double|str_|bytes_|void|datetime64|generic)
    | numpy\.dtypes\.\w+ | numpy\.random(\.\w+)+
    | torch\.(device|Size|dtype|Generator|layout|memory_format|strided|\w+_format|channels_last|\w+Storage|half|double)
    | torch\.(b?float|u?int|long|short|complex|bool|q?u?int)\w*
    | torch\.(_utils\._rebuild_\w+ | _tensor\._rebuild_from_type_v2 | storage\.(Untyped|Typed)Storage)
    | torch\.(nn\.(modules|parallel|quantized|parameter)|optim|utils\.data|cuda\.amp|amp)(\.\w+)*\.[A-Z]\w*
    | torch\.nn\.functional\.\w+ | torch\.serialization\._get_layout
    | (dnnlib|training|torch_utils|metrics)(\.\w+)*\.[A-Z]\w*
    | (omegaconf|yacs|munch|addict|easydict|ml_collections|vissl|classy_vision|apex|timm)(\.\w+)*\.[A-Z]\w*
    | (pytorch_lightning|lightning|lightning_fabric)(\.\w+)*\.AttributeDict
    """,
    re.VERBOSE,
)


def or_inert(needed: Mapping[str, Permitted]) -> Names:
    """The handlers in `needed`; for a harmless name, one that makes an Inert record; None for any other name."""

    def named(name: str) -> Permitted | None:
        if name in needed or not HARMLESS.fullmatch(name):
            return needed.get(name)
        return Permitted(call=lambda arguments: Inert(name), new=lambda arguments: Inert(name))

    return named

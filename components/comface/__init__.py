"""ComFace (Akamatsu et al., WACV 2025): learn from synthetic faces how one person's face changes.

Public: the names in `__all__`, the command line, the pipeline's parameters and the configuration. Everything else may
change without notice.
"""

import logging

__all__ = [
    "ChangeRegressor",
    "ComfaceError",
    "ConfigurationError",
    "DataError",
    "TryAgain",
    "__version__",
    "compare",
    "features",
    "load_model",
]
__version__ = "0.2.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is logged is shown by who asks for it


def __getattr__(name: str) -> object:
    """The public names, loaded at their first use: `import comface` stays fast and does not load torch."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    where = {"ChangeRegressor": "python.regressor", "compare": "python.functions", "features": "python.functions",
             "load_model": "python.functions"}  # fmt: skip
    globals()[name] = found = getattr(import_module(f"comface.{where.get(name, 'errors')}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

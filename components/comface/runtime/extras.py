"""Optional dependencies: the extras of pyproject.toml and the modules that they install.

In: a command and the extras that it needs. Out: nothing, or an error that says what to install. A command checks its
extras before it starts, so that it does not fail after hours of work.
"""

from __future__ import annotations

from importlib.util import find_spec

from comface.errors import ConfigurationError

EXTRAS = {
    "train": (
        "matplotlib", "jinja2", "sklearn", "simplejpeg", "prometheus_client", "onnxruntime", "ai_edge_litert",
        "tensorboardX", "openpyxl",
    ),
    "cluster": ("kfp", "kfp_server_api", "kubernetes", "cronsim"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "python_multipart"),
    "registries": ("mlflow", "model_registry", "sqlalchemy"),
    "export": ("onnx", "onnxscript"),
}  # fmt: skip
"""Modules by extra, best known first: an error names the first one that is not installed."""


def check_extras(command: str, *extras: str) -> None:
    """Raises ConfigurationError if a module of `extras` is not installed."""
    absent = {extra: [module for module in EXTRAS[extra] if find_spec(module) is None] for extra in extras}
    lacking = {extra: modules[0] for extra, modules in absent.items() if modules}
    if lacking:
        raise ConfigurationError(
            f"`{command}` needs {' and '.join(lacking.values())}; install {'it' if len(lacking) == 1 else 'them'} with "
            f"`pip install 'comface[{','.join(sorted(lacking))}]'`."
        )


def absent_extra(error: Exception) -> ConfigurationError | None:
    """The error for an import that failed because an extra is not installed; None for any other exception."""
    module = (getattr(error, "name", None) or "").partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    if not isinstance(error, ModuleNotFoundError) or extra is None:
        return None
    return ConfigurationError(f"{module} is not installed; install it with `pip install 'comface[{extra}]'`.")

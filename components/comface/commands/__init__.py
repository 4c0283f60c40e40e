"""The commands, one module per family. Each adds its parsers and calls one function of the package."""

"""The commands, one module per family; each command calls one function of the package."""

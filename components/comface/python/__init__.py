"""The Python interface (docs/python.md): `comface.__all__`, whose names comface/__init__.py loads at first use."""

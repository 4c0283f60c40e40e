"""ComFace (Akamatsu et al., WACV 2025): learn from synthetic faces how one person's face changes.

Public: the names in `__all__`, the command line, the pipeline's parameters and the configuration. Everything else may
change without notice.
"""

import logging

__all__ = ["__version__"]
__version__ = "0.2.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is logged is shown by who asks for it

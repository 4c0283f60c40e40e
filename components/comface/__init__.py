"""ComFace (Akamatsu et al., WACV 2025): learn from synthetic faces how one person's face changes."""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is logged is shown by who asks for it

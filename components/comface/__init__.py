"""ComFace (Akamatsu et al., WACV 2025): learn from synthetic faces how one person's face changes."""

__version__ = "0.1.0"

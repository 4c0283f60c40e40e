"""Resolve: the first step of a run. Checks everything before anything expensive starts, and plans the rest."""

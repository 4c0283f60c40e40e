"""Resolve: the first step of a run. It checks everything before anything expensive starts, and plans the rest."""

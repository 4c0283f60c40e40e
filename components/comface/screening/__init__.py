"""Screening: does a direction do what it is named for? Measured on a sample of tracks, attribute by attribute.

    sample.py    which tracks, and their images: rendered now, or as synthesize stored them
    scales.py    what measures an attribute: a published scorer, or a parameter of the renderer
    measure.py   images -> faces found, scores, whose face it still is
    figures.py   per attribute: shares, effects, entanglement (pure)
    verdict.py   thresholds -> kept in which range of alpha, or dropped and why (pure)
    picture.py   one picture of it all
    step.py      -> an artifact of kind `screening`

The paper takes its directions as they are (section 3.1); this says which of them hold, and how far.
"""

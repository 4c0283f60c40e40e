"""Screening: measures on a sample of tracks whether each direction changes its attribute and keeps the identity.

    sample.py    the sampled tracks and their images, rendered or read from the store
    scales.py    the measure of an attribute: a published scorer, or a parameter of the renderer
    measure.py   images → faces found, scores, identity
    figures.py   per attribute: shares, effects, entanglement (pure functions)
    verdict.py   thresholds → accepted range of alpha, or dropped with the reason (pure functions)
    picture.py   one figure with all results
    step.py      the artifact of kind `screening`

The paper uses its directions without such a check (section 3.1).
"""

"""Rehearsal data sets: stand-ins, in the true layouts, for data sets that are licensed or belong to patients.

In: RehearseConfig and an empty folder. Out: the files of DISFA, FG-NET or Edema-A/-B as their owners lay them out,
drawn by the generator `procedural` (other identities than pre-training's, known truth) and photographed by a camera
that pre-training has not seen; and the scored cohort, from `dcgan`. Whatever is measured on them is a rehearsal:
it shows that the workflow works, not how well it works on people (docs/rehearsal.md).

    subjects.py  persons, and the conditions of a photo     camera.py  tone curve, noise, lens, compression
    disfa.py fgnet.py edema.py cohort.py                    step.py    the artifact
"""

"""Rehearsal data sets: synthetic replacements for data sets that are licensed or contain patients.

In: RehearseConfig and an empty folder. Out: the files of DISFA, FG-NET or Edema-A/-B in their original layouts. The
faces are rendered by the generator `procedural` (identities that pre-training does not use, known ground truth) and
pass through a camera model that pre-training does not use. The scored cohort is rendered by `dcgan`. A result on these
data is a rehearsal: it shows that the workflow works, not how well it works on real people (docs/rehearsal.md).

    subjects.py  people, and the conditions of a photo      camera.py  tone curve, noise, lens, compression
    disfa.py fgnet.py edema.py cohort.py                    step.py    the artifact
"""

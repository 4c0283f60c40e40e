"""The patient-specific method of table 5: the weight of one patient from single photos (Akamatsu et al., JBHI 2023).

Two stages. First a backbone is pre-trained on many patients by weight-aware supervised momentum contrast. Then a copy
of it with a linear head is fine-tuned on the first days of one patient, and estimates the weight on that patient's
further photos. The estimated change of a pair is the difference of two weights. The publication's text was not
available to us: docs/reproduction.md lists what is known, and each choice is a field of config.py.

    loss.py     the loss of the first stage, a pure function
    moco.py     the first stage: two encoders, the queue, the training
    adapt.py    the second stage, and the head for a patient without any data (0 days)
    entry.py    the names `patient-specific:N-day` in the registry of methods
"""

"""The StyleGANs: three published architectures behind the interface of FaceGenerator (references 27 to 30).

| module | holds |
|---|---|
| stylegan1.py, stylegan2.py, stylegan3.py | the networks, with the published names and shapes of their states |
| equalized.py | what they share: linear layers with a run-time gain, normalised latents, truncation |
| filters.py, resampling.py | design of low-pass filters; up- and downsampling with them |
| build.py | a network from a state (names and shapes say the architecture) |
| generator.py | FaceGenerator around a network: seeds, truncation, W and W+, chunks |
"""

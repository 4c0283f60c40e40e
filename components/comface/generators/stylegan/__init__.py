"""The StyleGANs: three published architectures with the interface FaceGenerator (references 27 to 30).

| module | content |
|---|---|
| stylegan1.py, stylegan2.py, stylegan3.py | the networks, with the published names and shapes of their states |
| equalized.py | shared code: linear layers with a run-time gain, normalised latents, truncation |
| filters.py, resampling.py | design of low-pass filters; up- and downsampling with them |
| build.py | builds a network from a state (names and shapes determine the architecture) |
| generator.py | the FaceGenerator of a network: seeds, truncation, W and W+, chunks |
"""

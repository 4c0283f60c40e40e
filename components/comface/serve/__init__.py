"""The page for two photos and the HTTP service behind it (docs/serving.md).

In: photos as uploads, a registered model. Out: the JSON that `comface compare --json` prints. The server process reads
requests and never decodes a photo; worker processes do (workers.py), so that a photo that crashes a decoder or takes
too long ends one worker and not the service. No photo is stored or logged: uploads are kept in memory, and a worker is
not allowed to write files.
"""

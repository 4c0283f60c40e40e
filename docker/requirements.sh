#!/bin/sh
# The hashed requirements of the images, from pyproject.toml and constraints.txt: run after either changed
# (`make requirements`). $1: uv. No image is needed, and only the index's metadata is read: seconds.
set -eu
cd "$(dirname "$0")/.."
uv=$1
without=$(mktemp)
trap 'rm -f "$without"' EXIT
# What the steps of the small image do without (a test runs them so). An override that never holds takes a package out,
# and with it what only that package needs.
printf '%s ; python_version < "0"\n' torch torchvision timm safetensors scikit-learn scipy \
  opencv-python-headless simplejpeg dlib-bin onnxruntime ai-edge-litert >"$without"

compile() { # FILE SOURCE [option...]
  file=docker/requirements-$1.txt
  shift
  UV_CUSTOM_COMPILE_COMMAND="make requirements" "$uv" pip compile --quiet --universal --python-version 3.11 \
    --generate-hashes --no-annotate --constraint constraints.txt --output-file "$file" "$@"
}

compile gpu pyproject.toml
compile cpu pyproject.toml --override "$without"
echo 'setuptools>=77' | compile build -

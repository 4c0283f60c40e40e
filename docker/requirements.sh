#!/bin/sh
# The hashed requirements of the images and of `make setup`, from pyproject.toml and constraints.txt: run after either
# changed (`make requirements`). $1: uv. No image is needed, and only the index's metadata is read: seconds. They hold for
# every Python from 3.11 on and every platform, with markers, as far as the index has files for it.
set -eu
cd "$(dirname "$0")/.."
uv=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# What an image does without. An override that never holds takes a package out, and with it what only that one needs.
without() { # IMAGE PACKAGE...
  file=$folder/$1
  shift
  printf '%s ; python_version < "0"\n' "$@" >"$file"
}
without cpu torch torchvision timm triton scikit-learn \
  pi-heif simplejpeg dlib-bin onnxruntime ai-edge-litert # a test runs the steps of this image so
without serve triton # its kernels are those of trainings on a GPU

compile() { # FILE SOURCE [option...]
  file=docker/requirements-$1.txt
  shift
  UV_CUSTOM_COMPILE_COMMAND="make requirements" "$uv" pip compile --quiet --universal --python-version 3.11 \
    --generate-hashes --no-annotate --constraint constraints.txt --output-file "$file" "$@"
}

compile gpu pyproject.toml --extra train --extra cluster
compile serve pyproject.toml --extra serve --override "$folder/serve"
compile dev pyproject.toml --extra dev
compile cpu pyproject.toml --extra train --extra cluster --extra registries --override "$folder/cpu"
{ # what builds, and what installs
  sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml
  echo pip
} | compile build -

#!/bin/sh
# Builds the images (docs/images.md). What it reads from the environment:
#   REGISTRY    host/path to push to; then docker/images.lock names every image by its digest. Empty: build only
#   BASE        another base image than the pinned one, e.g. your mirror of it
#   PIP_CONFIG  a file with pip's settings (your index, its certificate) for the build; no layer keeps it
#   SOURCE      where the sources are published, for the label
#   DOCKER      the client, if not `docker`
#   BUILD_FLAGS further flags of `docker build`, e.g. --network host
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain -- components docker pyproject.toml 2>/dev/null)" ] || revision=$revision-modified
docker=${DOCKER:-docker}
lock=docker/images.lock
locked="# Written by make images; read by pipelines/comface.py when it is compiled."

build() { # TARGET NAME
  set -- "$1" "$2" "${REGISTRY:+$REGISTRY/}$2"
  # shellcheck disable=SC2086  # BUILD_FLAGS are several words
  DOCKER_BUILDKIT=1 "$docker" build --file docker/Dockerfile --target "$1" --tag "$2:$version" --tag "$3:$version" \
    ${BASE:+--build-arg "BASE=$BASE"} ${PIP_CONFIG:+--secret "id=pip,src=$PIP_CONFIG"} \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" ${SOURCE:+--build-arg "SOURCE=$SOURCE"} \
    ${BUILD_FLAGS:-} .
  [ -n "${REGISTRY:-}" ] || return 0
  "$docker" push "$3:$version"
  digest=$("$docker" image inspect --format '{{join .RepoDigests "\n"}}' "$3:$version" | grep "^$3@sha256:" | tail -n 1)
  locked="$locked
$2 ${digest:?"the registry told no digest of $3:$version"}"
}

build cpu comface-python
build gpu comface-gpu-python
build serving comface-serving-python

[ -n "${REGISTRY:-}" ] || {
  echo "built, not pushed: name a registry (make images REGISTRY=host/path) to pin the pipeline by digest"
  exit 0
}
echo "$locked" >"$lock.part"
mv "$lock.part" "$lock"
cat "$lock"

#!/bin/sh
# Builds the images, then runs the whole pipeline inside them (tests/system/test_images.py). $1: the folder of pytest.
# Where no engine runs, one is started with a folder of its own (as root; on Debian it is offered to be installed). Where the pinned
# base cannot be pulled, a Debian made here stands in for it. What build.sh reads from the environment holds here too.
#   IMAGES_FOLDER  where engine and stand-in keep their files (12 GB); empty: a temporary folder, removed afterwards
set -eu
cd "$(dirname "$0")/.."
bin=$1
DOCKER=${DOCKER:-docker}
export DOCKER
folder=${IMAGES_FOLDER:-}
engine=

clean_up() {
  [ -z "$engine" ] || { kill "$engine" && wait "$engine" || true; }
  [ -n "${IMAGES_FOLDER:-}" ] || [ -z "$folder" ] || rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 143' INT TERM

[ -n "$folder" ] || folder=$(mktemp -d /var/tmp/comface-images.XXXXXX)
if ! "$DOCKER" info >/dev/null 2>&1; then
  sh .ci/need dockerd docker.io iptables
  mkdir -p "$folder"
  export DOCKER_HOST="unix://$folder/docker.sock"
  dockerd --host "$DOCKER_HOST" --data-root "$folder/engine" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    >"$folder/engine.log" 2>&1 &
  engine=$!
  tries=0
  until "$DOCKER" info >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ] || ! kill -0 "$engine" 2>/dev/null; then
      tail -n 5 "$folder/engine.log" >&2
      echo "test-images: no container engine could be started; start one, then run it again" >&2
      exit 75
    fi
    sleep 1
  done
fi

pinned=$(sed -n 's/^ARG BASE=//p' docker/Dockerfile)
stand_in=comface-stand-in:bookworm
if [ -z "${BASE:-}" ] && ! timeout 120 "$DOCKER" pull --quiet "$pinned" 2>/dev/null; then
  echo "test-images: $pinned cannot be pulled; $stand_in takes its place"
  if ! "$DOCKER" image inspect "$stand_in" >/dev/null 2>&1; then
    sh .ci/need debootstrap debootstrap
    rm -rf "$folder/rootfs"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$folder/rootfs" \
      >"$folder/debootstrap.log"
    # An index behind a company's proxy is reached with this machine's certificates.
    find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$folder/rootfs/usr/local/share/ca-certificates/" \;
    chroot "$folder/rootfs" update-ca-certificates >/dev/null
    tar -C "$folder/rootfs" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists -c . \
      | "$DOCKER" import --change 'CMD ["python3"]' - "$stand_in" >/dev/null
  fi
  BASE=$stand_in
  export BASE
fi

sh docker/build.sh
"$DOCKER" image ls --format '{{.Repository}}:{{.Tag}}  {{.Size}}' | grep '^comface-' | sort
COMFACE_TEST_IMAGES=${COMFACE_TEST_IMAGES:-tiny} "$bin/pytest" -m system tests/system/test_images.py -v -rs

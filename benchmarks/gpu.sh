#!/usr/bin/env bash
# Runs every check and measurement that needs a GPU, on one GPU, within five minutes.
#
#     bash benchmarks/gpu.sh [--dry] [--only NAME,NAME] [--wheels DIR] [--official DIR] [--output DIR]
#
# Prints as it goes and ends with a table; the exit code is 1 if a part failed. Each part is one command with a limit in
# seconds, so a part that hangs costs only its own time. The parts that five minutes leave no time for are named.
#
#   --dry       run the small form of every part on this CPU (Triton kernels in Triton's interpreter), with longer limits
#   --only      run these parts
#   --wheels    a folder of wheels for packages that a plain CUDA image lacks; they go into a temporary folder
#   --official  a folder with the checkouts stylegan3 (NVlabs) and interfacegan (genforce), to compare with
#   --output    the folder for the parts' logs (default: a new one in the temporary folder)
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python} DRY= ONLY= WHEELS= OFFICIAL= OUTPUT=
while [ $# -gt 0 ]; do
    case $1 in
    --dry) DRY=1 ;;
    --only | --wheels | --official | --output)
        [ $# -gt 1 ] || { echo "The option $1 needs a value." >&2; exit 64; }
        declare "$(tr a-z A-Z <<<"${1#--}")=$2"; shift ;;
    *) echo "There is no option $1; the options are --dry, --only, --wheels, --official and --output." >&2; exit 64 ;;
    esac
    shift
done
WHOLE_S=${WHOLE_S:-${DRY:+1800}} WHOLE_S=${WHOLE_S:-290}
SCRATCH=$(mktemp -d) ROWS=() FAILED=0
OUTPUT=${OUTPUT:-$(mktemp -d)}
mkdir -p "$OUTPUT" "$SCRATCH/bin"
trap 'rm -rf "$SCRATCH"' EXIT
printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v "$PYTHON")" >"$SCRATCH/bin/python" # the parts say `python`
chmod +x "$SCRATCH/bin/python"
export PATH="$SCRATCH/bin:$PATH"
export PYTHONPATH="$SCRATCH/packages:$PWD/components${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OFFICIAL
[ -n "$DRY" ] && export TRITON_INTERPRET=1 CUDA_VISIBLE_DEVICES=

# Prints the packages that are missing.
lacking() {
    "$PYTHON" - <<'PY'
from importlib.util import find_spec
needed = "torch numpy scipy pydantic pydantic_core annotated_types typing_inspection simplejpeg tqdm yaml safetensors torchvision"
packages = {"cv2": "opencv-python-headless", "PIL": "pillow", "_dlib_pybind11": "dlib-bin", "yaml": "PyYAML"}
names = [*needed.split(), "cv2", "PIL", "_dlib_pybind11"]
print(" ".join(sorted({packages.get(name, name.replace("_", "-")) for name in names if find_spec(name) is None})))
PY
}

MISSING=$(lacking) || { echo "There is no Python '$PYTHON'; set PYTHON to one with torch." >&2; exit 64; }
if [ -n "$MISSING" ] && [ -n "$WHEELS" ]; then
    # shellcheck disable=SC2086
    "$PYTHON" -m pip install -q --no-index --no-deps --find-links "$WHEELS" --target "$SCRATCH/packages" $MISSING
    MISSING=$(lacking)
fi
if [ -n "$MISSING" ]; then
    echo "This Python lacks $MISSING; install them, or put their wheels into a folder (pip download --no-deps -d DIR" \
        "$MISSING) and give it with --wheels DIR." >&2
    exit 64
fi

# part NAME LIMIT_S 'the command on a GPU' 'its small form on a CPU'
part() {
    local name=$1 limit=$2 command=$3 began=$SECONDS code left state log="$OUTPUT/$1.log"
    [ -n "$DRY" ] && command=$4 limit=$((limit * 4)) # a CPU is slower
    [[ -z $ONLY || ",$ONLY," == *",$name,"* ]] || return 0
    left=$((WHOLE_S - SECONDS))
    if [ "$left" -lt 5 ]; then
        ROWS+=("$name|not run: no time left|0|"); FAILED=1
        return 0
    fi
    [ "$limit" -gt "$left" ] && limit=$left
    echo; echo "== $name (at most $limit s): $command"
    timeout --kill-after=5 "$limit" bash -c "$command" 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    case $code in
    0) state="passed" ;;
    124 | 137) state="stopped after $limit s"; FAILED=1 ;;
    *) state="FAILED ($code)"; FAILED=1 ;;
    esac
    ROWS+=("$name|$state|$((SECONDS - began))|$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | cut -c 1-110)")
}

summary() {
    rm -rf "$SCRATCH"
    echo; echo "| part | result | s | last line |"; echo "|---|---|---|---|"
    local row name state took last
    for row in "${ROWS[@]+"${ROWS[@]}"}"; do
        IFS='|' read -r name state took last <<<"$row"
        echo "| $name | $state | $took | ${last//|//} |"
    done
    echo "$SECONDS s in all; the logs are in $OUTPUT"
}
trap summary EXIT

# The parts, in order of importance: the last ones may have no time left. Checks of equality come before speed.
part machine 30 \
    'nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader && python -c "
import torch
print(torch.cuda.get_device_name(), torch.__version__, torch.version.cuda, torch.cuda.mem_get_info())"' \
    'python -c "import os, torch; print(os.cpu_count(), torch.__version__)"'
part epilogue 60 \
    'python benchmarks/epilogue.py' \
    'python benchmarks/epilogue.py --size 8'
part filtered-relu 75 \
    'python benchmarks/filtered_relu.py' \
    'python benchmarks/filtered_relu.py --networks t'
part precision 60 \
    'python benchmarks/precision.py' \
    'TRITON_INTERPRET=0 python benchmarks/precision.py --networks stylegan2 --size 64 --alphas 3'
part equality 45 \
    'python benchmarks/train_step.py --equality --size 112' \
    'TRITON_INTERPRET=0 python benchmarks/train_step.py --equality --size 32'
part step 60 \
    'python benchmarks/train_step.py --pairs 32 512 --rounds 1' \
    'TRITON_INTERPRET=0 python benchmarks/train_step.py --backbone resnet18 --size 32 --pairs 2 --rounds 1 --seconds 0.1'
part pretrain 75 \
    'python benchmarks/pretrain.py --device cuda --parts compare,projection --rounds 1 --seconds 2 --pairs 32 --pairs 512' \
    'python benchmarks/pretrain.py --parts compare,projection --rounds 1 --seconds 0.1 --pairs 40'
part stylegans 130 \
    'python benchmarks/generators.py --device cuda ${OFFICIAL:+--official "$OFFICIAL/stylegan3" "$OFFICIAL/interfacegan"}' \
    'TRITON_INTERPRET=0 python benchmarks/generators.py --networks stylegan2 stylegan3-t --size 8 --batch 1 2 --rounds 1'
part data-set 90 \
    'python benchmarks/generators.py --device cuda --networks --path --price-per-hour 3' \
    'TRITON_INTERPRET=0 python benchmarks/generators.py --networks --size 16 --path --price-per-hour 0.05'
part convolutions 20 \
    'python benchmarks/epilogue.py --convolutions --rounds 3' \
    'python benchmarks/epilogue.py --help >/dev/null'

exit "$FAILED"

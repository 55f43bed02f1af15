#!/usr/bin/env bash
# Check mlq on a real GPU and measure it there. Writes one JSON file.
#
#   tests/gpu/run.sh [--wheels DIR] [-o FILE]
#
#   --wheels DIR  install from the wheels in this directory instead of from the package index: those of the
#                 dependencies in pyproject.toml, of hatchling and editables, and of what all of these need
#   -o FILE       the report (default: gpu.json)
#
# PYTHON (default: python3) is the interpreter whose torch and torchvision are used. Everything else that is missing is
# installed into a temporary environment. On a machine without a GPU the script says so and exits with 0.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
report=gpu.json
index=()
while [ $# -gt 0 ]; do
    case $1 in
    --wheels) index=(--no-index --find-links "$(cd "$2" && pwd)"); shift 2 ;;
    -o) report=$2; shift 2 ;;
    *) echo "usage: tests/gpu/run.sh [--wheels DIR] [-o FILE]" >&2; exit 2 ;;
    esac
done
report=$(realpath -m "$report")

if ! nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU'; then
    echo "no GPU on this machine: nothing was checked and nothing was measured"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
"$python" -m venv --without-pip "$work/venv"
# The new environment sees the packages of the interpreter (torch and its CUDA libraries take gigabytes).
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/inherited.pth"
install() { "$python" -m pip --python "$work/venv/bin/python" install -q "${index[@]}" "$@"; }
install "hatchling>=1.26,<2" editables
install --no-build-isolation -e ".[torch]" "pytest>=8.3,<10" "pytest-timeout>=2.3,<3" "scikit-learn>=1.5,<2"
python=$work/venv/bin/python
"$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.get_device_name())'

status=0
[ -e examples/digits/model.pt2 ] || "$python" examples/digits/make.py
# -W default: this check is not about deprecations in the versions of other packages on that machine.
GPU_REPORT=$report "$python" -m pytest -q -W default -p no:cacheprovider --timeout 180 tests/gpu || status=1
"$python" -m benchmarks.gpu -o "$report" || status=1
echo "report: $report"
exit $status

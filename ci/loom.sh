#!/usr/bin/env bash
# Explores every model with loom: ci/loom.sh [--deep] [NAME...]   (a NAME selects the tests that contain it)
# Prints a line per model and a total; takes some minutes on two cores. --deep allows one more preemption in every model, and takes hours.
set -euo pipefail
cd "$(dirname "$0")/.."

names=()
for word in "$@"; do
  case $word in
    --help) sed -n '2,3s/^# //p' "ci/$(basename "$0")"; exit 0 ;;
    --deep) export SKEP_MODEL_DEEPER=1 ;;
    -*) echo "loom.sh: unknown option $word (see --help)" >&2; exit 2 ;;
    *) names+=("$word") ;;
  esac
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" \
  cargo test --profile loom --test loom -- --nocapture "${names[@]}" 2>&1 | tee "$log" || status=$?
awk '
  /(^|\.\.\. )model / { models++; match($0, /kill points [0-9]+/); kills += substr($0, RSTART + 12, RLENGTH - 12)
              match($0, /executions [0-9]+/); runs += substr($0, RSTART + 11, RLENGTH - 11) }
  / \.\.\. FAILED$/ { failed++ }
  END { printf "models: %d, kill points: %d, executions: %d, failed: %d\n", models, kills, runs, failed }
' "$log"
exit "$status"

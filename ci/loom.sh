#!/usr/bin/env bash
# Explores every model with loom: ci/loom.sh [--deep] [NAME...]   (a NAME selects the tests that contain it)
# Prints a line per model and a total; takes some ten minutes on two cores. --deep allows one more preemption in every model, and takes hours.
set -euo pipefail
cd "$(dirname "$0")/.."

# What takes longest begins first, so that no core is idle at the end.
longest=(
  pipeline:: queue_leases::a_worn queue_leases::whoever semaphore::a_killed queue_sleep::close queue_sleep::the_end queue_sleep::a_producer
  biased::leaves arena::two_who_merge arena::a_killed_merger barrier::a_killed barrier::a_newcomer barrier::three queue_deaths:: once::
)

names=()
for word in "$@"; do
  case $word in
    --help) sed -n '2,3s/^# //p' "ci/$(basename "$0")"; exit 0 ;;
    --deep) export SKEP_MODEL_DEEPER=1 ;;
    -*) echo "loom.sh: unknown option $word (see --help)" >&2; exit 2 ;;
    *) names+=("$word") ;;
  esac
done
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" CARGO_TERM_COLOR=never
cargo test --profile loom --test loom --no-run 2>&1 | tee "$logs/.build"
binary=$(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' "$logs/.build")
"$binary" --list | sed -n 's/: test$//p' > "$logs/.all"
if [ ${#names[@]} -gt 0 ]; then
  printf '%s\n' "${names[@]}" | grep -F -f - "$logs/.all" > "$logs/.selected" || { echo "loom.sh: no model is named like that" >&2; exit 2; }
else
  mv "$logs/.all" "$logs/.selected"
fi

touch "$logs/.failed"
# explore TEST: in a process of its own, so that a failure costs no other test.
explore() {
  local status=0
  "$binary" --exact --nocapture "$1" > "$logs/$1" 2>&1 || status=$?
  grep -o 'model .*: kill points .*' "$logs/$1" || true
  if [ "$status" -ne 0 ]; then
    echo "$1" >> "$logs/.failed"
    printf 'test %s FAILED\n%s\n' "$1" "$(grep -v '^ *[0-9]*: \|^ *at ' "$logs/$1" | head -40)"
  fi
}
export -f explore
export binary logs
{
  printf '%s\n' "${longest[@]}" | while read -r name; do grep -F "$name" "$logs/.selected" || true; done
  cat "$logs/.selected"
} | awk '!seen[$0]++' | xargs -P "$(nproc)" -I TEST bash -c 'explore TEST' | tee "$logs/.models"

failed=$(wc -l < "$logs/.failed")
awk -v failed="$failed" '
  /^model / { models++; match($0, /kill points [0-9]+/); kills += substr($0, RSTART + 12, RLENGTH - 12)
              match($0, /executions [0-9]+/); runs += substr($0, RSTART + 11, RLENGTH - 11) }
  END { printf "models: %d, kill points: %d, executions: %d, failed: %d\n", models, kills, runs, failed }
' "$logs/.models"
[ "$failed" -eq 0 ]

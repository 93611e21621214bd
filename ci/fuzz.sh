#!/usr/bin/env bash
# Fuzzes every target for a while, on stable Rust: ci/fuzz.sh [--seconds N] [TARGET...]
# Needs a C++ compiler and cargo-fuzz; installs them if they are missing.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=60
targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    --help) sed -n '2,3s/^# //p' "../ci/$(basename "$0")"; exit 0 ;;
    -*) echo "fuzz.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd fuzz_targets && ls | sed 's/\.rs$//')

# Kills between the steps of a protocol are compiled in under this cfg alone.
export RUSTFLAGS="${RUSTFLAGS:-} --cfg skep_faults"

command -v g++ >/dev/null || { apt-get update -qq && apt-get install -y -qq g++; }
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz

findings=0
for target in "${targets[@]}"; do
  echo "fuzz $target: $seconds seconds"
  # New inputs stay out of the committed corpus; a finding is kept under artifacts/.
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  mkdir "$scratch/grown"
  found=none
  cargo fuzz run -s none "$target" "$scratch/grown" "corpus/$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$scratch/log" 2>&1 || found=one
  runs=$(grep -aoP 'number_of_executed_units: \K\d+' "$scratch/log" | tail -n 1 || true)
  if [ $found != none ]; then
    findings=$((findings + 1))
    tail -n 60 "$scratch/log"
  fi
  echo "fuzz $target: ${runs:-no} runs, findings: $found"
  rm -rf "$scratch"
done
[ $findings -eq 0 ]

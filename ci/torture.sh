#!/usr/bin/env bash
# Kills and stops processes on every primitive, at random moments and between the steps: ci/torture.sh [--seconds N] [NAME...]
# Prints each one's line of JSON; a run with a finding fails, and its seed is in the line. N is 3 by default. With --build it only builds.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=3
only_build=false
names=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    --build) only_build=true; shift ;;
    --help) sed -n '2,3s/^# //p' "ci/$(basename "$0")"; exit 0 ;;
    -*) echo "torture.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done

target=${CARGO_TARGET_DIR:-target}/torture
RUSTFLAGS="--cfg skep_faults ${RUSTFLAGS:-}" CARGO_TARGET_DIR=$target \
  cargo build --release --quiet --example torture
if "$only_build"; then exit 0; fi
torture=$target/release/examples/torture
# All that the program knows.
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(sed -n 's/.*Kind { name: "\([^"]*\)".*/\1/p' examples/torture/main.rs)

status=0
for name in "${names[@]}"; do
  "$torture" --primitive "$name" --seconds "$seconds" --json || status=1
done
[ "$status" -eq 0 ] && echo "torture: ok"
exit "$status"

#!/usr/bin/env bash
# Seeds each fault of tests/mutants/ into a scratch copy and expects the check that it names to catch it: ci/mutants.sh [NAME...]
# A NAME selects the patches that contain it. Takes some twenty minutes on two cores; a fault that survives is a missing check.
#
# A patch begins with a line that names its check, one of
#   # caught by: loom FILTER          a model (cargo test --test loom FILTER under --cfg loom)
#   # caught by: deep FILTER          the same with one more preemption (ci/loom.sh --deep)
#   # caught by: test FILE [FILTER]   a test of tests/FILE.rs
#   # caught by: unit FILTER          a unit test of skep-ipc
#   # caught by: fuzz TARGET          a fuzz target, within a minute, from its corpus
#   # caught by: torture PRIMITIVE    processes killed at any moment, for some seconds
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --help ]; then
  sed -n '2,11s/^# \{0,1\}//p' "ci/$(basename "$0")"
  exit 0
fi
limit=${LIMIT:-240} # seconds until a check that hangs counts as having noticed
patches=()
for patch in tests/mutants/*.patch; do
  name=$(basename "$patch" .patch)
  [ $# -eq 0 ] && patches+=("$PWD/$patch")
  for wanted in "$@"; do [[ $name == *$wanted* ]] && patches+=("$PWD/$patch") && break; done
done
[ ${#patches[@]} -gt 0 ] || { echo "mutants.sh: no patch is named like that" >&2; exit 2; }

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
scratch=$(mktemp -d)
trap 'rm -rf "$scratch" "$scratch.log"' EXIT
# What is tracked, as it is now, changes that are not committed included.
git ls-files -z | tar --null -T - -c | tar -x -C "$scratch"
cd "$scratch"
git init -q . && git add -A && git -c user.name=ci -c user.email=ci@localhost commit -qm base

# Unoptimised linking is what takes time here.
export CARGO_PROFILE_LOOM_LTO=off CARGO_PROFILE_LOOM_CODEGEN_UNITS=16 CARGO_TERM_COLOR=never

# check KIND WORDS...: builds, then runs the check. 100: it did not build.
check() {
  local kind=$1
  shift
  case $kind in
    loom)
      export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$target/loom
      cargo test -q --profile loom --test loom --no-run || return 100
      timeout "$limit" cargo test --profile loom --test loom "$@" -- --nocapture
      ;;
    deep) SKEP_MODEL_DEEPER=1 check loom "$@" ;;
    test)
      unset RUSTFLAGS
      export CARGO_TARGET_DIR=$target/std
      local file=$1
      shift
      cargo test -q --all-features --test "$file" --no-run || return 100
      timeout "$limit" cargo test --all-features --test "$file" "$@"
      ;;
    unit)
      unset RUSTFLAGS
      export CARGO_TARGET_DIR=$target/std
      cargo test -q -p skep-ipc --lib --no-run || return 100
      timeout "$limit" cargo test -p skep-ipc --lib "$@"
      ;;
    fuzz)
      unset RUSTFLAGS
      export CARGO_TARGET_DIR=$target/fuzz
      timeout "$limit" ci/fuzz.sh --seconds 60 "$1"
      ;;
    torture)
      unset RUSTFLAGS
      export CARGO_TARGET_DIR=$target
      ci/torture.sh --build || return 100
      timeout "$limit" ci/torture.sh --seconds 5 "$1"
      ;;
    *) echo "mutants.sh: no such check: $kind" >&2; return 100 ;;
  esac
}

caught=0
count=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  count=$((count + 1))
  read -r kind words < <(sed -n 's/^# caught by: //p;1q' "$patch") || true
  git checkout -q . && git clean -fdq
  if ! git apply "$patch"; then
    echo "mutant $name: its patch does not apply any more" >&2
    continue
  fi
  start=$SECONDS
  status=0
  log=$scratch.log
  # shellcheck disable=SC2086
  (check "$kind" $words) > "$log" 2>&1 || status=$?
  case $status in
    0) verdict="SURVIVED $kind $words" ;;
    100) verdict="does not build, so nothing was shown"; tail -20 "$log" >&2 ;;
    124) verdict="caught by $kind $words (it hung)"; caught=$((caught + 1)) ;;
    *) verdict="caught by $kind $words"; caught=$((caught + 1)) ;;
  esac
  rm -f "$log"
  printf 'mutant %s: %s, %d s\n' "$name" "$verdict" $((SECONDS - start))
done
echo "mutants: $count, caught: $caught"
[ "$count" -eq "$caught" ]

#!/usr/bin/env bash
# Seeds each fault of tests/mutants/ into a scratch copy and expects the check that it names to catch it: ci/mutants.sh [--jobs N] [NAME...]
# A NAME selects the patches that contain it. Takes under an hour on two cores; a fault that survives is a missing check.
#
# A patch begins with a line that names its check, one of
#   # caught by: loom FILTER          a model (cargo test --test loom FILTER under --cfg loom)
#   # caught by: deep FILTER          the same with one more preemption (ci/loom.sh --deep)
#   # caught by: test FILE [FILTER]   a test of tests/FILE.rs
#   # caught by: unit FILTER          a unit test of skep-ipc
#   # caught by: fuzz TARGET          a fuzz target, within a minute, from its corpus
#   # caught by: torture PRIMITIVE    processes killed at any moment, for some seconds
#
# N workers (as many as there are cores) have a copy and a target directory each, so that each rebuilds only what a patch touches.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
names=()
while [ $# -gt 0 ]; do
  case $1 in
    --help) sed -n '2,13s/^# \{0,1\}//p' "ci/$(basename "$0")"; exit 0 ;;
    --jobs) jobs=${2:?--jobs takes a number}; shift 2 ;;
    -*) echo "mutants.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done
limit=${LIMIT:-240} # seconds until a check that hangs counts as having noticed

selected() {
  [ ${#names[@]} -eq 0 ] && return
  local wanted
  for wanted in "${names[@]}"; do [[ $1 == *$wanted* ]] && return; done
  return 1
}
patches=()
for patch in tests/mutants/*.patch; do selected "$(basename "$patch" .patch)" && patches+=("$PWD/$patch"); done
[ ${#patches[@]} -gt 0 ] || { echo "mutants.sh: no patch is named like that" >&2; exit 2; }
[ "$jobs" -le ${#patches[@]} ] || jobs=${#patches[@]}

source=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT

# Unoptimised linking, and optimising what is built anew for each fault, would take most of the time. Only loom itself is worth it.
export CARGO_PROFILE_LOOM_LTO=off CARGO_PROFILE_LOOM_CODEGEN_UNITS=64 CARGO_PROFILE_LOOM_INCREMENTAL=true CARGO_PROFILE_LOOM_OPT_LEVEL=1
export CARGO_TERM_COLOR=never
models=(cargo --config 'profile.loom.package."*".opt-level=3' test --profile loom --test loom)

# Runs a command, at most until the limit, with a /dev/shm that no other worker sees, where that can be had.
bounded() {
  if unshare -m true 2> /dev/null; then
    unshare -m bash -c 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec timeout "$@"' bounded "$limit" "$@"
  else
    timeout "$limit" "$@"
  fi
}

# explored DEEPER FILTER: explores the models with ever more preemptions, since most faults need few, and the last one takes most of the time.
explored() {
  local most=$1 deeper
  shift
  for deeper in $((most - 2)) $((most - 1)) "$most"; do
    SKEP_MODEL_DEEPER=$deeper bounded "${models[@]}" "$@" -- --nocapture || return
  done
}

# check KIND WORDS...: builds, then runs the check. 100: it did not build (cargo itself says 101 of a failed test).
check() {
  local kind=$1
  shift
  unset RUSTFLAGS
  case $kind in
    loom | deep)
      export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$mine/loom
      "${models[@]}" -q --no-run || return 100
      explored "$([ "$kind" = deep ] && echo 1 || echo 0)" "$@"
      ;;
    test)
      export CARGO_TARGET_DIR=$mine/std
      local file=$1
      shift
      cargo test -q --all-features --test "$file" --no-run || return 100
      bounded cargo test --all-features --test "$file" "$@"
      ;;
    unit)
      export CARGO_TARGET_DIR=$mine/std
      cargo test -q -p skep-ipc --lib --no-run || return 100
      bounded cargo test -p skep-ipc --lib "$@"
      ;;
    fuzz)
      export CARGO_TARGET_DIR=$mine/fuzz
      bounded ci/fuzz.sh --seconds 60 "$1"
      ;;
    torture)
      export CARGO_TARGET_DIR=$mine
      ci/torture.sh --build || return 100
      bounded ci/torture.sh --seconds 5 "$1"
      ;;
    *) echo "mutants.sh: no such check: $kind" >&2; return 100 ;;
  esac
}

# The next patch that no worker has taken.
next() {
  (
    flock 9
    local n
    n=$(cat "$state/taken" 2> /dev/null || echo 0)
    [ "$n" -lt ${#patches[@]} ] || exit 1
    echo $((n + 1)) > "$state/taken"
    echo "${patches[n]}"
  ) 9> "$state/lock"
}

# Seeds a fault and says what came of it.
try() {
  local patch=$1 name kind words verdict status=0 start=$SECONDS
  name=$(basename "$patch" .patch)
  read -r kind words < <(sed -n 's/^# caught by: //p;1q' "$patch") || true
  git checkout -q . && git clean -fdq
  if git apply "$patch" 2> "$mine/log"; then
    # shellcheck disable=SC2086
    (check "$kind" $words) > "$mine/log" 2>&1 || status=$?
  else
    status=99
  fi
  case $status in
    0) verdict="SURVIVED $kind $words" ;;
    100) verdict="does not build, so nothing was shown"; tail -20 "$mine/log" >&2 ;;
    99) verdict="its patch does not apply any more" ;;
    124) verdict="caught by $kind $words (it hung)" ;;
    *) verdict="caught by $kind $words" ;;
  esac
  printf 'mutant %s: %s, %d s\n' "$name" "$verdict" $((SECONDS - start)) | tee -a "$state/verdicts"
}

# A worker, in a copy of what is tracked, as it is now, changes that are not committed included. The files are new, lest cargo take them for those of the last fault seeded there.
work() {
  local mine=$target/$1 patch
  rm -rf "$mine/tree" && mkdir -p "$mine/tree"
  git -C "$source" ls-files -z | (cd "$source" && tar --null -T - -c) | tar -x -m -C "$mine/tree"
  cd "$mine/tree"
  git init -q . && git add -A && git -c user.name=ci -c user.email=ci@localhost commit -qm base
  while patch=$(next); do try "$patch"; done
}

for ((n = 1; n <= jobs; n++)); do work "$n" & done
wait
caught=$(grep -c ': caught by ' "$state/verdicts" || true)
echo "mutants: ${#patches[@]}, caught: $caught"
[ "$caught" -eq ${#patches[@]} ] || { grep -v ': caught by ' "$state/verdicts" || true; exit 1; }

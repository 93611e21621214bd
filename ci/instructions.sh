#!/usr/bin/env bash
# Counts the instructions of the hot operations, and compares them with bench/instructions.txt: ci/instructions.sh [--update]
#
# A count that differs by more than 2 %, and by more than one instruction, is an error; --update writes the table anew. Installs valgrind where it can; where there is
# none, it says so and nothing is compared. Counts of another compiler than the table's are printed, and are no error.
#
# Exit code: 0 if all are alike or could not be compared, 1 if one is not, 2 for a wrong argument.
set -euo pipefail
cd "$(dirname "$0")/../bench"

case ${1:-} in
--help)
  sed -n '2,/^set/{/^#/s/^# \?//p}' "../ci/$(basename "$0")"
  exit 0
  ;;
--update | "") ;;
*)
  echo "instructions: unknown argument \"$1\"; --help tells which there are" >&2
  exit 2
  ;;
esac

if ! command -v valgrind >/dev/null &&
  ! { command -v apt-get >/dev/null && DEBIAN_FRONTEND=noninteractive nice apt-get install -qq --no-install-recommends valgrind >&2; }; then
  echo "instructions: there is no valgrind, and it cannot be installed: nothing is compared" >&2
  exit 0
fi

nice cargo build --quiet --release --bin instructions
instructions=${CARGO_TARGET_DIR:-target}/release/instructions
compiler=$(rustc --version | cut -d' ' -f1,2)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# TIMES of src/operations.rs.
times=200

"$instructions" | while read -r name; do
  if nice valgrind --quiet --tool=callgrind --callgrind-out-file="$scratch/out.%p" \
    --toggle-collect=skep_bench_counted "$instructions" "$name" >"$scratch/words" 2>&1; then
    # Processes that valgrind followed have counted nothing.
    total=$(sed -n 's/^\(summary\|totals\): //p' "$scratch"/out.* | sort -n | tail -n 1)
  # What valgrind cannot run, such as a pool, which it lacks a system call for, is stepped.
  elif ! total=$("$instructions" --stepped "$name" 2>"$scratch/words"); then
    echo "instructions: $name cannot be counted here: $(tail -n 1 "$scratch/words")" >&2
    continue
  fi
  awk -v name="$name" -v total="$total" -v times="$times" 'BEGIN { printf "%s\t%.1f\n", name, total / times }'
  rm -f "$scratch"/out.*
done >"$scratch/counts"

if [ "${1:-}" = --update ]; then
  {
    echo "# Instructions of the hot operations, by ci/instructions.sh --update; $compiler"
    cat "$scratch/counts"
  } >instructions.txt
  cat instructions.txt
  exit 0
fi

if ! grep -q "; $compiler\$" instructions.txt; then
  echo "instructions: the table is of another compiler than $compiler: differences are no error"
  lenient=1
fi
awk -F'\t' -v lenient="${lenient:-0}" '
  FNR == NR { if (!/^#/) was[$1] = $2; next }
  !($1 in was) { printf "%-36s %8s %8.1f not in the table\n", $1, "", $2; next }
  {
    off = $2 - was[$1]; size = off < 0 ? -off : off
    differs = size > 1 && size > 0.02 * was[$1]
    printf "%-36s %8.1f %8.1f %s\n", $1, was[$1], $2, differs ? "DIFFERS" : "as before"
    failed = failed || differs
  }
  END { exit failed && !lenient }' instructions.txt "$scratch/counts"

#!/usr/bin/env bash
# Runs the README's main job against the real sha256sum, once undisturbed and once with a worker killed; a small array_math; and the pipeline, whose stages are killed, against one process: ci/example.sh
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --help ]; then
  sed -n '2s/^# //p' "ci/$(basename "$0")"
  exit 0
fi
work=$(mktemp -d)
name=skep-example-$$
trap 'rm -rf "$work" /dev/shm/"$name" /dev/shm/"$name".*' EXIT
target=${CARGO_TARGET_DIR:-target}

cargo build --release --quiet --example checksum --example pipeline --example array_math
pipeline=$target/release/examples/pipeline
checksum=$target/release/examples/checksum
array_math=$target/release/examples/array_math

echo "example: /usr/share/doc, as sha256sum prints it"
find /usr/share/doc -type f -print0 | LC_ALL=C sort -z | xargs -0 -n 64 sha256sum > "$work/expected"
"$checksum" /usr/share/doc > "$work/printed"
cmp "$work/expected" "$work/printed"

echo "example: a worker is killed in the middle"
mkdir "$work/large"
for n in 1 2 3 4; do truncate -s 2G "$work/large/$n"; done
"$checksum" --workers 2 "$work/large" > "$work/printed" 2> "$work/report" &
main=$!
# The workers are the processes of the job that have a parent among its descendants; one is killed as soon as it reads a file.
worker=
while [ -z "$worker" ] && kill -0 "$main" 2>/dev/null; do
  for fd in /proc/[0-9]*/fd/*; do
    case $(readlink "$fd" 2>/dev/null || true) in
      "$work/large/"*) pid=${fd#/proc/}; pid=${pid%%/*}; [ "$pid" = "$main" ] || worker=$pid; break ;;
    esac
  done
done
[ -n "$worker" ] || { echo "example.sh: no worker was seen at work" >&2; exit 1; }
kill -9 "$worker"
wait "$main"
cat "$work/report" >&2
(cd / && find "$work/large" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | cmp - "$work/printed"
grep -Eq '1 (worker )?lost' "$work/report" || { echo "example.sh: the lost worker was not reported" >&2; exit 1; }

echo "example: array_math, which compares a pool's results with those of one thread"
"$array_math" --bytes 16M --workers 2
code=0
"$array_math" --bytes none 2> "$work/refused" || code=$?
[ "$code" = 2 ] || { echo "example.sh: wrong arguments gave exit code $code" >&2; exit 1; }

echo "example: the stages of a pipeline are killed, over and over"
"$pipeline" generate --bytes 400M "$work/log"
"$pipeline" sequential --json "$work/log" > "$work/expected"
"$pipeline" run --name "$name" --parsers 2 --block 64K --json "$work/log" > "$work/printed" 2> "$work/report" &
main=$!
# Ten times a second for as long as it runs, but for ten seconds at most: then it is left in peace.
for _ in {1..100}; do
  sleep 0.1
  [ -n "$(jobs -r)" ] || break
  children=$(cat "/proc/$main/task/$main/children" 2>/dev/null) || break
  read -ra stages <<< "$children"
  [ ${#stages[@]} -gt 0 ] || continue
  kill -9 "${stages[RANDOM % ${#stages[@]}]}" 2>/dev/null || true # it may have ended by itself
done
wait "$main" || { cat "$work/report" >&2; exit 1; }
cat "$work/report" >&2
cmp "$work/expected" "$work/printed"
grep -q 'killed and started again' "$work/report" || { echo "example.sh: no stage was killed" >&2; exit 1; }
if [ -e "/dev/shm/$name" ] || compgen -G "/dev/shm/$name.*"; then echo "example.sh: the pipeline has left its memory" >&2; exit 1; fi
echo "example: ok"

#!/bin/bash
# The commands of README's "A cluster in five minutes", on a smaller model, other ports and in a folder of their own:
# the job survives the node that is killed, and its bytes are those of one machine.
#   tests/cluster.sh VIVA SOURCE
set -euo pipefail
viva=$1 readme=$2/README.md
folder=$(mktemp -d)
jobs_of() { jobs -p 2> /dev/null; }
trap 'kill -9 $(jobs_of) 2> /dev/null; wait 2> /dev/null; rm -rf "$folder"' EXIT

mkdir "$folder/bin"
ln -s "$viva" "$folder/bin/viva"
PATH=$folder/bin:$PATH
port=$((20000 + RANDOM % 10000))
commands=$(awk '/^## A cluster in five minutes/ { on = 1 } on && /^```/ { if (inside) exit; inside = 1; next }
                inside' "$readme" \
  | sed "s#/tmp/try#$folder#g; s/127.0.0.1:4242/127.0.0.1:$port/g; s/127.0.0.1:4245/127.0.0.1:$((port + 3))/g
         s/--size 4GiB/--size 256MiB/; s/^sleep 1;/sleep 0.3;/")
for word in 'viva synth' 'viva node --listen' 'viva nodes' 'viva quantize' 'kill -9'; do
  grep -qF "$word" <<< "$commands" || { echo "README has no $word any more"; exit 1; }
done

await() { # the first answer of a node that has just been started
  for _ in {1..100}; do "$viva" nodes --nodes "$1" > /dev/null 2>&1 && return; sleep 0.1; done
  echo "no node at $1"
  exit 1
}
while IFS= read -r line; do
  case $line in
    'viva nodes'*) await "127.0.0.1:$port"; await "127.0.0.1:$((port + 3))" ;;
  esac
  eval "$line"
  case $line in
    'viva quantize'*) job=$! ;;
  esac
done <<< "$commands"
wait "$job"
! kill -0 "$VICTIM" 2> /dev/null || { echo "the node is not dead"; exit 1; }
viva quantize "$folder/model" -m nf4 -o "$folder/here" > /dev/null
diff -r "$folder/here" "$folder/nf4"

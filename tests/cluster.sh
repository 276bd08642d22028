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
         s/--size 4GiB/--size 1GiB/; s/^sleep 1;/under_way;/")
for word in 'viva synth' 'viva node --listen' 'viva nodes' 'viva quantize' 'kill -9'; do
  grep -qF "$word" <<< "$commands" || { echo "README has no $word any more"; exit 1; }
done

under_way() { # some of the job is durable
  for _ in {1..400}; do
    viva status "$folder/nf4" --json 2> /dev/null | grep -q '"shards_durable": *[1-9]' && return
    sleep 0.02
  done
  echo "nothing becomes durable"
  exit 1
}
while IFS= read -r line; do
  eval "$line"
  case $line in
    'viva quantize'*) job=$! ;;
    *'kill -9'*) kill -0 "$job" || { echo "the job was over before the node was killed"; exit 1; } ;;
  esac
done <<< "$commands"
wait "$job"
! kill -0 "$VICTIM" 2> /dev/null || { echo "the node is not dead"; exit 1; }
viva quantize "$folder/model" -m nf4 -o "$folder/here" > /dev/null
diff -r "$folder/here" "$folder/nf4"

#!/bin/bash
# The examples in conf/ say what the program understands, and are whole files of their kind.
#   tests/conf.sh VIVA SOURCE
set -euo pipefail
viva=$1 conf=$2/conf
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

known=$("$viva" node --help; "$viva" quantize --help)
for file in viva-node.service slurm.sh kubernetes.yaml; do
  # Flags of viva alone: the lines of other programs are left out.
  for flag in $(grep -vE '^#SBATCH|scontrol|srun bash|^#   sbatch|systemctl' "$conf/$file" \
                | grep -oE -- '(^|[ ,[])--[a-z][a-z-]*' | grep -oE -- '--[a-z-]+' | sort -u); do
    grep -qE -- "(^|[ ,])$flag([ ,]|$)" <<< "$known" || { echo "$file: viva has no $flag"; exit 1; }
  done
done

bash -n "$conf/slurm.sh"
if command -v shellcheck > /dev/null; then shellcheck "$conf/slurm.sh"; else echo "no shellcheck: skipped"; fi
if command -v systemd-analyze > /dev/null; then
  sed "s#/usr/local/bin/viva#$viva#; s/^User=viva/User=root/" "$conf/viva-node.service" \
    > "$folder/viva-node.service"
  systemd-analyze verify "$folder/viva-node.service"
else
  echo "no systemd-analyze: skipped"
fi
if python3 -c 'import yaml' 2> /dev/null; then
  python3 - "$conf/kubernetes.yaml" <<'END'
import sys, yaml
kinds = [each["kind"] for each in yaml.safe_load_all(open(sys.argv[1]))]
assert kinds == ["Service", "StatefulSet"], kinds
END
else
  echo "no PyYAML: skipped"
fi

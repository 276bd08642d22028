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

# Started as it stands there but for what lies on the machine it is written for, until it listens; told to
# leave, it does.
"$viva" certs "$folder/certs" node coordinator 127.0.0.2 127.0.0.3 > /dev/null
mkdir "$folder/models" "$folder/scratch"
at_home() {
  sed "s#/usr/local/bin/viva#$viva#; s#10\.0\.0\.2:4242#127.0.0.1:0#; s#\$(ADDRESS):4242#127.0.0.1:0#
    s#/etc/viva/tls#$folder/certs/node#; s#/models#$folder/models#; s#/scratch#$folder/scratch#"
}
starts_and_leaves() { # NAME COMMAND…
  local pid code=0
  : > "$folder/said" # now, not when the job comes to it: what the last one said would be taken for its word
  "${@:2}" > "$folder/said" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    grep -q listening "$folder/said" && break
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.1
  done
  grep -q listening "$folder/said" || code=1
  kill -TERM "$pid" 2> /dev/null || code=1
  wait "$pid" || code=$?
  [[ $code == 0 ]] || { echo "$1: its command does not start, or does not leave: $code"; cat "$folder/said"; exit 1; }
}

read -ra command < <(sed -n 's/^ExecStart=//p' "$conf/viva-node.service" | at_home)
starts_and_leaves viva-node.service "${command[@]}"
if command -v systemd-analyze > /dev/null; then
  sed "s#/usr/local/bin/viva#$viva#; s/^User=viva/User=root/" "$conf/viva-node.service" \
    > "$folder/viva-node.service"
  systemd-analyze verify "$folder/viva-node.service"
else
  echo "no systemd-analyze: skipped"
fi

# The job script runs whole, by stand-ins for Slurm: two hosts are two addresses of this machine.
bash -n "$conf/slurm.sh"
if command -v shellcheck > /dev/null; then shellcheck "$conf/slurm.sh"; else echo "no shellcheck: skipped"; fi
mkdir "$folder/bin"
ln -s "$viva" "$folder/bin/viva"
cat > "$folder/bin/srun" << 'END'
#!/bin/bash
trap 'kill $(jobs -p)' TERM
for host in $FAKE_HOSTS; do FAKE_HOST=$host "$@" & done
until wait; do :; done
END
printf '#!/bin/bash\necho "$FAKE_HOST"\n' > "$folder/bin/hostname"
printf '#!/bin/bash\n[[ $* == "show hostnames the-list" ]] && printf "%%s\\n" $FAKE_HOSTS\n' > "$folder/bin/scontrol"
chmod +x "$folder"/bin/*
"$viva" synth "$folder/models/a" --size 1MiB > /dev/null
"$viva" quantize "$folder/models/a" -m nf4 -o "$folder/models/here" --lanes 1 > /dev/null
sed "s/^port=4242$/port=$((20000 + RANDOM % 10000))/" "$conf/slurm.sh" > "$folder/slurm.sh"
PATH=$folder/bin:$PATH FAKE_HOSTS="127.0.0.2 127.0.0.3" SLURM_JOB_NODELIST=the-list \
  timeout 60 bash "$folder/slurm.sh" "$folder/models/a" "$folder/models/there" "$folder/certs" \
  > "$folder/said" 2>&1 || { echo "slurm.sh ended with $?"; cat "$folder/said"; exit 1; }
diff -r "$folder/models/here" "$folder/models/there"

if python3 -c 'import yaml' 2> /dev/null; then
  python3 - "$conf/kubernetes.yaml" > "$folder/command" <<'END'
import sys, yaml
service, nodes = yaml.safe_load_all(open(sys.argv[1]))
assert [service["kind"], nodes["kind"]] == ["Service", "StatefulSet"]
container, = nodes["spec"]["template"]["spec"]["containers"]
assert [each["name"] for each in container["env"]] == ["ADDRESS"]
print(*container["command"], sep="\n")
END
  mapfile -t command < <(at_home < "$folder/command")
  PATH=$folder/bin:$PATH starts_and_leaves kubernetes.yaml "${command[@]}"
else
  echo "no PyYAML: skipped"
fi

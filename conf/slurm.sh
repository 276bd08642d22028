#!/bin/bash
# Slurm: one node process on each machine of the allocation, one job over them, files on a shared file system.
#   sbatch conf/slurm.sh /shared/model /shared/model-nf4 /shared/certs
# Certificates: a folder for each host and one named coordinator, as `viva certs` lays them out.
#SBATCH --job-name=viva
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
set -euo pipefail
source=$1 output=$2 certs=$3
port=4242

srun bash -c "exec viva node --listen \$(hostname):$port --roots '$(dirname "$source"):$(dirname "$output")' \
  --tls '$certs'/\$(hostname)" &
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/\$/:$port/" | paste -sd,)

# Nodes that come up later, or again, are found while the job runs; the same command resumes.
viva quantize "$source" -m nf4 -o "$output" --nodes "$nodes" --shared-fs --tls "$certs/coordinator" \
  --node-timeout 600
kill %1
wait || true

#!/bin/bash
# A build on Slurm: Ray's head on the first node, a worker on each other one, the driver on the first.
#
#   sbatch slurm-job.sh
#
# SHARED is a folder that all nodes see at the same path. The same command goes on where a job that was killed or ran out
# of time stopped; --requeue has Slurm do that. Not run by us on Slurm: tests/test_cluster_examples.py checks its syntax
# and options.
#SBATCH --job-name=glmdata-build
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --mem=96G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
set -euo pipefail

SHARED=${SHARED:-/shared}
source "$SHARED/venv/bin/activate" # glmdata and Ray, the same for all nodes
export NUMBA_NUM_THREADS=1
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_AUTH_TOKEN # travels to the nodes with srun's environment, and is on no command line

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=6379
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):$port

srun --nodes=1 --ntasks=1 -w "$head" \
  ray start --head --port=$port --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false \
  --object-store-memory=100000000 --block &
sleep 15
for node in "${nodes[@]:1}"; do
  srun --nodes=1 --ntasks=1 -w "$node" \
    ray start --address="$address" --num-cpus="$SLURM_CPUS_PER_TASK" --object-store-memory=100000000 --block &
done
sleep 15

# In the background, so that Slurm's SIGTERM a minute before the end reaches this script, and by it the driver.
glmdata build --corpus "$SHARED/corpus" --out "$SHARED/builds/web-2026" --recipe glm --address "$address" &
driver=$!
trap 'kill -TERM $driver' TERM
wait $driver || wait $driver

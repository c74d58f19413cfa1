#!/bin/bash
# One training by torchrun on two hosts: network namespaces that see each other through a pair of virtual cables.
# two_hosts.sh ARGUMENTS OF gpstoken (fit … --trainer.num_nodes 2 --trainer.devices 1). Needs root and `ip`.
set -euo pipefail
name=gps$$
address=10.213.7
clean() {
    for host in 1 2; do ip netns del "$name-$host" 2>/dev/null || true; done
}
trap clean EXIT
for host in 1 2; do ip netns add "$name-$host"; done
ip link add "${name}a" netns "$name-1" type veth peer name "${name}b" netns "$name-2"
for pair in "1 a" "2 b"; do
    read -r host end <<<"$pair"
    ip -n "$name-$host" address add "$address.$host/24" dev "$name$end"
    ip -n "$name-$host" link set "$name$end" up
    ip -n "$name-$host" link set lo up
done
pids=()
for host in 1 2; do
    end=$([[ $host == 1 ]] && echo a || echo b)
    GLOO_SOCKET_IFNAME="$name$end" ip netns exec "$name-$host" python -m torch.distributed.run \
        --nnodes 2 --node-rank $((host - 1)) --nproc-per-node 1 --master-addr "$address.1" --master-port 29500 \
        -m gpstoken.cli "$@" &
    pids+=($!)
done
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit "$code"

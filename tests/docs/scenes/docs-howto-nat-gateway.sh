# Clients' network on the LAN, the servers' one on the heartbeats' wire, to which rs1 and rs2 get a cable.
before() {
    local n
    for n in 1 2; do
        mkdir -p "$work/nodes/lb$n"
        cat >"$work/nodes/lb$n/node.yaml" <<END
node: lb$n
role: $([ $n = 1 ] && echo primary || echo secondary)
interfaces: {wan: eth0, servers: eth1}
links:
  - {interface: eth0, local: 10.77.0.1$n, peer: 10.77.0.1$((3 - n))}
END
        printf 'heartbeat:\n  ping_nodes: [10.77.0.1]\n' >"$work/nodes/lb$n/cluster.yaml"
    done
}
scene() {
    local n
    on gw ip addr add 192.0.2.1/24 dev eth0
    for n in 1 2; do
        on lb$n sh -c "ip addr add 192.0.2.1$n/24 dev eth0; ip addr add 192.168.20.1$n/24 dev eth1"
        on switch sh -c "ip link add rs$n.eth2 type veth peer name eth2 && ip link set eth2 netns rs$n && ip link set rs$n.eth2 master hb up"
        on rs$n sh -c "ip link set eth2 up; ip addr add 192.168.20.2$n/24 dev eth2"
    done
}

# A service of layer 7 with servers that tell their names, on both nodes.
before() {
    local n
    for n in 1 2; do
        mkdir -p "$work/nodes/lb$n"
        cat >"$work/nodes/lb$n/cluster.yaml" <<'END'
heartbeat:
  ping_nodes: [10.77.0.1]
virtual_services:
  - label: web
    address: 10.77.0.210
    ports: 80
    method: proxy
    mode: http
    scheduler: roundrobin
    check: {type: connect, port: 8080, interval: 500ms, timeout: 500ms}
    real_servers:
      - {label: rs1, address: 10.77.0.21, port: 8080}
      - {label: rs2, address: 10.77.0.22, port: 8080}
END
    done
}
scene() {
    local host
    for host in rs1 rs2; do
        printf 'defaults\n  mode http\n  timeout client 5s\nfrontend all\n  bind :8080\n  http-request return status 200 content-type text/plain string "%s\\n"\n' \
            "$host" >"$work/$host.cfg"
        on "$host" haproxy -D -f "$work/$host.cfg"
    done
    until_done client 'for i in 1 2 3 4; do curl -s --max-time 2 http://10.77.0.210/; done | grep rs1'
}

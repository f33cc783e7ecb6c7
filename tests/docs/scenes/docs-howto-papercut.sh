# The guide's network on the lab's LAN; one application server is active, the other one waits.
scene() {
    local host status
    on lb1 ip addr add 172.24.11.34/24 dev eth0
    on lb2 ip addr add 172.24.11.35/24 dev eth0
    on client ip addr add 172.24.11.100/24 dev eth0
    for host in rs1 rs2; do
        status=200
        [ "$host" = rs1 ] || status=503
        cat >"$work/$host.cfg" <<END
defaults
  mode http
  timeout client 5s
frontend application
  bind :9191
  http-request return status $status content-type text/plain string "$host"
frontend rest
  bind :9192
  bind :9193
  bind :445
  bind :53
  bind :9163
  bind :9164
  http-request return status 200 content-type text/plain string "$host"
END
        on "$host" haproxy -D -f "$work/$host.cfg"
    done
    on rs1 sh -c 'ip addr add 172.24.11.36/24 dev eth0; ip addr add 172.24.11.39/24 dev eth0'
    on rs2 sh -c 'ip addr add 172.24.11.37/24 dev eth0; ip addr add 172.24.11.40/24 dev eth0'
}

# The guide's network on the lab's LAN.
scene() {
    local host
    on lb1 ip addr add 192.168.86.160/24 dev eth0
    on client ip addr add 192.168.86.100/24 dev eth0
    for host in rs1 rs2; do
        cat >"$work/$host.cfg" <<END
defaults
  mode http
  timeout client 5s
frontend all
  bind :443
  bind :9001
  http-request return status 200 content-type text/plain string "$host"
END
        on "$host" haproxy -D -f "$work/$host.cfg"
    done
    on rs1 ip addr add 192.168.86.50/24 dev eth0
    on rs2 ip addr add 192.168.86.51/24 dev eth0
}

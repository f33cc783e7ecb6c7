# The cable: two pseudo-terminals.
scene() {
    on gw sh -c 'setsid socat pty,raw,echo=0,link=/run/docs/tty1 pty,raw,echo=0,link=/run/docs/tty2 >/dev/null 2>&1 &'
    until_done gw 'test -e /run/docs/tty2'
}

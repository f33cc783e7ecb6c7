#!/usr/bin/env bash
# The first process of bed.sh's virtual machine, from when it sees the host's files: runs what $bed_scratch/job says.
# Port 1 of the serial card is for the exit code, 2 is standard output or the terminal, 3 standard error.
. "$bed_scratch/job"
[ -z "$share" ] || mount -t 9p -o trans=virtio,version=9p2000.L,cache=mmap,msize=512000 share "$share"

ports=(/dev/vport*p1)
port=${ports[0]%1}
if [ "$tty" = yes ]; then
    stty rows "${terminal_size% *}" cols "${terminal_size#* }" sane </dev/hvc0
    setsid --ctty --wait "${inside[@]}" </dev/hvc0 >/dev/hvc0 2>&1
    code=$?
else
    # Through pipes: a port can be opened once only, and COMMAND may want to open /dev/stderr.
    exec 3> >(exec cat >"${port}2")
    readers=($!)
    if [ "$streams" = 1 ]; then
        exec 4>&3
    else
        exec 4> >(exec cat 3>&- >"${port}3")
        readers+=($!)
    fi
    "${inside[@]}" </dev/null >&3 2>&4 3>&- 4>&-
    code=$?
    exec 3>&- 4>&-
    wait "${readers[@]}"
fi
echo "$code" >"${port}1"
sync
echo b >/proc/sysrq-trigger   # what was written to a port has left by then

#!/bin/busybox sh
# The first process of bed.sh's virtual machine: makes the host's files its own, read-only below a layer that is thrown
# away, and goes on with bed_guest.sh. $bed_scratch is from the kernel's command line. All that can be done here is done
# here: starting a program from the host's files costs ten times as much.
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
for module in /modules/*.ko; do insmod "$module"; done
# loose: what was read is kept; nobody changes files under a running test.
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 root /lower
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new

mkdir -p /dev/pts /dev/shm /dev/net /new/lib/modules
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mknod /dev/net/tun c 10 200   # its first use loads the module
ln -s /proc/self/fd /dev/fd
for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "/dev/${name%:*}"; done
mount -t sysfs sysfs /new/sys
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /new/run
mount -o bind "/new$(readlink "/new$bed_scratch/modules")" /new/lib/modules
mount -o move /dev /new/dev
mount -o move /proc /new/proc
hostname bed
exec switch_root /new /bin/bash "$bed_scratch/guest"

#!/bin/sh
# First process of the VM image: loads the virtio drivers, then does what the agent says on the virtio-serial port
# (edge/agent/vm/channel.ts has the words). It holds no address of its own, so one saved state serves every pod.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
for m in $(cat /modules/order); do insmod "/modules/$m.ko"; done
ip link set lo up
hostname guest
for i in 1 2 3 4 5 6 7 8 9 10; do
  port=$(ls /sys/class/virtio-ports 2>/dev/null | head -n 1)
  [ -n "$port" ] && break
  sleep 0.1
done
exec 3<>"/dev/$port"

# The server runs from the template on; it is told who and where it is when that is known or has changed, and keeps what it has in memory.
serve 80 /page.json &
server=$!
configure() { # address prefix gateway mac mtu name site epoch
  date -s "@$8" >/dev/null 2>&1
  hostname "$6"
  ip link set eth0 down
  ip addr flush dev eth0
  ip link set eth0 address "$4" mtu "$5"
  ip link set eth0 up
  ip addr add "$1/$2" dev eth0
  ip route add "$3" dev eth0 2>/dev/null
  ip route add default via "$3"
  printf '{"pod":"%s","site":"%s","kind":"vm"}\n' "$6" "$7" >/page.json
  kill -HUP "$server"
}
probe() { # number kind port path
  case $2 in
    http) serve get "$3" "$4" ;;
    *) nc -w 1 127.0.0.1 "$3" </dev/null >/dev/null 2>&1 ;;
  esac && echo "result $1 ok" >&3 || echo "result $1 failed" >&3
}
echo hello >&3
while :; do
  while read -r verb a b c d e f g h <&3; do
    case $verb in
      config) configure "$a" "$b" "$c" "$d" "$e" "$f" "$g" "$h"; echo configured >&3 ;;
      probe) probe "$a" "$b" "$c" "$d" & ;;
      poweroff) poweroff -f ;;
    esac
  done
  sleep 0.1
done

#!/bin/sh
# down.sh INTERFACE ADDRESS [...]: this host is not MASTER, the address must not be here.
# For carpproto run -d, and for ucarp -d. It also runs at the start, where the address may be left
# from before or, as a rule, is not there; so that is no failure.
#
# Where this host has no address of its own in the virtual address's subnet and several virtual
# ones, Linux removes all of them with the first, unless net.ipv4.conf.INTERFACE.promote_secondaries
# is 1.
set -eu

interface=$1
address=$2

# An interface that is gone has no address.
[ -e "/sys/class/net/$interface" ] || exit 0

# Not in a pipe, which would lose the exit status of ip(8).
found=$(ip -oneline address show dev "$interface" to "$address")
echo "$found" | while read -r _ _ _ one _; do
    if [ -n "$one" ]; then
        ip address delete "$one" dev "$interface"
    fi
done

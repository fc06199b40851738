#!/bin/sh
# down.sh INTERFACE ADDRESS [...]: this host is not MASTER, the address must not be here.
# For carpproto run -d, and for ucarp -d. It also runs at the start, where the address may be left
# from before or, as a rule, is not there; so that is no failure.
set -eu

interface=$1
address=$2

ip -oneline address show dev "$interface" to "$address" |
    while read -r _ _ _ found _; do
        ip address delete "$found" dev "$interface"
    done

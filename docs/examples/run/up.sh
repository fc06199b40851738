#!/bin/sh
# up.sh INTERFACE ADDRESS [...]: this host became MASTER, the address is to be here.
# For carpproto run -u, and for ucarp -u (which has IPv4 only).
set -eu

interface=$1
address=$2

case $address in
*:*)
    # Without duplicate address detection: the old MASTER may still have it, and the address has
    # to answer now. With preferred_lft 0 this host does not use it for connections of its own.
    exec ip -6 address replace "$address/${CARPPROTO_PREFIX_LENGTH:-128}" dev "$interface" \
        nodad preferred_lft 0
    ;;
*)
    exec ip -4 address replace "$address/${CARPPROTO_PREFIX_LENGTH:-32}" dev "$interface"
    ;;
esac

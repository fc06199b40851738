#!/bin/sh
# cloud-up.sh INTERFACE ADDRESS [...]: this host became MASTER in a cloud.
#
# MOVE is your provider's command that gives the address to this machine; it gets the address as
# its argument. It has to be one that may be repeated.
set -eu

interface=$1
address=$2
: "${MOVE:=/etc/carpproto/move-address}"

# On the interface first: it is of no use there until the cloud sends it here, and does no harm.
"${0%/*}/up.sh" "$interface" "$address"

tries=5
until "$MOVE" "$address"; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
        echo "cloud-up.sh: the cloud does not give $address to this machine" >&2
        exit 1
    fi
    sleep 1
done

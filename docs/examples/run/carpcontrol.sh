#!/bin/sh
# carpcontrol.sh VHID@INTERFACE STATE: as devd(8) on FreeBSD would call it upon a CARP event.
#
# Runs what is in /etc/carpproto/MASTER.d, BACKUP.d or INIT.d, in the order of the names, with the
# vhid and the interface as arguments. One that fails does not keep the others from running.
set -eu

if [ "$#" -lt 2 ]; then
    echo "usage: carpcontrol.sh VHID@INTERFACE MASTER|BACKUP|INIT" >&2
    exit 2
fi
group=$1
state=$2
vhid=${group%%@*}
interface=${group#*@}
directory=${CARPCONTROL_DIRECTORY:-/etc/carpproto}

case $vhid in
*[!0-9]*) vhid= ;;
esac
if [ -z "$vhid" ] || [ -z "$interface" ] || [ "$group" != "$vhid@$interface" ]; then
    echo "carpcontrol.sh: '$group' is not vhid@interface" >&2
    exit 2
fi
case $state in
MASTER | BACKUP | INIT) ;;
*)
    echo "carpcontrol.sh: there is no state '$state'" >&2
    exit 2
    ;;
esac

status=0
for program in "$directory/$state.d"/*; do
    if [ -f "$program" ] && [ -x "$program" ]; then
        "$program" "$vhid" "$interface" || {
            echo "carpcontrol.sh: $program failed for vhid $vhid on $interface" >&2
            status=1
        }
    fi
done
exit "$status"

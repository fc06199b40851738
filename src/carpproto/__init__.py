"""carpproto: CARP, the Common Address Redundancy Protocol, without sockets or clocks.

The core's public names. Bytes and time go in, values and actions come out.
"""

from carpproto.core.actions import (
    Action,
    AnnounceAddresses,
    DemotionChanged,
    PacketDropped,
    SendAdvertisement,
    StateChanged,
)
from carpproto.core.advertisement import Advertisement, decode, encode, pseudo_header
from carpproto.core.announcement import gratuitous_arp, neighbor_advertisement
from carpproto.core.authentication import Authenticator
from carpproto.core.config import VirtualHostConfig
from carpproto.core.errors import CarpError, ConfigError, DecodeError, Reason
from carpproto.core.events import (
    AddressAdded,
    AddressRemoved,
    AdvertisementReceived,
    DatagramReceived,
    DemotionAdjusted,
    Event,
    InterfaceChanged,
    LinkChanged,
    Reconfigured,
    SendFailed,
    SendSucceeded,
    SettingChanged,
    Shutdown,
    State,
    StateRequested,
    TimerExpired,
    VirtualHostAdded,
    VirtualHostRemoved,
)
from carpproto.core.frame import Packet, build, peel, peel_payload
from carpproto.core.node import Node
from carpproto.core.profile import (
    FREEBSD,
    FREEBSD_10,
    FREEBSD_12,
    FREEBSD_14,
    NETBSD,
    NETBSD_1120,
    OPENBSD,
    UCARP,
    Profile,
)
from carpproto.core.virtual_host import VirtualHost

__all__ = [
    "FREEBSD",
    "FREEBSD_10",
    "FREEBSD_12",
    "FREEBSD_14",
    "NETBSD",
    "NETBSD_1120",
    "OPENBSD",
    "UCARP",
    "Action",
    "AddressAdded",
    "AddressRemoved",
    "Advertisement",
    "AdvertisementReceived",
    "AnnounceAddresses",
    "Authenticator",
    "CarpError",
    "ConfigError",
    "DatagramReceived",
    "DecodeError",
    "DemotionAdjusted",
    "DemotionChanged",
    "Event",
    "InterfaceChanged",
    "LinkChanged",
    "Node",
    "Packet",
    "PacketDropped",
    "Profile",
    "Reason",
    "Reconfigured",
    "SendAdvertisement",
    "SendFailed",
    "SendSucceeded",
    "SettingChanged",
    "Shutdown",
    "State",
    "StateChanged",
    "StateRequested",
    "TimerExpired",
    "VirtualHost",
    "VirtualHostAdded",
    "VirtualHostConfig",
    "VirtualHostRemoved",
    "build",
    "decode",
    "encode",
    "gratuitous_arp",
    "neighbor_advertisement",
    "peel",
    "peel_payload",
    "pseudo_header",
]

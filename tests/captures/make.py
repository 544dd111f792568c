#!/usr/bin/env python3
"""Makes the captures beside it: what an office sends, plainly and oddly. Needs scapy 2.6 or newer; run it in this folder.

Addresses are of the documentation's networks; whoever plays a capture puts its own in their places.
"""

from scapy.all import (
    ARP, AH, DNS, DNSQR, ESP, GRE, ICMP, IP, SCTP, TCP, UDP, VXLAN, Dot1AD, Dot1Q, Ether, ICMPv6EchoRequest,
    ICMPv6PacketTooBig, IPOption, IPOption_NOP, IPOption_RR, IPOption_Timestamp, IPv6, IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, Raw, RouterAlert, SCTPChunkInit, fragment, fragment6,
    wrpcap, wrpcapng,
)

ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="192.0.2.5", dst="198.51.100.10", id=7)
V6 = IPv6(src="2001:db8:1::5", dst="2001:db8:2::10")
BOTH = [V4, V6]


def plain():
    """Services that offices have, allowed and forbidden ones, both families."""
    for ip in BOTH:
        for port in (22, 80, 443, 445, 1023, 1024, 3389, 5432, 8080, 65535):
            yield ETHERNET / ip / TCP(sport=40000, dport=port, flags="S", options=[("MSS", 1460), ("WScale", 7)])
            yield ETHERNET / ip / UDP(sport=40000, dport=port) / Raw(b"a question of some length")
        yield ETHERNET / ip / UDP(sport=5353, dport=53) / DNS(qd=DNSQR(qname="example.com"))
        for flags in ("A", "PA", "SA", "R", "RA", "FA", "SF", "SR", "FPU", "", "SEC"):
            yield ETHERNET / ip / TCP(sport=40000, dport=5432, flags=flags, seq=1, ack=1) / Raw(b"x" * 10)
        yield ETHERNET / ip / SCTP(sport=40000, dport=5432) / SCTPChunkInit()
        yield ETHERNET / ip / ESP(spi=1, data=b"\0" * 24)
        yield ETHERNET / ip / AH(nh=17, payloadlen=4, icv=b"\0" * 12) / UDP(sport=1, dport=5432) / Raw(b"behind AH")
    yield ETHERNET / V4 / ICMP() / Raw(b"ping")
    yield ETHERNET / V4 / ICMP(type=3, code=4) / V4 / UDP(sport=5432, dport=40000)
    yield ETHERNET / V6 / ICMPv6EchoRequest(data=b"ping")
    yield ETHERNET / V6 / ICMPv6PacketTooBig() / V6 / UDP(sport=5432, dport=40000)
    yield ETHERNET / ARP(psrc="192.0.2.5", pdst="198.51.100.10")


def link():
    """Tags of every kind and depth, and bytes behind the packet."""
    for ip in BOTH:
        for port in (80, 5432):
            udp = ip / UDP(sport=40000, dport=port) / Raw(b"under a tag")
            for depth in range(1, 9):
                tags = Dot1Q(vlan=0)
                for level in range(1, depth):
                    tags = tags / (Dot1AD(vlan=0) if level % 2 else Dot1Q(vlan=0))
                yield ETHERNET / tags / udp
            yield ETHERNET / Dot1Q(vlan=7) / udp
            yield ETHERNET / Dot1AD(vlan=0) / Dot1Q(vlan=0) / udp
            yield ETHERNET / udp / Raw(b"\0" * 40)
            yield Ether(src=ETHERNET.src, dst="ff:ff:ff:ff:ff:ff") / udp
            yield Ether(src=ETHERNET.src, dst="01:00:5e:00:00:01") / udp


def options():
    """IPv4 with options of every length, IPv6 with extension headers in any order."""
    for port in (80, 5432):
        tcp = TCP(sport=40000, dport=port, flags="S")
        for length in range(1, 11):
            yield ETHERNET / IP(src=V4.src, dst=V4.dst, options=[IPOption_NOP()] * (4 * length)) / tcp
        yield ETHERNET / IP(src=V4.src, dst=V4.dst, options=[IPOption_RR(routers=["0.0.0.0"] * 3)]) / tcp
        yield ETHERNET / IP(src=V4.src, dst=V4.dst, options=[IPOption_Timestamp()]) / tcp
        yield ETHERNET / IP(src=V4.src, dst=V4.dst, options=[IPOption(b"\x83\x07\x04\xc6\x33\x64\x0a\x00")]) / tcp
        padded = [PadN(optdata=b"\0" * 4)]
        for chain in (
            IPv6ExtHdrHopByHop(options=padded),
            IPv6ExtHdrHopByHop(options=[RouterAlert()]),
            IPv6ExtHdrDestOpt(options=padded),
            IPv6ExtHdrHopByHop(options=padded) / IPv6ExtHdrDestOpt(options=padded),
            IPv6ExtHdrDestOpt(options=padded) / IPv6ExtHdrDestOpt(options=padded),
            IPv6ExtHdrDestOpt(options=padded) / IPv6ExtHdrHopByHop(options=padded),
            IPv6ExtHdrRouting(type=0, segleft=0, addresses=["2001:db8:3::1"]),
            IPv6ExtHdrRouting(type=0, segleft=1, addresses=["2001:db8:3::1"]),
            IPv6ExtHdrRouting(type=2, segleft=1, addresses=["2001:db8:3::1"]),
            IPv6ExtHdrFragment(id=5),
            IPv6ExtHdrFragment(id=5) / IPv6ExtHdrDestOpt(options=padded),
            IPv6ExtHdrDestOpt(options=padded) / IPv6ExtHdrFragment(id=5) / IPv6ExtHdrDestOpt(options=padded),
        ):
            yield ETHERNET / V6 / chain / tcp


def fragments():
    """Datagrams in pieces, of every small size."""
    for port in (80, 5432):
        for size in (8, 16, 24, 400):
            yield from (ETHERNET / part for part in fragment(V4 / UDP(sport=40000, dport=port) / Raw(b"p" * 900), size))
            yield from (ETHERNET / part for part in fragment(V4 / TCP(sport=40000, dport=port, flags="S") / Raw(b""), size))
        whole = V6 / IPv6ExtHdrFragment(id=9) / UDP(sport=40000, dport=port) / Raw(b"p" * 1200)
        for size in (100, 600):
            yield from (ETHERNET / part for part in fragment6(whole, size))


def tunnels():
    """Packets inside of packets."""
    inner = IP(src="192.0.2.99", dst="198.51.100.99") / UDP(sport=1, dport=5432) / Raw(b"inside")
    inner6 = V6 / UDP(sport=1, dport=5432) / Raw(b"inside")
    for outer in BOTH:
        yield ETHERNET / outer / GRE() / inner
        yield ETHERNET / outer / inner
        yield ETHERNET / outer / inner6
        yield ETHERNET / outer / UDP(sport=4789, dport=4789) / VXLAN(vni=7) / ETHERNET / inner


wrpcap("plain.pcap", [bytes(one) for one in plain()], linktype=1)
wrpcapng("link.pcapng", list(link()))
wrpcap("options.pcap", [bytes(one) for one in options()], linktype=1, endianness=">")
wrpcap("fragments.pcap", [bytes(one) for one in fragments()], linktype=1, nano=True)
wrpcap("tunnels.pcap", [bytes(one)[14:] for one in tunnels()], linktype=101)

"""A name server that knows one name: one_name.py NAME ADDRESS. NXDOMAIN for all others (RFC 1035)."""

import socket
import sys

name = b"".join(bytes([len(label)]) + label.encode() for label in sys.argv[1].split(".")) + b"\0"
address = socket.inet_aton(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 53))
    print("ready", flush=True)
    while True:
        query, client = server.recvfrom(512)
        end = query.index(b"\0", 12) + 1
        asked, kind = query[12:end], query[end : end + 2]
        known = asked.lower() == name
        found = known and kind == b"\0\x01"
        flags = b"\x81\x80" if known else b"\x81\x83"
        head = query[:2] + flags + b"\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + address if found else b""
        server.sendto(head + query[12 : end + 4] + answer, client)

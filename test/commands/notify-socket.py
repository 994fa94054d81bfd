"""Stands for systemd's end of NOTIFY_SOCKET: a unix datagram socket at the given path, each message a line of JSON."""

import array
import json
import os
import socket
import sys

receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print(json.dumps("bound"), flush=True)
while True:
    text, ancillary, _, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(64))
    # BARRIER=1 brings a descriptor, and is answered by closing it.
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            for descriptor in array.array("i", data):
                os.close(descriptor)
    print(json.dumps(text.decode()), flush=True)

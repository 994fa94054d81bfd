"""Types keys into a shell at a terminal of its own, and prints all that comes back: type-keys.py KEYS COMMAND [ARGS ...]"""

import os
import pty
import select
import sys
import time

keys, *command = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)


def read(quiet, most):
    """Until nothing has come for `quiet` seconds, or the shell is gone."""
    end = time.monotonic() + most
    while time.monotonic() < end:
        if not select.select([terminal], [], [], quiet)[0]:
            return True
        try:
            part = os.read(terminal, 65536)
        except OSError:
            return False
        if not part:
            return False
        sys.stdout.buffer.write(part)
        sys.stdout.flush()
    return True


alive = read(1.0, 20)
# What follows a TAB is typed when its completion is there, as a person does.
for part in keys.replace("\t", "\t\0").split("\0"):
    os.write(terminal, part.encode())
    alive = alive and read(0.5, 10)
os.write(terminal, b"exit\r")
read(1.0, 10)

"""Runs a command at a terminal of its own: at-terminal.py COLUMNS ROWS COMMAND [ARGS ...]

What the command writes comes out; each line that comes in is a JSON array: ["type", "q"] or ["resize", columns, rows].
Ends with the command's exit code, or 128 and its signal.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios

columns, rows, *command = sys.argv[1:]


def resize(terminal, columns, rows):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


ready, go = os.pipe()
child, terminal = pty.fork()
if child == 0:
    # Its size is there before it looks.
    os.read(ready, 1)
    os.execvp(command[0], command)
resize(terminal, columns, rows)
os.write(go, b"x")

waiting = b""
inputs = [terminal, 0]
while True:
    ready_now = select.select(inputs, [], [])[0]
    if 0 in ready_now:
        part = os.read(0, 65536)
        if not part:
            inputs.remove(0)
        *lines, waiting = (waiting + part).split(b"\n")
        for what, *arguments in map(json.loads, lines):
            if what == "resize":
                resize(terminal, *arguments)
            else:
                os.write(terminal, arguments[0].encode())
    if terminal in ready_now:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        os.write(1, part)

status = os.waitpid(child, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status) % 256 if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))

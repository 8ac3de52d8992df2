"""Where processes run: start, adopt, stop; files and ports.

What belongs here: processes, folders and sockets of one machine. What does not: what the process is for; the files'
contents come from `valkey`.
"""

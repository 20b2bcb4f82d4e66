"""A Postgres of a test's own on loopback, from the distribution's binaries; it refuses to run as root, so root lends it a user."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "only-for-this-test"


def binaries() -> Path | None:
    """The newest installed server, if there is one that this user can start."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found or (os.geteuid() == 0 and (shutil.which("setpriv") is None or not _has_postgres_user())):
        return None
    return found[-1].parent


def _has_postgres_user() -> bool:
    return any(entry.pw_name == "postgres" for entry in pwd.getpwall())


@contextmanager
def running(bin_folder: Path, port: int = 0) -> Iterator[dict[str, str]]:
    """Start a server, on a free port unless one is named; the environment that docker/dagster.yaml reads, with its port as PGPORT."""
    as_postgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="seedmill-postgres-") as name:
        base, port = Path(name), port or _free_port()
        (base / "password").write_text(PASSWORD)
        base.chmod(0o755)
        if as_postgres:
            shutil.chown(base, "postgres")
        data = str(base / "data")
        init = ["-D", data, "-U", "dagster", f"--pwfile={base / 'password'}", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*as_postgres, str(bin_folder / "initdb"), *init], check=True, capture_output=True, cwd=base)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {base} -c fsync=off -c shared_buffers=32MB"
        control = [*as_postgres, str(bin_folder / "pg_ctl"), "-D", data, "-w"]
        subprocess.run([*control, "-l", str(base / "log"), "-o", options, "start"], check=True, cwd=base, stdout=subprocess.DEVNULL)
        try:
            yield {
                "DAGSTER_POSTGRES_HOST": "127.0.0.1",
                "DAGSTER_POSTGRES_USER": "dagster",
                "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
                "DAGSTER_POSTGRES_DB": "postgres",
                "PGPORT": str(port),
            }
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=base)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

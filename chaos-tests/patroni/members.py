"""Runs PostgreSQL members under Patroni, and the other processes of a test."""

import contextlib
import glob
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

PATIENCE_SECONDS = 180


class NotTried(Exception):
    """A program is missing or does not start: the result says nothing about Turnpike."""


# -- required programs and ports -----------------------------------------------------------------------------


def postgres_bin():
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    versions = sorted(os.path.dirname(path) for path in found)
    if versions:
        return max(versions, key=lambda path: float(path.split("/")[4]))
    return os.path.dirname(shutil.which("initdb") or "")


def missing(through):
    wanted = {"patroni": shutil.which("patroni"), "etcd-server": shutil.which("etcd"), "postgresql": postgres_bin()}
    if through == "haproxy":
        wanted["haproxy"] = shutil.which("haproxy")
    return [package for package, found in wanted.items() if not found]


def require(through, install):
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"
    packages = missing(through)
    if packages and install:
        # The update comes first, because a new machine has no lists of packages.
        for apt in (["update", "-q"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(["apt-get", *apt], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
            if done.returncode != 0:
                raise NotTried(f"apt-get {' '.join(apt)} ended with {done.returncode}")
        packages = missing(through)
    if packages:
        raise NotTried(f"missing: {', '.join(packages)} (--install installs them, or apt-get install)")


def free_ports(count):
    """Free ports below the ephemeral range, so that a killed member can bind its port again."""
    ports = []
    for port in random.sample(range(10_000, 30_000), 1_000):
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise NotTried("there are no free ports")


def until(what, condition, seconds=PATIENCE_SECONDS, failed=NotTried):
    """Waits until `condition` returns a true value, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise failed(f"{what}: not within {seconds} s")


# -- processes ----------------------------------------------------------------------------------


class Processes:
    """The processes of a test. `end` ends all of them."""

    def __init__(self, directory):
        self.directory = directory
        self.running = {}
        self.data = []
        self.as_postgres = []
        if os.geteuid() == 0:
            self.as_postgres = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]

    def start(self, name, command, as_postgres=False, env=None, **streams):
        # The child ends when this process is killed, but not at Ctrl-C, which this process handles.
        tied = ["setpriv", "--pdeathsig", "KILL", *(self.as_postgres if as_postgres else []), "--", *command]
        log = open(os.path.join(self.directory, f"{name}.log"), "ab")
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, **streams}
        self.running[name] = subprocess.Popen(
            tied, stderr=log, cwd=self.directory, start_new_session=True,
            env={**os.environ, **(env or {})}, **streams)
        return self.running[name]

    def check(self, *names):
        for name in names:
            if self.running[name].poll() is not None:
                raise NotTried(f"{name} ended by itself: {self.tail(name)}")

    def tail(self, name, lines=15):
        with open(os.path.join(self.directory, f"{name}.log"), errors="replace") as log:
            return "\n".join(log.read().splitlines()[-lines:])

    def kill_member(self, name, data):
        """Simulates a power cut: kills Patroni and every process of its server."""
        pids = server_pids(data)
        patroni = self.running.pop(name)
        # Kill the whole session, so that a running child such as pg_rewind is killed too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(patroni.pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        patroni.wait()

    def end(self):
        for data in self.data:
            name = os.path.basename(data)
            if name in self.running:
                self.kill_member(name, data)
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def server_pids(data):
    """The process ids of the server over `data`: the server first, then its children."""
    try:
        with open(os.path.join(data, "postmaster.pid")) as file:
            postmaster = int(file.readline())
        if os.readlink(f"/proc/{postmaster}/cwd") != data:
            return []
    except (OSError, ValueError):
        return []
    pids = [postmaster]
    for status in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            with open(status) as file:
                fields = file.read().rpartition(")")[2].split()
            if int(fields[1]) == postmaster:
                pids.append(int(status.split("/")[2]))
    return pids


# -- PostgreSQL under Patroni -------------------------------------------------------------------


class Member:
    def __init__(self, name, directory, ports):
        self.name = name
        self.data = os.path.join(directory, name)
        self.port, self.rest = ports

    def ask(self, path):
        """(status, body) of an answer of Patroni's REST interface; (0, "") without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/{path}", timeout=1) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, b""
        except OSError:
            return 0, b""

    def is_primary(self):
        return self.ask("primary")[0] == 200


class Database:
    """The database under test: etcd, and the PostgreSQL members."""

    def __init__(self, processes, options):
        self.processes, self.options = processes, options
        directory = processes.directory
        self.client, self.peer, self.balancer, *ports = free_ports(3 + 2 * options.members)
        self.members = [
            Member(f"pg{n + 1}", directory, ports[2 * n:2 * n + 2]) for n in range(options.members)]
        processes.data = [member.data for member in self.members]

    def start(self):
        etcd, peer = f"http://127.0.0.1:{self.client}", f"http://127.0.0.1:{self.peer}"
        self.processes.start("etcd", [
            "etcd", "--name", "one", "--data-dir", os.path.join(self.processes.directory, "etcd"),
            "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"one={peer}"], as_postgres=True)
        for member in self.members:
            self.start_member(member)
        if self.options.through == "haproxy":
            self.start_balancer()
        until("a primary with a synchronous standby", self.is_whole)
        host = ["-h", "127.0.0.1", "-p", str(self.primary().port), "-U", "postgres"]
        subprocess.run([os.path.join(postgres_bin(), "createdb"), *host, "turnpike"], check=True)

    def start_member(self, member):
        path = os.path.join(self.processes.directory, f"{member.name}.json")
        with open(path, "w") as file:
            json.dump(self.settings(member), file, indent=1)
        os.chmod(path, 0o644)
        self.processes.start(member.name, ["patroni", path], as_postgres=True)

    def settings(self, member):
        ttl = self.options.ttl
        # Patroni requires loop_wait + 2 * retry_timeout <= ttl.
        return {
            "scope": "turnpike",
            "name": member.name,
            "restapi": {"listen": f"127.0.0.1:{member.rest}", "connect_address": f"127.0.0.1:{member.rest}"},
            "etcd3": {"hosts": f"127.0.0.1:{self.client}"},
            "bootstrap": {
                "dcs": {
                    "ttl": ttl,
                    "loop_wait": max(1, ttl // 5),
                    "retry_timeout": max(1, (ttl - max(1, ttl // 5)) // 2),
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {
                            "max_connections": 200, "shared_buffers": "64MB", "synchronous_commit": "on",
                            # Nothing commits until a standby follows the new primary, so it
                            # looks for the primary more often than every five seconds.
                            "wal_retrieve_retry_interval": "500ms"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{member.port}",
                "connect_address": f"127.0.0.1:{member.port}",
                "data_dir": member.data,
                "bin_dir": postgres_bin(),
                "pgpass": os.path.join(self.processes.directory, f"{member.name}.pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "replicator"},
                    "rewind": {"username": "rewinder"},
                },
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust",
                           "host replication all 127.0.0.1/32 trust"],
                "parameters": {"unix_socket_directories": self.processes.directory},
            },
        }

    def start_balancer(self):
        servers = "\n".join(
            f"    server {m.name} 127.0.0.1:{m.port} check port {m.rest}" for m in self.members)
        path = os.path.join(self.processes.directory, "haproxy.cfg")
        with open(path, "w") as file:
            file.write(f"""\
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
listen primary
    bind 127.0.0.1:{self.balancer}
    option httpchk GET /primary
    http-check expect status 200
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
""")
        os.chmod(path, 0o644)
        self.processes.start("haproxy", ["haproxy", "-db", "-f", path], as_postgres=True)

    def address(self):
        if self.options.through == "haproxy":
            return f"postgres://postgres@127.0.0.1:{self.balancer}/turnpike"
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"postgres://postgres@{hosts}/turnpike?target_session_attrs=read-write"

    def primary(self):
        return next((member for member in self.members if member.is_primary()), None)

    def commits(self, member):
        """Whether a primary has the synchronous standby that every commit waits for."""
        asked = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        host = ["-h", "127.0.0.1", "-p", str(member.port), "-U", "postgres"]
        said = subprocess.run([os.path.join(postgres_bin(), "psql"), *host, "-XAtc", asked],
                              capture_output=True, text=True)
        return said.returncode == 0 and said.stdout.strip() != "0"

    def is_whole(self):
        """Whether every member runs, one as the primary, one as a synchronous standby."""
        self.processes.check("etcd", *(member.name for member in self.members))
        primary = self.primary()
        if not primary:
            return False
        status, body = primary.ask("cluster")
        members = json.loads(body)["members"] if status == 200 else []
        roles = [member["role"] for member in members if member["state"] in ("running", "streaming")]
        return len(roles) == len(self.members) and "leader" in roles and "sync_standby" in roles

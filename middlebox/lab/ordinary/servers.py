"""The servers that are programs of their own, each with the smallest honest configuration.

Rule of this file: a server listens on the addresses of its kinds and on nothing else.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from middlebox.lab.hosts import Host, LabError, Process
from middlebox.lab.ordinary.certificates import SHAPES, site_name
from middlebox.lab.ordinary.plan import server_address

_START_SECONDS = 40.0
BROWSER_PORTS = (443, 8443, 9443, 10443)
"A browser keeps one HTTP/2 connection for each site and port, so several ports make several connections."
OPENSSL_PORTS = {
    4433: ("chain0",),
    4434: ("chain2",),
    4435: ("chain3", "-tls1_2"),
    4436: ("chain5", "-num_tickets", "0"),
}
DTLS_PORTS = tuple(range(4444, 4452))
"openssl s_server talks DTLS to one client at a time."
SSH_KINDS = ("ssh-command", "ssh-copy", "rsync-ssh", "git-ssh", "ssh-paramiko", "ssh-asyncssh")
_MAILBOXES, _LETTERS = 4, 6
_NOBODY = 65534
"Dovecot refuses to keep mail for root."
_SECURE_MAIL = 900
"The ports above are those of TLS from the start."
MAIL_PORTS = {"imap": 143, "imap-starttls": 143, "imaps": 993, "pop3": 110, "pop3-starttls": 110, "pop3s": 995}


@dataclass(slots=True)
class Servers:
    """Everything that answers.

    Args:
        host: Where it runs.
        python: A Python with the libraries that the servers need.
    """

    host: Host
    python: str

    @property
    def _root(self) -> Path:
        return self.host.outside

    def start(self) -> list[Process]:
        """Start all of it; return when all of it listens."""
        started = [
            self._nginx(), self._caddy(), self._dnsmasq(), self._unbound(), self._chrony(), self._redis(),
            self._memcached(), self._postgresql(), self._mariadb(), self._mosquitto(), self._dovecot(), self._sshd(),
            self._rsync(), self._git(), self._turn(), *self._openssl(),
        ]  # fmt: skip
        python = self.host.start("serve", self.python, "-m", "middlebox.lab.ordinary.serve", str(self._root))
        python.wait_ready((self._root / "serving").exists, "the Python servers", _START_SECONDS)
        for port in (443, 5432, 3306, 1883, 143, 22, 853, 6379, 11211, 873, 9418, 21, 25):
            self._wait(port, started)
        return [*started, python]

    def _wait(self, port: int, started: list[Process]) -> None:
        end = time.monotonic() + _START_SECONDS
        while not self.host.listens("tcp", port):
            for process in started:
                if not process.is_running():
                    raise LabError(f"{process.name} ended: {process.last_words()}")
            if time.monotonic() > end:
                raise LabError(f"nothing listens on port {port}")
            self.host.patience.cancelled.wait(0.1)
            if self.host.patience.cancelled.is_set():
                raise LabError("interrupted")

    def _write(self, name: str, text: str) -> str:
        path = self._root / "conf" / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def _directory(self, name: str, owner: str | None = None) -> Path:
        path = self._root / "data" / name
        path.mkdir(parents=True, exist_ok=True)
        if owner:
            shutil.chown(path, owner, owner)
        return path

    # --- the web ---------------------------------------------------------------------------------

    def _nginx(self) -> Process:
        data, keys = self._directory("nginx"), self._root / "keys"
        page = f"root {self._root}/www; location / {{ if ($request_method = POST) {{ return 200 ok; }} }}"
        listens = [
            ("web-curl-http1", "443 ssl"), ("web-curl-http2", "443 ssl http2"), ("web-curl-tls12", "443 ssl http2"),
            ("web-wget", "443 ssl"), ("web-python", "443 ssl http2"), ("web-python-tls12", "443 ssl"),
            ("web-httpx-http2", "443 ssl http2"),
            *(("chromium-http1", f"{port} ssl") for port in BROWSER_PORTS),
            *(("chromium-http2", f"{port} ssl http2") for port in BROWSER_PORTS),
        ]  # fmt: skip
        sites = ""
        for index in range(len(SHAPES)):
            sites += "server { " + "".join(f"listen {server_address(k)}:{options}; " for k, options in listens)
            sites += f"server_name {site_name(index)} *.{site_name(index)}; "
            sites += (
                f"ssl_certificate {keys}/chain{index}.crt; ssl_certificate_key {keys}/chain{index}.key; {page} }}\n"
            )
        clear = "".join(f"listen {server_address(kind)}:80; " for kind in ("web-curl-clear", "web-clear", "web-wget"))
        paths = "".join(
            f"{kind}_temp_path {data}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = self._write(
            "nginx",
            f"daemon off; user root; worker_processes 2; pid {data}/pid; error_log stderr;\n"
            f"events {{ worker_connections 4000; }}\nhttp {{ access_log off; default_type text/html; {paths}\n"
            f"client_max_body_size 20m; server_names_hash_bucket_size 128; keepalive_timeout 20;\n"
            f"ssl_session_cache shared:s:4m; ssl_protocols TLSv1.2 TLSv1.3; types {{ image/svg+xml svg; }}\n"
            f"{sites}server {{ {clear} {page} }}\n}}\n",
        )
        return self.host.start("nginx", "nginx", "-e", "stderr", "-c", configuration)

    def _caddy(self) -> Process:
        data = self._directory("caddy")
        text = f"{{\n admin off\n auto_https off\n storage file_system {data}\n default_sni {site_name(0)}\n}}\n"
        for index in range(len(SHAPES)):
            name, keys = site_name(index), f"{self._root}/keys/chain{index}"
            text += (
                f"https://{name}, https://*.{name} {{\n bind {server_address('web-curl-caddy')}\n"
                f" tls {keys}.crt {keys}.key\n @p method POST\n respond @p ok 200\n"
                f" file_server {{\n root {self._root}/www\n }}\n}}\n"
            )
        configuration = self._write("Caddyfile", text)
        return self.host.start(
            "caddy", "env", f"HOME={data}", "GOMAXPROCS=1", "caddy", "run", "--config", configuration,
            "--adapter", "caddyfile",
        )  # fmt: skip

    def _openssl(self) -> list[Process]:
        started = []
        for port, (chain, *options) in OPENSSL_PORTS.items():
            started.append(
                self.host.start(
                    f"openssl-{port}", "openssl", "s_server", "-quiet", "-WWW", *options,
                    "-accept", f"{server_address('tls-openssl')}:{port}",
                    "-cert_chain", f"{self._root}/keys/{chain}.crt", "-cert", f"{self._root}/keys/{chain}.crt",
                    "-key", f"{self._root}/keys/{chain}.key",
                )
            )  # fmt: skip
        for number, port in enumerate(DTLS_PORTS):
            chain = f"{self._root}/keys/chain{number % 3}"
            started.append(
                self.host.start(
                    f"dtls-{port}", "openssl", "s_server", "-quiet", "-dtls", "-mtu", "1400", "-rev",
                    "-accept", f"{server_address('dtls-openssl')}:{port}",
                    "-cert", f"{chain}.crt", "-key", f"{chain}.key",
                )
            )  # fmt: skip
        return started

    # --- names, time -------------------------------------------------------------------------------

    def _dnsmasq(self) -> Process:
        addresses = [server_address("dns-udp"), server_address("dns-tcp")]
        return self.host.start(
            "dnsmasq", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
            "--bind-interfaces", "--user=root", "--group=root", "--pid-file=", "--log-facility=-",
            *(f"--listen-address={address}" for address in addresses), "--except-interface=lo",
            "--address=/example/203.0.113.7", "--address=/example/2001:db8:7::7", "--mx-host=example,mail.example,10",
            "--txt-record=example,v=spf1 -all and some more text to make this answer longer than a name needs",
            "--dns-forward-max=1000", "--local=/test/",
        )  # fmt: skip

    def _unbound(self) -> Process:
        data = self._directory("unbound")
        keys = f"{self._root}/keys/chain4"
        configuration = self._write(
            "unbound",
            f'server:\n do-daemonize: no\n username: ""\n chroot: ""\n directory: "{data}"\n pidfile: "{data}/pid"\n'
            f' use-syslog: no\n logfile: ""\n interface: {server_address("dns-tls")}@853\n tls-port: 853\n'
            f' tls-service-key: "{keys}.key"\n tls-service-pem: "{keys}.crt"\n access-control: 192.0.2.0/24 allow\n'
            f' do-ip6: no\n module-config: "iterator"\n local-zone: "example." redirect\n'
            f' local-data: "example. 300 IN A 203.0.113.7"\n local-data: "example. 300 IN AAAA 2001:db8:7::7"\n'
            f" incoming-num-tcp: 200\nremote-control:\n control-enable: no\n",
        )
        return self.host.start("unbound", "unbound", "-d", "-p", "-c", configuration)

    def _chrony(self) -> Process:
        data = self._directory("chrony")
        configuration = self._write(
            "chrony",
            f"local stratum 3\nallow 192.0.2.0/24\nbindaddress {server_address('ntp')}\ncmdport 0\n"
            f"pidfile {data}/pid\ndriftfile {data}/drift\nuser root\nratelimit interval -4\n",
        )
        return self.host.start("chrony", "chronyd", "-x", "-d", "-f", configuration)

    def _turn(self) -> Process:
        data = self._directory("turn")
        address = server_address("stun")
        return self.host.start(
            "turn", "turnserver", "-n", f"--listening-ip={address}", f"--relay-ip={address}", "--no-tls", "--no-dtls",
            "--no-cli", "--log-file=stdout", f"--pidfile={data}/pid", "--stun-only", f"--userdb={data}/db",
        )  # fmt: skip

    # --- databases, queues ---------------------------------------------------------------------------

    def _redis(self) -> Process:
        data = self._directory("redis")
        return self.host.start(
            "redis", "redis-server", "--bind", server_address("redis"), "--port", "6379", "--save", "",
            "--protected-mode", "no", "--dir", str(data),
        )  # fmt: skip

    def _memcached(self) -> Process:
        return self.host.start(
            "memcached", "memcached", "-u", "root", "-l", server_address("memcached"), "-p", "11211", "-U", "0"
        )

    def _postgresql(self) -> Process:
        data = self._directory("postgresql", "postgres")
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        cluster = data / "cluster"
        self.host.must(
            "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", f"{programs}/initdb",
            "--no-sync", "-D", str(cluster), "-A", "trust", seconds=60,
        )  # fmt: skip
        for end in ("key", "crt"):
            copy = cluster / f"server.{end}"
            shutil.copy(self._root / "keys" / f"chain3.{end}", copy)
            shutil.chown(copy, "postgres", "postgres")
            copy.chmod(0o600)
        with (cluster / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 192.0.2.0/24 trust\n")
        listens = ",".join(server_address(kind) for kind in ("postgresql", "postgresql-tls"))
        settings = {
            "listen_addresses": listens, "unix_socket_directories": str(data), "ssl": "on", "fsync": "off",
            "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "max_connections": "200",
        }  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self.host.start(
            "postgresql", "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups",
            f"{programs}/postgres", "-D", str(cluster), *options,
        )  # fmt: skip

    def _mariadb(self) -> Process:
        data = self._directory("mariadb", "mysql")
        self.host.must(
            "mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db",
            "--auth-root-authentication-method=normal", seconds=90,
        )  # fmt: skip
        for end in ("key", "crt"):
            copy = data / f"server.{end}"
            shutil.copy(self._root / "keys" / f"chain2.{end}", copy)
            shutil.chown(copy, "mysql", "mysql")
        start = self._write(
            "mariadb.sql",
            "CREATE USER lab@'%' IDENTIFIED BY 'secret';\nGRANT ALL ON *.* TO lab@'%';\nCREATE DATABASE lab;\n",
        )
        for path in (data.parents[1], data.parent, Path(start).parent):
            path.chmod(0o755)
        return self.host.start(
            "mariadb", "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={data}/sock",
            f"--pid-file={data}/pid", f"--bind-address={server_address('mariadb')},{server_address('mariadb-tls')}",
            "--port=3306", "--skip-name-resolve", f"--ssl-cert={data}/server.crt", f"--ssl-key={data}/server.key",
            f"--init-file={start}", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip

    def _mosquitto(self) -> Process:
        keys = f"{self._root}/keys/chain6"
        configuration = self._write(
            "mosquitto",
            f"user root\nallow_anonymous true\nlistener 1883 {server_address('mqtt')}\n"
            f"listener 8883 {server_address('mqtt-tls')}\ncertfile {keys}.crt\nkeyfile {keys}.key\n",
        )
        return self.host.start("mosquitto", "mosquitto", "-c", configuration)

    # --- mail, files -----------------------------------------------------------------------------------

    def _dovecot(self) -> Process:
        data, mail, keys = self._directory("dovecot"), self._directory("mail"), f"{self._root}/keys/chain1"
        pages = sorted((self._root / "www" / "t").iterdir(), key=lambda path: int(path.name))
        for box in range(_MAILBOXES):
            for name in ("cur", "new", "tmp"):
                (mail / f"user{box}" / name).mkdir(parents=True, exist_ok=True)
            for number in range(_LETTERS):
                text = pages[20 + 9 * number].read_bytes()
                lines = [b"From: a@example", b"To: b@example", b"Subject: %d" % number, b""]
                lines += [text[start : start + 76] for start in range(0, len(text), 76)]
                (mail / f"user{box}" / "cur" / f"{number}.lab:2,S").write_bytes(b"\r\n".join(lines) + b"\r\n")
        self.host.must("chown", "-R", f"{_NOBODY}:{_NOBODY}", str(mail))
        boxes = [f"user{box}:{{PLAIN}}secret:{_NOBODY}:{_NOBODY}::{mail}/user{box}\n" for box in range(_MAILBOXES)]
        users = self._write("dovecot-users", "".join(boxes))
        listeners = {"imap": "", "pop3": ""}
        for kind, port in MAIL_PORTS.items():
            listeners[kind[:4]] += (
                f" inet_listener {kind.replace('-', '')}-lab {{\n  address = {server_address(kind)}\n"
                f"  port = {port}\n  ssl = {'yes' if port > _SECURE_MAIL else 'no'}\n }}\n"
            )
        services = "".join(
            f"service {name}-login {{\n service_count = 0\n process_min_avail = 1\n"
            f" inet_listener {name} {{\n  port = 0\n }}\n inet_listener {name}s {{\n  port = 0\n }}\n{own}}}\n"
            f"service {name} {{\n service_count = 200\n}}\n"
            for name, own in listeners.items()
        )
        configuration = self._write(
            "dovecot",
            f"base_dir = {data}/run\nstate_dir = {data}/state\nlog_path = /dev/stderr\nprotocols = imap pop3\n"
            f"ssl = yes\nssl_cert = <{keys}.crt\nssl_key = <{keys}.key\ndisable_plaintext_auth = no\n"
            f"mail_location = maildir:~\ndefault_login_user = dovenull\ndefault_internal_user = dovecot\n"
            f"passdb {{\n driver = passwd-file\n args = scheme=PLAIN username_format=%u {users}\n}}\n"
            f"userdb {{\n driver = passwd-file\n args = username_format=%u {users}\n}}\n"
            f"mail_max_userip_connections = 1000\nservice auth {{\n client_limit = 4000\n}}\n{services}",
        )
        return self.host.start("dovecot", "dovecot", "-F", "-c", configuration)

    def _sshd(self) -> Process:
        keys = self._root / "keys"
        listens = "".join(f"ListenAddress {server_address(kind)}\n" for kind in SSH_KINDS)
        configuration = self._write(
            "sshd",
            f"Port 22\n{listens}HostKey {keys}/ssh_host\nPidFile none\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {keys}/authorized_keys\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
            "MaxStartups 200:30:300\nPrintMotd no\nUseDNS no\n",
        )
        self.host.must("mkdir", "-p", "/run/sshd")
        # Whoever logs in gets an empty home and a plain shell: root's own start-up files may do anything, or hang.
        # Each program on a host has a mount namespace of its own, so only sshd sees this.
        home = self._directory("home")
        accounts = Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
        accounts = [f"root:x:0:0:root:{home}:/bin/sh" if line.startswith("root:") else line for line in accounts]
        passwd = self._write("passwd", "\n".join(accounts) + "\n")
        command = 'mount --bind "$0" /etc/passwd && exec "$@"'
        return self.host.start("sshd", "sh", "-c", command, passwd, "/usr/sbin/sshd", "-D", "-e", "-f", configuration)

    def _rsync(self) -> Process:
        configuration = self._write(
            "rsyncd",
            f"uid = root\ngid = root\nuse chroot = no\n[files]\n path = {self._root}/files\n",
        )
        return self.host.start(
            "rsync", "rsync", "--daemon", "--no-detach", f"--address={server_address('rsync')}", "--port=873",
            f"--config={configuration}",
        )  # fmt: skip

    def _git(self) -> Process:
        base = self._root / "git"
        base.mkdir(exist_ok=True)
        work = self._directory("git-work")
        git = ("git", "-c", "user.name=lab", "-c", "user.email=lab@example", "-c", "safe.directory=*", "-C", str(work))
        self.host.must(*git, "init", "-q")
        for number in range(12):
            source = sorted((self._root / "www" / "t").iterdir())[number * 7 % 90]
            shutil.copy(source, work / f"file{number}.txt")
            self.host.must(*git, "add", ".")
            self.host.must(*git, "commit", "-q", "-m", f"change {number}")
        self.host.must("git", "clone", "-q", "--bare", str(work), str(base / "project.git"))
        (base / "project.git" / "git-daemon-export-ok").touch()
        return self.host.start(
            "git", "git", "-c", "safe.directory=*", "daemon", "--reuseaddr", f"--listen={server_address('git')}",
            f"--base-path={base}", str(base),
        )  # fmt: skip

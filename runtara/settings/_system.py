"""The settings of a system: one row per setting, in one struct."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from runtara.settings._values import PREFIX, Count, Milliseconds, Port, Span

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: PREFIX + name.upper()):
    """The settings of a system. The environment variable of each is ``RUNTARA_`` and the name in capitals."""

    data_dir: str = ".data"
    """Folder for everything that is kept; made if missing, readable by its owner only."""
    database_url: str | None = None
    """Where instances are kept: ``sqlite:///path``, ``postgresql://user@host/database`` or ``memory://``; by default
    runtara.db in the data folder."""
    database_timeout_ms: Milliseconds = 10_000
    """How long a PostgreSQL server may take over a statement, or to let us in."""
    database_may_lose_work: bool = False
    """Whether a PostgreSQL server may be used that acknowledges what is not on stable storage."""
    heartbeat_timeout_ms: Milliseconds = 120_000
    """An attempt that was not heard of for this long has gone silent."""
    heartbeat_interval_ms: Milliseconds = 30_000
    """How often a program says that it is alive while nothing else is said."""
    state_max_bytes: Count = 64 * 1024 * 1024
    """Largest checkpoint state, input, output or payload."""
    commit_max_saves: Count = 8_192
    """Most changes that one transaction may hold."""
    commit_max_bytes: Count = 32 * 1024 * 1024
    """Payload bytes after which a transaction takes no further change."""
    resident_cells: Count = 10_000
    """Most instances kept in memory while nothing happens to them."""
    cell_idle_ms: Milliseconds = 60_000
    """An instance that nobody spoke to for this long leaves memory."""
    cell_mailbox: Count = 256
    """Most unanswered messages to one instance."""
    pending_signals_max: Count = 1_000
    """Most unacknowledged signals of one instance."""
    readers: Count = 2
    """Connections that read beside the writer."""
    wake_window: Count = 20_000
    """Most future wake-ups held in memory; later ones are read again from the store in time."""
    wakes_in_flight: Count = 256
    """Most wake-ups being stored at the same time."""
    clock_check_ms: Milliseconds = 5_000
    """Longest wait before the wall clock is looked at again, because it may have been set."""
    park_after_ms: Milliseconds = 60_000
    """A program that this host launched and that sleeps or waits for longer leaves memory and is launched again."""
    request_timeout_ms: Milliseconds = 30_000
    """How long an answer may take before the asker is told that it is late."""
    stop_grace_ms: Milliseconds = 10_000
    """How long each part of the system may take to stop."""

    # What can be seen of it
    log_format: Literal["text", "json"] = "text"
    """How a server writes its log: ``text`` for people, or ``json``, one object a line."""
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    """From which level on it is written; by default ``info`` by a server, ``warning`` by ``runtara run``."""
    otel: bool = False
    """Whether calls are traced by OpenTelemetry (``pip install 'runtara[otel]'``); where to, its own variables say
    (``OTEL_EXPORTER_OTLP_ENDPOINT`` …)."""

    # One of several nodes on one PostgreSQL database
    node_name: str | None = None
    """By which the others know this node; by default one that is made once and kept in the data folder."""
    node_lease_ms: Annotated[int, Meta(ge=1_000)] = 10_000
    """How long a node may be out of touch with the database before others take over what it runs."""

    # A host that launches programs
    programs: str = "."
    """Folders, separated by colons, below which the programs lie that may be launched."""
    max_concurrent_instances: Count = 32
    """Most launched programs at a time; the others wait their turn, each tenant in its own row."""
    max_concurrent_per_tenant: Span = 0
    """Most launched programs of one tenant at a time, on each host; 0 for as many as there are places."""
    max_auto_restarts: Span = 5
    """How often in a row a program may crash without having saved a checkpoint before its instance fails."""
    relaunch_after_ms: Milliseconds = 100
    """Wait before a crashed program is launched again; doubled with each crash in a row."""
    relaunch_after_max_ms: Milliseconds = 60_000
    """The longest such wait."""
    cancel_grace_ms: Milliseconds = 10_000
    """How long a launched program may take to act upon a cancel, or to leave once it has ended, until it is stopped."""
    kill_grace_ms: Milliseconds = 5_000
    """How long a stopped program may take after SIGTERM before it is killed."""
    shutdown_grace_ms: Milliseconds = 60_000
    """How long programs may take to come to rest when the host goes down."""
    program_log_bytes: Count = 16 * 1024 * 1024
    """How much of each program's stdout, and of its stderr, is kept; the oldest goes first."""
    program_files: Count = 4_096
    """Most files that a launched program may have open (RLIMIT_NOFILE)."""
    program_memory_bytes: Span = 0
    """Largest address space of a launched program (RLIMIT_AS); 0 for no limit."""
    program_file_bytes: Span = 0
    """Largest file that a launched program may write (RLIMIT_FSIZE); 0 for no limit."""
    images_dir: str | None = None
    """Folder for what is pushed; by default images in the data folder. Several nodes may share one."""
    image_max_bytes: Count = 4 * 1024 * 1024 * 1024
    """Largest file that may be pushed."""
    keep_instances_ms: Span = 0
    """How long finished instances are kept; 0 for ever."""
    keep_runs_ms: Span = 7 * 86_400_000
    """How long the folder of a run, its logs included, is kept after its instance has finished; 0 for ever."""
    keep_images_ms: Span = 86_400_000
    """How long what nothing uses of deleted images, and of old versions, is kept; 0 for ever."""
    keep_image_versions: Count = 10
    """How many of the newest versions of an image are kept, beside those in use."""
    upkeep_every_ms: Milliseconds = 3_600_000
    """How often a host looks for what is not to be kept any longer."""
    runner: Literal["native", "ray", "kubernetes", "fake"] = "native"
    """Where programs run: ``native`` as processes of this machine, ``ray`` on the nodes of a Ray cluster,
    ``kubernetes`` as Jobs, for which a program is the reference of an image, ``fake`` nowhere: a program is a line of
    what would happen, to try things out."""
    container_runtime: str | None = None
    """Program that runs containers, a name or a path; by default ``runc``, or else ``crun``."""
    container_network: Literal["none", "pasta", "slirp4netns", "host"] = "none"
    """What a container sees of the network, if its image does not say: ``none`` only this server, through its own
    loopback; ``pasta`` and ``slirp4netns`` the outside too, through the program of that name; ``host`` all of it."""
    container_cpus: Annotated[float, Meta(ge=0)] = 0
    """Cores for a container that does not say what it needs; 0 for no limit."""
    container_memory_bytes: Span = 512 * 1024 * 1024
    """Memory for a container, or a WASI module, that does not say what it needs; 0 for no limit."""
    container_pids: Span = 256
    """Most processes and threads of a container that does not say what it needs; 0 for no limit."""
    container_tmp_bytes: Count = 64 * 1024 * 1024
    """Size of each of /tmp and /dev/shm in a container, which count as its memory."""
    container_first_uid: Count = 1_879_048_192
    """First of the 65,536 ids of users and groups that containers get of a host that runs as root; nobody else's."""
    container_allow_old_runtime: bool = False
    """Whether ``runtara doctor`` accepts an old version of runc, because its distribution has repaired it."""
    ray_address: str = "auto"
    """The Ray cluster, as host:port, or ``auto`` for that of this machine."""
    ray_cpus: Annotated[float, Meta(gt=0)] = 1.0
    """Cores for a program on Ray that does not say what it needs."""
    ray_namespace: str = "runtara"
    """Ray's namespace for what is launched."""
    ray_placement_timeout_ms: Milliseconds = 60_000
    """In which Ray must find a place for a program; then the launch has failed, and is tried again later."""
    kubernetes_namespace: str = "default"
    """Where Jobs, their Pods and their Secrets live."""
    kubernetes_images: str = ""
    """What the images that may be launched begin with, with commas between; empty for all."""
    kubernetes_service_account: str | None = None
    """Under which programs run, without its token; by default that of the namespace."""
    kubernetes_pull_secrets: str = ""
    """Names of the Secrets with which images are fetched, with commas between."""
    kubernetes_config_file: str | None = None
    """File that says where the cluster is; by default the Pod that the server itself runs in knows."""
    kubernetes_context: str | None = None
    """Which context of that file."""
    kubernetes_cpus: Annotated[float, Meta(gt=0)] = 1.0
    """Cores for a program that does not say what it needs."""
    kubernetes_memory_bytes: Count = 512 * 1024 * 1024
    """Memory for a program that does not say what it needs."""
    kubernetes_place_timeout_ms: Milliseconds = 600_000
    """How long a program may wait for a place; then the launch has failed, and is tried again later."""

    # The QUIC door
    host: str = "127.0.0.1"
    """Address to listen at, an IPv4 or IPv6 address or a host name; other than loopback, credentials are required."""
    quic_port: Port = 8001
    """UDP port of the QUIC door; 0 for any free one."""
    core_addr: str | None = None
    """Address that launched programs connect to, as host:port; by default the one that is listened at."""
    require_credentials: bool | None = None
    """Whether every client must show a credential; by default only where the door is open beyond loopback. There it
    cannot be false."""
    client_ca_file: str | None = None
    """Certificate authorities, PEM, whose clients may show a certificate in place of a key: one with the name
    ``runtara://tenant/ID`` (an operator) or ``runtara://tenant/ID/ROLE`` as its subject alternative name."""
    tls_cert_file: str | None = None
    """Certificate chain of the server, PEM; by default one made once and kept in the data folder."""
    tls_key_file: str | None = None
    """Its private key, PEM, readable by its owner only."""
    token_lifetime_ms: Milliseconds = 7 * 86_400_000
    """How long the credential of a launched program is good; renewed while the program is connected."""
    quic_idle_timeout_ms: Milliseconds = 120_000
    """A connection on which nothing moved for so long is closed."""
    quic_max_bi_streams: Count = 64
    """Most streams that a client may have open at once on one connection."""
    quic_max_incoming: Count = 1_024
    """Most connections in the middle of their handshake; a quarter of it, and newcomers must prove their address."""
    quic_max_handlers: Count = 10_000
    """Most connections."""
    quic_max_per_address: Count = 256
    """Most connections from one address, unless it is loopback."""
    quic_handshake_timeout_ms: Milliseconds = 5_000
    """How long a handshake, and then the greeting, may take."""
    quic_calls_in_flight: Count = 256
    """Most unanswered calls of one connection; what comes on top waits in the network."""
    quic_frames_max_bytes: Count = 128 * 1024 * 1024
    """Memory for large frames while they arrive, all connections together."""
    quic_frame_timeout_ms: Milliseconds = 60_000
    """How long a frame that has begun may take to arrive."""
    quic_udp_recv_buffer: Span = 2 * 1024 * 1024
    """Receive buffer of the UDP socket; 0 for the system's own measure."""
    quic_udp_send_buffer: Span = 2 * 1024 * 1024
    """Send buffer of the UDP socket; 0 for the system's own measure."""

    # The HTTP door
    env_http_port: Port = 8002
    """TCP port of the HTTP door (REST, WebSocket, console), on the same address; 0 for any free one."""
    http_tls: bool | None = None
    """Whether the HTTP door speaks TLS, with the QUIC door's certificate; by default only where it is open beyond
    loopback."""
    http_hosts: str = ""
    """Names under which the HTTP door may be asked for beside its own address and localhost, with commas between;
    others are refused, so that no web page can reach it under a name of its own."""
    http_origins: str = ""
    """Origins whose pages may use the HTTP door beside its own console, as https://host:port, with commas between."""
    http_max_connections: Count = 8_192
    """Most connections of the HTTP door."""
    http_max_per_address: Count = 256
    """Most connections from one address, unless it is loopback."""
    http_head_timeout_ms: Milliseconds = 5_000
    """How long the head of a request may take to arrive."""
    http_idle_timeout_ms: Milliseconds = 15_000
    """A connection without a request for so long is closed."""
    http_write_timeout_ms: Milliseconds = 20_000
    """How long a client may take to read what is sent to it before it is let go."""
    live_queue: Count = 1_000
    """Most messages that wait for a client that watches; one that falls further behind is told so and closed."""

    @property
    def store_url(self) -> str:
        """The database URL, or the default one inside the data folder."""
        return self.database_url or f"sqlite:///{Path(self.data_dir) / 'runtara.db'}"

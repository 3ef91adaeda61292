//! The shape of the configuration file: every table and key there is, none of them checked beyond its type.
//!
//! `config/perigee.toml` explains them; a test fails when one is missing there.

use std::time::Duration;

use super::{
    document::{List, Memory, Named, Size, Table, Tables, parse, shape},
    problem::{At, Problems},
};

shape! {
    /// The document.
    File {
        node: At<String>,
        workers: At<u64>,
        trusted_proxies: List<String>,
        forwarded_header: At<String>,
        server_names: List<String>,
        public_url: At<String>,
        listener: Tables<ListenerFile>,
        backend: Named<BackendFile>,
        user: Named<UserFile>,
        allow: Tables<AllowFile>,
        deny: Tables<DenyFile>,
        limits: LimitsFile,
        timeouts: TimeoutsFile,
        legacy: LegacyFile,
        log: LogFile,
    }
}

shape! {
    /// `[[listener]]`.
    ListenerFile {
        address: At<String>,
        tls_certificate: At<String>,
        tls_key: At<String>,
        proxy_protocol: At<bool>,
        webtransport: At<bool>,
        reuse_port: At<bool>,
    }
}

shape! {
    /// `[backend.NAME]`.
    BackendFile {
        address: At<String>,
        tls: At<bool>,
        tls_name: At<String>,
        tls_ca: At<String>,
        networks: List<String>,
        connect_timeout: At<Duration>,
        resume_timeout: At<Duration>,
        tcp_keepalive: At<Duration>,
        service: At<String>,
        tunnel: At<bool>,
        page: At<bool>,
        irc: Table<IrcFile>,
        xmpp: Table<XmppFile>,
        stomp: Table<StompFile>,
    }
}

shape! {
    /// `[backend.NAME.stomp]`.
    StompFile {
        login: At<String>,
        passcode_file: At<String>,
        host: At<String>,
        heart_beat: At<Duration>,
        login_timeout: At<Duration>,
        max_body: At<Size>,
    }
}

shape! {
    /// `[user.NAME]`.
    UserFile {
        token_sha256: At<String>,
    }
}

shape! {
    /// `[backend.NAME.irc]`.
    IrcFile {
        gateway_name: At<String>,
        webirc_password_file: At<String>,
        resolve_hosts: At<bool>,
        fallback_encoding: At<String>,
        write_fallback: At<bool>,
        max_line: At<Size>,
        flood_burst: At<u64>,
        flood_interval: At<Duration>,
        registration_timeout: At<Duration>,
        quit_message: At<String>,
    }
}

shape! {
    /// `[backend.NAME.xmpp]`.
    XmppFile {
        domain: At<String>,
        starttls: At<String>,
        max_stanza: At<Size>,
    }
}

shape! {
    /// `[[allow]]`.
    AllowFile {
        name: At<String>,
        origins: List<String>,
        to: List<String>,
        networks: List<String>,
        clients: List<String>,
        users: List<String>,
        expose_errors: At<bool>,
        stomp_subscribe: List<String>,
        stomp_send: List<String>,
    }
}

shape! {
    /// `[[deny]]`.
    DenyFile {
        name: At<String>,
        origins: List<String>,
        to: List<String>,
        clients: List<String>,
    }
}

shape! {
    /// `[limits]`.
    LimitsFile {
        max_connections: At<u64>,
        max_connections_per_client: At<u64>,
        max_sessions: At<u64>,
        max_sessions_per_client: At<u64>,
        max_streams: At<u64>,
        max_memory: At<Memory>,
        replay_down: At<Size>,
        replay_up: At<Size>,
    }
}

shape! {
    /// `[timeouts]`.
    TimeoutsFile {
        first_byte: At<Duration>,
        head: At<Duration>,
        body: At<Duration>,
        hello: At<Duration>,
        http_idle: At<Duration>,
        heartbeat: At<Duration>,
        peer_dead: At<Duration>,
        hold: At<Duration>,
        drain: At<Duration>,
        stream_rotate: At<Duration>,
        stream_rotate_bytes: At<Size>,
        ack_delay: At<Duration>,
        tombstone: At<Duration>,
        ticket: At<Duration>,
        connect: At<Duration>,
        resume: At<Duration>,
        tcp_keepalive: At<Duration>,
    }
}

shape! {
    /// `[legacy]`.
    LegacyFile {
        htmlfile: At<bool>,
        jsonp: At<bool>,
    }
}

shape! {
    /// `[log]`.
    LogFile {
        format: At<String>,
        level: At<String>,
    }
}

/// Every table and its keys, for telling where a misplaced key belongs.
pub(super) const TABLES: &[(&str, &[&str])] = &[
    ("the top of the file, above the first table", File::KEYS),
    ("[timeouts]", TimeoutsFile::KEYS),
    ("[limits]", LimitsFile::KEYS),
    ("[legacy]", LegacyFile::KEYS),
    ("[log]", LogFile::KEYS),
    ("[backend.NAME]", BackendFile::KEYS),
    ("[backend.NAME.irc]", IrcFile::KEYS),
    ("[backend.NAME.xmpp]", XmppFile::KEYS),
    ("[backend.NAME.stomp]", StompFile::KEYS),
    ("[user.NAME]", UserFile::KEYS),
    ("[[allow]]", AllowFile::KEYS),
    ("[[deny]]", DenyFile::KEYS),
    ("[[listener]]", ListenerFile::KEYS),
];

impl File {
    /// Reads a text as far as it can be read.
    pub(super) fn parse(text: &str, problems: &mut Problems) -> Self {
        let document = parse(text, problems);
        Self::from_table(&document, "", problems)
    }
}

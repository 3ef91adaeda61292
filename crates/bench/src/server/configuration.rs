//! The configuration of each server: the least that does the work.

use std::{net::SocketAddr, path::Path};

use crate::wire::{BACKEND, IRC_BACKEND, ORIGIN, STOMP_BACKEND, XMPP_BACKEND, XMPP_DOMAIN};

/// The defaults, with room for all clients of a run, and for as many lines of IRC as come; like the
/// others it writes no line for a connection. With `shared` others may listen at the address, too.
pub(super) fn perigee(address: SocketAddr, backend: SocketAddr, shared: bool) -> String {
    format!(
        "[[listener]]\naddress = \"{address}\"\nreuse_port = {shared}\n\
         [backend.{BACKEND}]\naddress = \"{backend}\"\n\
         [backend.{IRC_BACKEND}]\naddress = \"{backend}\"\nservice = \"irc\"\n\
         [backend.{IRC_BACKEND}.irc]\nmax_line = \"16KiB\"\nflood_interval = \"0s\"\n\
         [backend.{STOMP_BACKEND}]\naddress = \"{backend}\"\nservice = \"stomp\"\n\
         [backend.{XMPP_BACKEND}]\naddress = \"{backend}\"\nservice = \"xmpp\"\n\
         [backend.{XMPP_BACKEND}.xmpp]\ndomain = \"{XMPP_DOMAIN}\"\nstarttls = \"off\"\n\
         [[allow]]\norigins = [\"{ORIGIN}\"]\n\
         to = [\"{BACKEND}\", \"{IRC_BACKEND}\", \"{STOMP_BACKEND}\", \"{XMPP_BACKEND}\"]\n\
         [limits]\nmax_connections = 20000\nmax_connections_per_client = 20000\nmax_sessions = 20000\n\
         max_sessions_per_client = 20000\nmax_streams = 2048\n\
         [log]\nlevel = \"warn\"\n"
    )
}

pub(super) fn haproxy(address: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "global\n nbthread 1\n maxconn 9900\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
         listen bench\n bind {address}\n server backend {backend}\n"
    )
}

const MODULES: &str = "/usr/lib/nginx/modules";

fn nginx_head(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;\n\
         events {{ worker_connections 19900; }}\n"
    )
}

pub(super) fn nginx(address: SocketAddr, backend: SocketAddr, folder: &Path) -> String {
    format!(
        "load_module {MODULES}/ngx_stream_module.so;\n{}\
         stream {{ server {{ listen {address}; proxy_pass {backend}; proxy_timeout 1h; }} }}\n",
        nginx_head(folder)
    )
}

pub(super) fn nchan(address: SocketAddr, folder: &Path) -> String {
    format!(
        "load_module {MODULES}/ngx_nchan_module.so;\n{}\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; \
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         server {{ listen {address};\n\
         location ~ ^/pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; }}\n\
         location ~ ^/sub/(\\w+)$ {{ nchan_subscriber longpoll; nchan_channel_id $1; }}\n\
         }} }}\n",
        nginx_head(folder)
    )
}

pub(super) fn lighttpd(address: SocketAddr, backend: SocketAddr, folder: &Path) -> String {
    format!(
        "server.modules = (\"mod_wstunnel\")\nserver.document-root = \"{}\"\n\
         server.bind = \"127.0.0.1\"\nserver.port = {}\nserver.max-fds = 20000\nserver.max-connections = 9900\n\
         wstunnel.server = (\"\" => ((\"host\" => \"127.0.0.1\", \"port\" => {})))\nwstunnel.frame-type = \"binary\"\n",
        folder.display(),
        address.port(),
        backend.port(),
    )
}

/// Nobody has an account, and everybody may log in as nobody; BOSH or TCP is all there is.
pub(super) fn prosody(address: SocketAddr, with_bosh: bool, folder: &Path) -> String {
    let (folder, port) = (folder.display(), address.port());
    let (http, tcp, module) = if with_bosh {
        (port.to_string(), String::new(), ", \"bosh\"")
    } else {
        (String::new(), port.to_string(), "")
    };
    format!(
        "run_as_root = true\ndaemonize = false\npidfile = \"{folder}/pid\"\ndata_path = \"{folder}\"\n\
         log = {{ error = \"*console\" }}\nnetwork_backend = \"epoll\"\n\
         interfaces = {{ \"127.0.0.1\" }}\nc2s_ports = {{ {tcp} }}\nc2s_direct_tls_ports = {{ }}\n\
         http_interfaces = {{ \"127.0.0.1\" }}\nhttp_ports = {{ {http} }}\nhttps_ports = {{ }}\nhttp_default_host = \"{XMPP_DOMAIN}\"\n\
         modules_enabled = {{ \"saslauth\"{module} }}\nmodules_disabled = {{ \"s2s\", \"tls\" }}\n\
         c2s_require_encryption = false\nconsider_bosh_secure = true\n\
         VirtualHost \"{XMPP_DOMAIN}\"\n authentication = \"anonymous\"\n"
    )
}
